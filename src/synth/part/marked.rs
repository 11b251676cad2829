//! Plain bodies that carry a mark: keycaps, dominoes, bars of soap.

use crate::dice::Dice;
use crate::synth::colour::{DYES, Rgb, Shade, blend, choose, gain, luma, shade};
use crate::synth::field::{Point, at, clouds, floor, noise, ramp, to_rectangle};
use crate::synth::product::{Face, Look, Product};
use crate::synth::text;

/// An ink that shows on a colour.
fn ink_on(colour: Rgb, dice: &mut Dice) -> Rgb {
    let dark = [[0.10, 0.10, 0.12], [0.12, 0.16, 0.40], [0.42, 0.08, 0.10], [0.08, 0.26, 0.18]];
    let light = [[0.92, 0.92, 0.90], [0.92, 0.92, 0.90], [0.90, 0.78, 0.36], [0.55, 0.80, 0.86]];
    if luma(colour) > 0.45 { dice.pick(&dark) } else { dice.pick(&light) }
}

/// Sloping skirt, dished top, a letter or a word on it.
pub struct Keycap {
    look: Look,
    base: Rgb,
    half: Point,
    skirt: f32,
    dish: f32,
    letters: i32,
    place: Point,
    height: f32,
    second: bool,
    code: u32,
    seed: u32,
}

impl Keycap {
    pub fn new(dice: &mut Dice) -> Self {
        let plastic = choose(dice, DYES);
        let wide = dice.chance(0.35);
        let half = if wide { at(0.86, dice.between(0.5, 0.6)) } else { at(0.68, dice.between(0.64, 0.72)) };
        let letters = if wide { 3 + dice.below(3) as i32 } else { 1 + dice.below(2) as i32 };
        let corner = dice.chance(0.45);
        let skirt = dice.between(0.14, 0.22);
        let height = if wide || letters > 1 { dice.between(0.2, 0.28) } else { dice.between(0.3, 0.52) };
        let (left, top) =
            (text::half_width(height, letters) - half.x + skirt + 0.05, 0.5 * height - half.y + skirt + 0.05);
        Self {
            look: Look {
                gloss: dice.between(0.03, 0.35),
                ink: ink_on(plastic.rgb, dice),
                ..Look::new(plastic.word, blend(gain(plastic.rgb, 1.2), [0.7; 3], 0.4))
            },
            base: plastic.rgb,
            half,
            skirt,
            dish: dice.between(0.0, 0.1),
            letters,
            place: if corner { at(left.min(0.0), top.min(0.0)) } else { at(0.0, dice.between(-0.06, 0.06)) },
            height,
            second: corner && dice.chance(0.5),
            code: dice.seed(),
            seed: dice.seed(),
        }
    }
}

impl Product for Keycap {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        to_rectangle(p, self.half, 0.07)
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let matt = clouds(p * 32.0, 2, self.seed);
        let top = -to_rectangle(at(p.x, p.y + 0.03), self.half - at(self.skirt, self.skirt), 0.1);
        let flat = ramp(-0.02, 0.03, top);
        let u = p.x / self.half.x;
        let slope = (depth / self.skirt).clamp(0.0, 1.0);
        let colour = gain(self.base, 0.9 + 0.08 * matt + 0.05 * flat);
        Face {
            colour: blend(colour, self.look.ink, 0.88 * self.ink(p).unwrap_or(0.0)),
            height: 0.2 * slope - self.dish * flat * (1.0 - u * u) + 0.002 * matt,
        }
    }

    fn ink(&self, p: Point) -> Option<f32> {
        let first = text::line(p - self.place, self.height, self.letters, self.code);
        let second = if self.second {
            text::line(p - at(-self.place.x, -self.place.y - 0.04), 0.17, 1, self.code ^ 1)
        } else {
            0.0
        };
        Some(first.max(second))
    }
}

/// Two fields of pips with a bar between.
pub struct Domino {
    look: Look,
    base: Rgb,
    half: Point,
    pips: [u32; 2],
    pip: f32,
    spread: f32,
    deep: f32,
    spinner: bool,
    seed: u32,
}

impl Domino {
    pub fn new(dice: &mut Dice) -> Self {
        let body = choose(dice, DYES);
        let narrow = dice.between(0.36, 0.43);
        Self {
            look: Look {
                gloss: dice.between(0.05, 0.5),
                ink: ink_on(body.rgb, dice),
                ..Look::new(body.word, blend(gain(body.rgb, 0.7), [0.6, 0.57, 0.5], 0.5))
            },
            base: body.rgb,
            half: at(2.0 * narrow, narrow),
            pips: [dice.below(10) as u32, dice.below(10) as u32],
            pip: narrow * dice.between(0.13, 0.2),
            spread: narrow * dice.between(0.5, 0.6),
            deep: dice.between(0.0, 0.03),
            spinner: dice.chance(0.5),
            seed: dice.seed(),
        }
    }

    /// Distance to the nearest pip of the nearer field.
    fn to_pip(&self, p: Point) -> f32 {
        let count = self.pips[usize::from(p.x > 0.0)];
        let q = at(p.x.abs() - self.half.y, p.y);
        let index = |v: f32| floor(v / self.spread + 0.5).clamp(-1, 1);
        let (i, j) = (index(q.x), index(q.y));
        let has = match (i, j) {
            (0, 0) => count & 1 == 1,
            (0, _) => count >= 6,
            (_, 0) => count >= 8,
            _ if i == j => count >= 2,
            _ => count >= 4,
        };
        if has { (q - at(i as f32, j as f32) * self.spread).length() - self.pip } else { 1.0 }
    }
}

impl Product for Domino {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        to_rectangle(p, self.half, 0.06)
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let bone = clouds(at(p.x * 3.0, p.y * 9.0), 3, self.seed);
        let ink = self.ink(p).unwrap_or(0.0);
        let mut colour = blend(gain(self.base, 0.9 + 0.14 * bone), self.look.ink, 0.92 * ink);
        let mut height = 0.06 * ramp(0.0, 0.07, depth) - self.deep * ink;
        if self.spinner {
            let dome = 1.0 - p.dot(p) / 0.0036;
            colour = blend(colour, [0.74, 0.61, 0.34], ramp(0.0, 0.2, dome));
            height += 0.03 * dome.max(0.0).sqrt();
        }
        Face { colour, height }
    }

    fn ink(&self, p: Point) -> Option<f32> {
        let bar = ramp(0.018, 0.008, p.x.abs()) * ramp(0.82, 0.8, p.y.abs() / self.half.y);
        Some(ramp(0.012, -0.012, self.to_pip(p)).max(bar))
    }
}

const SOAPS: &[Shade] = &[
    shade("white", 0.86, 0.85, 0.81),
    shade("pink", 0.84, 0.62, 0.64),
    shade("green", 0.55, 0.70, 0.50),
    shade("blue", 0.50, 0.64, 0.78),
    shade("yellow", 0.86, 0.78, 0.48),
    shade("lilac", 0.68, 0.58, 0.76),
    shade("brown", 0.56, 0.38, 0.24),
    shade("orange", 0.84, 0.58, 0.34),
];

/// A rounded bar with a moulded frame and a name, pressed in, raised or printed.
pub struct SoapBar {
    look: Look,
    base: Rgb,
    swirl: Rgb,
    half: Point,
    corner: f32,
    dome: f32,
    frame: f32,
    relief: f32,
    printed: bool,
    lines: i32,
    letters: i32,
    code: u32,
    seed: u32,
}

impl SoapBar {
    pub fn new(dice: &mut Dice) -> Self {
        let soap = choose(dice, SOAPS);
        let half = at(dice.between(0.74, 0.86), dice.between(0.46, 0.62));
        let printed = dice.chance(0.45);
        let inks = [[0.14, 0.20, 0.42], [0.46, 0.12, 0.16], [0.12, 0.30, 0.18], [0.16, 0.14, 0.14]];
        Self {
            look: Look {
                gloss: dice.between(0.05, 0.45),
                ink: dice.pick(&inks),
                ..Look::new(soap.word, gain(blend(soap.rgb, [0.9, 0.88, 0.8], 0.4), 0.68))
            },
            base: soap.rgb,
            swirl: blend(soap.rgb, [0.92, 0.91, 0.88], dice.between(0.0, 0.55)),
            half,
            corner: half.y * dice.between(0.35, 1.0),
            dome: dice.between(0.1, 0.24),
            frame: if dice.chance(0.6) { dice.between(0.1, 0.15) } else { 0.0 },
            relief: dice.sign() * dice.between(0.012, 0.022),
            printed,
            lines: 1 + dice.below(2) as i32,
            letters: 3 + dice.below(4) as i32,
            code: dice.seed(),
            seed: dice.seed(),
        }
    }

    fn name(&self, p: Point) -> f32 {
        let height = (1.05 * self.half.x / self.letters as f32).min(0.26);
        if self.lines == 1 {
            return text::line(p, height, self.letters, self.code);
        }
        let low = text::line(at(p.x, p.y - 0.17), 0.13, 5, self.code ^ 1);
        text::line(at(p.x, p.y + 0.09), height.min(0.22), self.letters, self.code).max(low)
    }
}

impl Product for SoapBar {
    fn look(&self) -> &Look {
        &self.look
    }

    fn outline(&self, p: Point) -> f32 {
        to_rectangle(p, self.half, self.corner)
    }

    fn face(&self, p: Point, depth: f32) -> Face {
        let t = (depth / self.half.y).clamp(0.0, 1.0);
        let warp = clouds(p * 1.8, 2, self.seed);
        let swirl = noise(p.x * 3.0 + 3.0 * warp, p.y * 4.0 - 2.0 * warp, self.seed ^ 1);
        let wax = clouds(p * 24.0, 2, self.seed ^ 2);
        let mut colour = gain(blend(self.base, self.swirl, ramp(0.3, 0.7, swirl)), 0.94 + 0.09 * wax);
        let mut height = self.dome * (t * (2.0 - t)).sqrt() + 0.0015 * wax;
        if self.frame > 0.0 {
            let groove = ramp(0.022, 0.0, (depth - self.frame).abs());
            colour = gain(colour, 1.0 - 0.12 * groove);
            height -= 0.018 * groove;
        }
        let name = self.name(p);
        if self.printed {
            colour = blend(colour, self.look.ink, 0.86 * name);
        } else {
            colour = gain(colour, 1.0 + 6.0 * self.relief * name);
            height += self.relief * name;
        }
        Face { colour, height }
    }

    fn ink(&self, p: Point) -> Option<f32> {
        self.printed.then(|| self.name(p))
    }
}
