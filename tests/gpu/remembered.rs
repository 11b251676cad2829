//! Memories of a few pictures, made by the TensorRT engine.

use vcp_line::clock::{Clock, SystemClock};
use vcp_line::engine::Engine;
use vcp_line::frame::Frame;
use vcp_line::memory::{Learner, Memory, Settings};

/// What pictures may be said to have, columns and rows, that have any shape.
pub const SIZE: (u32, u32) = (100, 100);

/// Columns and rows of a picture.
pub fn size(frame: &Frame) -> (u32, u32) {
    (frame.image.width, frame.image.height)
}

/// A memory of these pictures, all said to have `size`; afterwards the engine hands out no tokens.
pub fn of(engine: &mut dyn Engine, good: &[Frame], size: (u32, u32)) -> Memory {
    engine.hand_out_tokens(true);
    let info = engine.info().clone();
    let mut learner = Learner::new(Settings {
        model: info.model(),
        size: info.image_size,
        sigma: info.sigma,
        pictures_of_tokens: 4,
        by: "test".into(),
        now: SystemClock.now().wall,
    });
    for frame in good {
        let answer = engine.infer(&[frame]).unwrap().remove(0);
        learner.take(answer.tokens.as_ref().unwrap(), answer.score, size).unwrap();
    }
    engine.hand_out_tokens(false);
    learner.finish().unwrap()
}
