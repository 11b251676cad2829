//! How long a frame of each camera takes on this machine, measured before the line starts: tiles that cannot be done in time are told of now.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::clock::{Clock, SystemClock};
use crate::engine::Engine;
use crate::frame::{Frame, Image, PixelFormat};
use crate::line::CameraPlan;
use crate::look::{Asked, Looker};

/// Frames that are expected to take longer are reckoned from one of their tiles.
const WHOLE: Duration = Duration::from_secs(5);
/// Frames that are looked at, the first of which is not counted.
const LOOKS: usize = 4;

/// Looks at frames of this size as the camera does. Errors where a frame takes longer than parts may.
pub fn told(engine: &mut dyn Engine, plan: &CameraPlan, size: (u32, u32)) -> anyhow::Result<String> {
    let used = plan.used();
    engine.hand_out_tokens(used.memory.is_some());
    let mut looker = Looker::new(plan.view.clone());
    let regions = &used.recipe.regions;
    let tiles = looker.tiles(size, regions)?;
    let count = tiles.map_or(1, |tiles| tiles.looked_at);
    let side = engine.info().image_size as u32;
    let one = textured(plan, (side, side))?;
    let per_tile = least(2, || engine.infer(&[&one]).map(drop))?;
    let frame = textured(plan, size)?;
    let asked = Asked { regions, memory: used.memory.as_deref(), ..Asked::default() };
    let (about, took) = match per_tile * count as u32 {
        long if long > WHOLE => ("about ", long),
        _ => ("", least(LOOKS, || looker.look(engine, &frame, asked, None).map(drop))?),
    };
    let mut said = String::new();
    if let Some(tiles) = tiles {
        write!(said, "{} of {} tiles, ", tiles.looked_at, tiles.of)?;
    }
    write!(said, "{about}{} ms a frame", took.as_millis())?;
    match plan.trigger.deadline {
        Some(deadline) if took > deadline => anyhow::bail!(
            "{said}, but deadline_ms = {}: parts get no verdict (overrun); choose {}a longer deadline_ms, a precision of fewer bits or a faster engine",
            deadline.as_millis(),
            if tiles.is_some() { "larger tiles, a smaller crop or smaller regions, " } else { "" }
        ),
        Some(deadline) => write!(said, ", deadline {} ms", deadline.as_millis())?,
        None => write!(said, ", {:.1} frames/s where nothing else is judged", 1.0 / took.as_secs_f64())?,
    }
    Ok(said)
}

/// The shortest of so many, the first apart, which does what is done only once: what the machine can do, also beside a line that runs.
fn least<E>(looks: usize, mut look: impl FnMut() -> Result<(), E>) -> Result<Duration, E> {
    let mut least = Duration::MAX;
    for at in 0..looks {
        let begin = Instant::now();
        look()?;
        if at > 0 {
            least = least.min(begin.elapsed());
        }
    }
    Ok(least)
}

fn textured(plan: &CameraPlan, (width, height): (u32, u32)) -> anyhow::Result<Frame> {
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x ^ y) as u8)).collect();
    let image = Image::new(width, height, PixelFormat::Gray8, pixels)?;
    Ok(Frame::alone(&*plan.name, SystemClock.now(), image))
}
