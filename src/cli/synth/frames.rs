//! Large frames of `vcp-line synth`: what was asked for, and how sizes of defects are spread.

use clap::Args;
use serde_json::{Value, json};

use crate::synth::{Class, Defect, FRAME_SIDES, FrameRequest, Motion, SizedDefect};

#[derive(Args)]
pub struct FrameArguments {
    /// Lay each part into a frame of so many pixels, moved and turned as on a belt; surfaces come as plates.
    #[arg(long, value_name = "WxH", value_parser = frame, conflicts_with_all = ["size", "sheet"])]
    frame: Option<(u32, u32)>,
    /// Size of the defects in such frames, spread from LOW to HIGH: diameter in pixels of the circle that has as many
    /// pixels as the mask [default: 8..60]
    #[arg(long, value_name = "LOW..HIGH", value_parser = pixels, requires = "frame")]
    defect_px: Option<(f32, f32)>,
    /// Parts lie up to so many pixels off the middle of the frame, along either axis.
    #[arg(long = "shift", value_name = "PX", value_parser = not_negative, default_value = "40", requires = "frame")]
    shift_px: f32,
    /// Parts are turned by up to so many degrees either way.
    #[arg(long = "turn", value_name = "DEGREES", value_parser = not_negative, default_value = "5", requires = "frame")]
    turn_degrees: f32,
    /// All frames of a class show one product, as one line makes it, under one light; otherwise each shows another.
    #[arg(long, requires = "frame")]
    one_product: bool,
}

impl FrameArguments {
    /// What they ask for, if they ask for frames; an error says what cannot be.
    pub fn frames(&self, seed: u64) -> Result<Option<Frames>, String> {
        let Some((width, height)) = self.frame else { return Ok(None) };
        let most = 0.1 * width.min(height) as f32;
        if self.shift_px > most {
            let shift = self.shift_px;
            return Err(format!("--shift {shift} could move parts out of a frame of {width}x{height}; at most {most}"));
        }
        let defect_px = self.defect_px.unwrap_or((8.0, most.min(60.0)));
        if defect_px.1 > most {
            let largest = defect_px.1;
            return Err(format!(
                "--defect-px up to {largest} does not fit on parts in frames of {width}x{height}; at most {most}"
            ));
        }
        let motion = Motion { shift_px: self.shift_px, turn_degrees: self.turn_degrees };
        let product = self.one_product.then_some(seed);
        Ok(Some(Frames { width, height, defect_px, motion, product }))
    }
}

fn frame(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once(['x', 'X', '×']).map(|(width, height)| (width.parse(), height.parse()));
    match sides {
        Some((Ok(width), Ok(height))) if FRAME_SIDES.contains(&width) && FRAME_SIDES.contains(&height) => {
            Ok((width, height))
        }
        _ => Err(format!(
            "write WIDTHxHEIGHT, for example 2448x2048, each side from {} to {}",
            FRAME_SIDES.start(),
            FRAME_SIDES.end()
        )),
    }
}

fn pixels(text: &str) -> Result<(f32, f32), String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    match (low.parse::<f32>(), high.parse::<f32>()) {
        (Ok(low), Ok(high)) if (4.0..=400.0).contains(&low) && low <= high && high <= 400.0 => Ok((low, high)),
        _ => Err("write LOW..HIGH in pixels, with 4 ≤ LOW ≤ HIGH ≤ 400".to_owned()),
    }
}

fn not_negative(text: &str) -> Result<f32, String> {
    text.parse::<f32>()
        .ok()
        .filter(|value| (0.0..=1000.0).contains(value))
        .ok_or("write a number from 0 to 1000".into())
}

/// Large frames.
#[derive(Clone, Copy)]
pub struct Frames {
    width: u32,
    height: u32,
    defect_px: (f32, f32),
    motion: Motion,
    /// The product that all frames of a class show.
    product: Option<u64>,
}

/// Its multiples fill 0 … 1 evenly, and out of step with those of the golden ratio that spread difficulties.
const PLASTIC: f64 = 0.754_877_666_246_692_8;

impl Frames {
    /// Size of the defect of the n-th defective picture: as many between 10 and 20 pixels as between 20 and 40.
    pub fn defect_px(&self, index: u64) -> f32 {
        let (low, high) = self.defect_px;
        let share = (index as f64 * PLASTIC).fract() as f32;
        let size = low * libm::powf(high / low, share);
        (size * 10.0).round() / 10.0
    }

    /// The frame of the part with this seed, and its defect with the size.
    pub fn request(&self, class: Class, seed: u64, defect: Option<(Defect, f32)>) -> FrameRequest {
        FrameRequest {
            class,
            width: self.width,
            height: self.height,
            product: self.product.unwrap_or(seed),
            part: seed,
            defect: defect.map(|(defect, size_px)| SizedDefect { defect, size_px }),
            motion: self.motion,
        }
    }

    /// For `dataset.json`.
    pub fn settings(&self) -> Value {
        json!({
            "frame": [self.width, self.height],
            "defect_px": [self.defect_px.0, self.defect_px.1],
            "shift_px": self.motion.shift_px,
            "turn_degrees": self.motion.turn_degrees,
            "one_product": self.product.is_some(),
        })
    }
}
