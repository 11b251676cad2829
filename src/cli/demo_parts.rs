//! Simulated parts for `demo`: turned metal rings on a belt, every third one with a scratch or a stain.

use std::path::Path;

use image::{GrayImage, Luma};

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
}

enum Flaw {
    None,
    Scratch { from: [f32; 2], to: [f32; 2] },
    Stain { at: [f32; 2], radius: f32 },
}

impl Flaw {
    /// Change of brightness at a point.
    fn shade(&self, x: f32, y: f32) -> f32 {
        match *self {
            Self::None => 0.0,
            Self::Scratch { from, to } => {
                let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
                let along = (((x - from[0]) * dx + (y - from[1]) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
                let distance = (x - from[0] - along * dx).hypot(y - from[1] - along * dy);
                -90.0 * (1.0 - distance / 3.0).max(0.0)
            }
            Self::Stain { at, radius } => -60.0 * (1.0 - (x - at[0]).hypot(y - at[1]) / radius).clamp(0.0, 1.0),
        }
    }
}

/// Writes `part-0000.png` … into a new folder; the same seed writes the same pixels.
pub fn write(folder: &Path, count: usize, seed: u64) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut dice = Dice(seed);
    for index in 0..count {
        part(&mut dice, index % 3 == 2).save(folder.join(format!("part-{index:04}.png")))?;
    }
    Ok(())
}

fn part(dice: &mut Dice, flawed: bool) -> GrayImage {
    let centre = [dice.between(280.0, 360.0), dice.between(220.0, 260.0)];
    let (outer, inner) = (dice.between(165.0, 180.0), dice.between(65.0, 80.0));
    let light = dice.between(-0.3, 0.3);
    let angle = dice.between(0.0, std::f32::consts::TAU);
    let on_ring = |radius: f32, angle: f32| [centre[0] + radius * angle.cos(), centre[1] + radius * angle.sin()];
    let middle = (outer + inner) / 2.0;
    let flaw = match (flawed, dice.unit() < 0.5) {
        (false, _) => Flaw::None,
        (true, true) => Flaw::Scratch { from: on_ring(inner + 15.0, angle), to: on_ring(outer - 15.0, angle + 0.6) },
        (true, false) => Flaw::Stain { at: on_ring(middle, angle), radius: dice.between(18.0, 34.0) },
    };
    GrayImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let (x, y) = (x as f32, y as f32);
        let distance = (x - centre[0]).hypot(y - centre[1]);
        let belt = 48.0 + 6.0 * (y * 0.35).sin();
        // Concentric tool marks under light from one side.
        let metal = 165.0 + 10.0 * (distance * 0.9).sin() + 40.0 * light * (x - centre[0]) / outer;
        let inside = ((outer - distance).min(distance - inner) / 2.0 + 0.5).clamp(0.0, 1.0);
        let noise = dice.between(-4.0, 4.0);
        let value = belt * (1.0 - inside) + (metal + flaw.shade(x, y)) * inside + noise;
        Luma([value.clamp(0.0, 255.0) as u8])
    })
}
