//! What is made of thread: woven, ribbed and knitted cloth, carbon fibre.

use crate::dice::Dice;
use crate::synth::colour::{DYES, Rgb, blend, choose, gain};
use crate::synth::field::{Point, floor, fraction, noise, smooth, wave};
use crate::synth::product::{Face, Look, Product};

#[derive(Clone, Copy)]
enum Binding {
    Plain,
    Twill,
    Basket,
}

/// Warp over weft: cloth of dyed thread, or flat carbon tows in resin.
pub struct Weave {
    look: Look,
    warp: Rgb,
    weft: Rgb,
    threads: f32,
    binding: Binding,
    carbon: bool,
    sheen: f32,
    seed: u32,
}

impl Weave {
    pub fn cloth(dice: &mut Dice) -> Self {
        let dye = choose(dice, DYES);
        let second = if dice.chance(0.4) { blend(dye.rgb, choose(dice, DYES).rgb, 0.35) } else { gain(dye.rgb, 0.88) };
        let look = Look { gloss: 0.02, zoom: (0.8, 1.25), ..Look::new(dye.word, gain(dye.rgb, 0.45)) };
        Self {
            look,
            warp: dye.rgb,
            weft: second,
            threads: dice.between(11.0, 21.0),
            binding: dice.pick(&[Binding::Plain, Binding::Plain, Binding::Twill, Binding::Basket]),
            carbon: false,
            sheen: 0.0,
            seed: dice.seed(),
        }
    }

    pub fn carbon(dice: &mut Dice) -> Self {
        let level = dice.between(0.15, 0.24);
        let tone = [level, level * dice.between(0.97, 1.03), level * dice.between(1.0, 1.1)];
        let look = Look { gloss: dice.between(0.3, 0.8), zoom: (0.8, 1.25), ..Look::new("black", [0.44, 0.42, 0.36]) };
        Self {
            look,
            warp: gain(tone, 1.35),
            weft: gain(tone, 0.85),
            threads: dice.between(5.5, 10.0),
            binding: dice.pick(&[Binding::Twill, Binding::Twill, Binding::Plain]),
            carbon: true,
            sheen: dice.between(0.3, 0.6),
            seed: dice.seed(),
        }
    }
}

impl Product for Weave {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let slack = 0.18 * (noise(p.x * 3.0, p.y * 3.0, self.seed) - 0.5);
        let (u, v) = (p.x * self.threads + slack, p.y * self.threads - slack);
        let (iu, iv) = (floor(u), floor(v));
        let (fu, fv) = (u - iu as f32, v - iv as f32);
        let warp_on_top = match self.binding {
            Binding::Plain => (iu ^ iv) & 1 == 0,
            Binding::Twill => (iu + iv) & 3 < 2,
            Binding::Basket => ((iu >> 1) ^ (iv >> 1)) & 1 == 0,
        };
        let (across, along, thread, base) =
            if warp_on_top { (fu, fv, (u, v), self.warp) } else { (fv, fu, (v, u), self.weft) };
        let centred = 2.0 * across - 1.0;
        let round = 1.0 - centred * centred;
        let crown = match self.binding {
            Binding::Plain => 1.0 - 0.5 * (2.0 * along - 1.0) * (2.0 * along - 1.0),
            _ => 0.85,
        };
        let fibre = noise(thread.0 * 6.0, thread.1 * 1.3, self.seed ^ 1);
        if self.carbon {
            // Tows are flat; each direction of fibre catches the light in its own way.
            let gloss = 1.0 + self.sheen * (wave(along * 0.5 + 0.1) - 0.4);
            let colour = gain(base, (0.7 + 0.6 * fibre) * gloss * (0.55 + 0.45 * (round * 3.0).min(1.0)));
            return Face { colour, height: 0.05 * fibre / self.threads };
        }
        let lit = 0.42 + 0.58 * smooth(round * 1.5) * (0.7 + 0.3 * crown);
        Face {
            colour: gain(base, lit * (0.82 + 0.32 * fibre)),
            height: (0.13 * round * crown + 0.05 * fibre) / self.threads,
        }
    }
}

/// Raised ribs of pile.
pub struct Corduroy {
    look: Look,
    base: Rgb,
    ribs: f32,
    seed: u32,
}

impl Corduroy {
    pub fn new(dice: &mut Dice) -> Self {
        let dye = choose(dice, DYES);
        let look = Look { gloss: 0.0, ..Look::new(dye.word, gain(dye.rgb, 0.5)) };
        Self { look, base: dye.rgb, ribs: dice.between(6.0, 13.0), seed: dice.seed() }
    }
}

impl Product for Corduroy {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let u = p.x * self.ribs + 0.25 * (noise(p.x * 2.0, p.y * 2.0, self.seed) - 0.5);
        let centred = 2.0 * fraction(u) - 1.0;
        let rib = smooth((1.0 - centred * centred) * 1.25);
        let pile = noise(p.x * self.ribs * 5.0, p.y * 34.0, self.seed ^ 1);
        let nap = noise(p.x * 2.5, p.y * 1.5, self.seed ^ 2);
        Face {
            colour: gain(self.base, (0.42 + 0.58 * rib) * (0.74 + 0.36 * pile) * (0.9 + 0.2 * nap)),
            height: (0.2 * rib + 0.06 * pile) / self.ribs,
        }
    }
}

/// Columns of V-shaped stitches.
pub struct Knit {
    look: Look,
    base: Rgb,
    stripe: Rgb,
    band: i32,
    stitches: f32,
    seed: u32,
}

impl Knit {
    pub fn new(dice: &mut Dice) -> Self {
        let yarn = choose(dice, DYES);
        let look = Look { gloss: 0.0, ..Look::new(yarn.word, gain(yarn.rgb, 0.4)) };
        let striped = dice.chance(0.3);
        Self {
            look,
            base: yarn.rgb,
            stripe: if striped { blend(yarn.rgb, choose(dice, DYES).rgb, 0.6) } else { yarn.rgb },
            band: 2 + dice.below(4) as i32,
            stitches: dice.between(6.0, 11.0),
            seed: dice.seed(),
        }
    }
}

impl Product for Knit {
    fn look(&self) -> &Look {
        &self.look
    }

    fn face(&self, p: Point, _depth: f32) -> Face {
        let slack = 0.2 * (noise(p.x * 3.0, p.y * 3.0, self.seed) - 0.5);
        let u = 2.0 * fraction(p.x * self.stitches + slack) - 1.0;
        let arm = u.abs();
        // The two arms of a stitch lean towards each other.
        let v = p.y * self.stitches * 1.25 + slack - 0.9 * arm;
        let row = floor(v);
        let along = 2.0 * (v - row as f32) - 1.0;
        let across = 2.0 * arm - 1.0;
        let round = (1.0 - across * across).max(0.0) * (1.0 - 0.8 * along * along);
        let wool = noise(u * 5.0 + v * 3.0, v * 9.0 - arm * 5.0, self.seed ^ row as u32);
        let base = if (row.rem_euclid(self.band * 2)) < self.band { self.base } else { self.stripe };
        let lit = 0.36 + 0.64 * smooth(round * 1.5);
        Face { colour: gain(base, lit * (0.75 + 0.4 * wool)), height: (0.2 * round + 0.05 * wool) / self.stitches }
    }
}
