//! Connected regions and their borders in plain Rust, for builds without OpenCV and as its judge in tests.

use super::exceeding::{Exceeding, Region, RegionError};

/// Pixels of one row that touch each other.
struct Run {
    y: usize,
    from: usize,
    to: usize,
    label: usize,
}

/// The 8-connected regions with at least `min_area` pixels, in the order of their first pixel.
pub fn regions(exceeding: &Exceeding, min_area: usize) -> Result<Vec<Region>, RegionError> {
    let mut runs = runs(exceeding);
    let mut parents = connect(&mut runs, exceeding.height);
    let mut slots = vec![usize::MAX; parents.len()];
    let mut found: Vec<Sums> = Vec::new();
    for run in &mut runs {
        run.label = root(&mut parents, run.label);
        let slot = &mut slots[run.label];
        if *slot == usize::MAX {
            *slot = found.len();
            found.push(Sums::new(run));
        }
        found[*slot].add(run, &exceeding.values[run.y * exceeding.width..]);
    }
    let mut members: Vec<Vec<&Run>> = found.iter().map(|_| Vec::new()).collect();
    runs.iter().for_each(|run| members[slots[run.label]].push(run));
    let counted = found.iter().zip(members).filter(|(sums, _)| sums.area >= min_area);
    Ok(counted.map(|(sums, runs)| sums.region(&runs)).collect())
}

fn runs(exceeding: &Exceeding) -> Vec<Run> {
    let mut runs = Vec::new();
    for (y, row) in exceeding.bits.chunks_exact(exceeding.width).enumerate() {
        let mut x = 0;
        while let Some(start) = row[x..].iter().position(|&bit| bit == 1) {
            let from = x + start;
            let to = row[from..].iter().position(|&bit| bit == 0).map_or(row.len(), |length| from + length);
            runs.push(Run { y, from, to, label: runs.len() });
            x = to;
        }
    }
    runs
}

/// Joins runs of neighbouring rows that touch, diagonally too. Returns the union-find forest over the runs.
fn connect(runs: &mut [Run], height: usize) -> Vec<usize> {
    let mut parents: Vec<usize> = (0..runs.len()).collect();
    let starts: Vec<usize> = (0..=height).map(|y| runs.partition_point(|run| run.y < y)).collect();
    for y in 1..height {
        let (mut above, mut here) = (starts[y - 1], starts[y]);
        while above < starts[y] && here < starts[y + 1] {
            let (a, b) = (&runs[above], &runs[here]);
            if a.from <= b.to && b.from <= a.to {
                let (a, b) = (root(&mut parents, above), root(&mut parents, here));
                parents[a.max(b)] = a.min(b);
            }
            if runs[above].to < runs[here].to {
                above += 1;
            } else {
                here += 1;
            }
        }
    }
    parents
}

fn root(parents: &mut [usize], mut label: usize) -> usize {
    while parents[label] != label {
        parents[label] = parents[parents[label]];
        label = parents[label];
    }
    label
}

struct Sums {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
    area: usize,
    x: f64,
    y: f64,
    value: f64,
    peak: f32,
}

impl Sums {
    fn new(run: &Run) -> Self {
        Self {
            left: run.from,
            right: run.to,
            top: run.y,
            bottom: run.y + 1,
            area: 0,
            x: 0.0,
            y: 0.0,
            value: 0.0,
            peak: f32::NEG_INFINITY,
        }
    }

    fn add(&mut self, run: &Run, row: &[f32]) {
        let length = run.to - run.from;
        self.left = self.left.min(run.from);
        self.right = self.right.max(run.to);
        self.bottom = run.y + 1;
        self.area += length;
        self.x += (run.from + run.to - 1) as f64 * length as f64 / 2.0;
        self.y += (run.y * length) as f64;
        for &value in &row[run.from..run.to] {
            self.value += f64::from(value);
            self.peak = self.peak.max(value);
        }
    }

    fn region(&self, runs: &[&Run]) -> Region {
        let (width, height) = (self.right - self.left, self.bottom - self.top);
        // One empty pixel all around, so that following the border needs no bounds checks.
        let stride = width + 2;
        let mut bits = vec![false; stride * (height + 2)];
        for run in runs {
            let at = (run.y - self.top + 1) * stride + 1;
            bits[at + run.from - self.left..at + run.to - self.left].fill(true);
        }
        let area = self.area as f64;
        Region {
            bounds: [self.left, self.top, width, height],
            area: self.area,
            centroid: [self.x / area, self.y / area],
            peak: self.peak,
            mean: (self.value / area) as f32,
            contour: border(&bits, stride)
                .into_iter()
                .map(|at| [at % stride - 1 + self.left, at / stride - 1 + self.top])
                .collect(),
        }
    }
}

/// Follows the outer border of the one region in `bits` (Suzuki and Abe 1985) and keeps the pixels where it turns.
/// Directions count anticlockwise from east.
fn border(bits: &[bool], stride: usize) -> Vec<usize> {
    let step = |at: usize, direction: usize| match direction & 7 {
        0 => at + 1,
        1 => at + 1 - stride,
        2 => at - stride,
        3 => at - 1 - stride,
        4 => at - 1,
        5 => at - 1 + stride,
        6 => at + stride,
        _ => at + 1 + stride,
    };
    const WEST: usize = 4;
    let Some(start) = bits.iter().position(|&bit| bit) else { return Vec::new() };
    // Clockwise from the west, which is empty as the start is the first pixel of the first row.
    let Some(back) = (1..8).map(|turn| WEST + 8 - turn).find(|&direction| bits[step(start, direction)]) else {
        return vec![start];
    };
    let last = step(start, back);
    let (mut at, mut looking, mut previous) = (start, back & 7, (back + 4) & 7);
    let mut corners = Vec::new();
    loop {
        let Some(direction) = (1..=8).map(|turn| (looking + turn) & 7).find(|&direction| bits[step(at, direction)])
        else {
            return corners;
        };
        if direction != previous {
            corners.push(at);
        }
        previous = direction;
        let next = step(at, direction);
        if next == start && at == last {
            return corners;
        }
        at = next;
        looking = (direction + 4) & 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(rows: &[&str]) -> Exceeding {
        let bits: Vec<u8> = rows.iter().flat_map(|row| row.bytes().map(|b| u8::from(b == b'#'))).collect();
        let values = bits.iter().map(|&bit| f32::from(bit)).collect();
        Exceeding { width: rows[0].len(), height: rows.len(), top: 0, bits, values }
    }

    #[test]
    fn a_ring_is_one_region_with_its_outer_border() {
        let ring = picture(&["......", ".####.", ".#..#.", ".####.", "......"]);
        let found = regions(&ring, 1).expect("plain Rust does not fail");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].bounds, found[0].area, found[0].centroid), ([1, 1, 4, 3], 10, [2.5, 2.0]));
        assert_eq!(found[0].contour, [[1, 1], [1, 3], [4, 3], [4, 1]]);
    }

    #[test]
    fn arms_that_meet_below_are_one_region() {
        let found = regions(&picture(&["#.#.#", "#.#.#", ".#.#."]), 1).expect("plain Rust does not fail");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].area, 8);
    }

    #[test]
    fn a_region_inside_the_hole_of_another_is_found() {
        let found =
            regions(&picture(&["#####", "#...#", "#.#.#", "#...#", "#####"]), 1).expect("plain Rust does not fail");
        assert_eq!(found.iter().map(|region| region.area).collect::<Vec<_>>(), [16, 1]);
    }
}
