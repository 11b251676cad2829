//! How far each patch of each part is from the nearest patch of each other part: whatever parts a memory is made of, as long
//! as none of their tokens is thinned away, its distances are the smallest of theirs.

use std::fs::File;
use std::path::Path;

use half::f16;
use half::slice::HalfFloatSliceExt;
use memmap2::{Mmap, MmapMut};
use rayon::prelude::*;

use crate::pool::{Pool, file};
#[cfg(target_arch = "x86_64")]
use crate::tiles;

/// Parts whose distances are found before they are written.
const BLOCK: usize = 8;

/// A part and how far another is from it, per patch, there and back.
type Pair = (usize, Vec<u16>, Vec<u16>);

/// Half-precision numbers, whose bits are in the order of what they stand for: part, other, tapped layer, patch.
pub struct Distances {
    halves: Mmap,
    parts: usize,
    patches: usize,
    taps: usize,
}

impl Distances {
    pub fn open(pool: &Pool) -> Self {
        let parts = pool.parts.len();
        let file = file(parts, "distances");
        let (patches, taps) = (pool.patches(), pool.parts[0].taps.len());
        if !file.exists() {
            let partial = file.with_extension("partial");
            find(pool, &partial);
            std::fs::rename(&partial, &file).unwrap();
        }
        let file = File::open(&file).unwrap();
        // SAFETY: the file is this program's own, and nobody changes it.
        let halves = unsafe { Mmap::map(&file) }.unwrap();
        assert_eq!(halves.len(), parts * parts * taps * patches * 2, "it is of this pool");
        Self { halves, parts, patches, taps }
    }

    /// Of each patch of `part` to the nearest of a memory of these parts: N numbers per tapped layer.
    pub fn of(&self, part: usize, memory: impl Iterator<Item = usize>) -> Vec<Vec<f32>> {
        let count = self.taps * self.patches;
        let halves: &[u16] = bytemuck::cast_slice(&self.halves);
        let mut nearest = vec![u16::MAX; count];
        for other in memory {
            let row = &halves[(part * self.parts + other) * count..][..count];
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || nearest.iter_mut().zip(row).for_each(|(nearest, &other)| *nearest = other.min(*nearest)),
            );
        }
        let nearest: Vec<f16> = nearest.into_iter().map(f16::from_bits).collect();
        nearest.chunks_exact(self.patches).map(|tap| tap.to_f32_vec()).collect()
    }
}

fn find(pool: &Pool, path: &Path) {
    let (patches, taps, width) = (pool.patches(), pool.parts[0].taps.len(), pool.width);
    let count = taps * patches;
    let parts = pool.parts.len();
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    file.set_len((parts * parts * count * 2) as u64).unwrap();
    // SAFETY: the file is this program's own, and nobody else knows its name.
    let mut map = unsafe { MmapMut::map_mut(&file) }.unwrap();
    let all: &mut [u16] = bytemuck::cast_slice_mut(&mut map);
    // A part is at no distance from itself; the file is born with zeros.
    for begin in (0..parts).step_by(BLOCK) {
        let wide =
            |part: usize| -> Vec<Vec<f32>> { pool.parts[part].taps.iter().map(|tap| tap.to_f32_vec()).collect() };
        let block: Vec<Vec<Prepared>> = (begin..parts.min(begin + BLOCK))
            .map(|part| wide(part).into_iter().map(|tap| Prepared::new(tap, width)).collect())
            .collect();
        let rows: Vec<Vec<Pair>> = (begin..parts)
            .into_par_iter()
            .map_init(
                || vec![0.0f32; patches * patches],
                |products, other| {
                    let others: Vec<Prepared> = wide(other).into_iter().map(|tap| Prepared::new(tap, width)).collect();
                    let pair = |(at, part): (usize, &Vec<Prepared>)| {
                        let (mut there, mut back) = (Vec::with_capacity(count), Vec::with_capacity(count));
                        for (tap, other) in part.iter().zip(&others) {
                            let (rows, columns) = tap.largest(other, products, patches, width);
                            let distance = |cosine: f32| f16::from_f32((1.0 - cosine).clamp(0.0, 2.0)).to_bits();
                            there.extend(rows.into_iter().map(distance));
                            back.extend(columns.into_iter().map(distance));
                        }
                        (begin + at, there, back)
                    };
                    block.iter().enumerate().filter(|(at, _)| begin + at < other).map(pair).collect()
                },
            )
            .collect();
        for (other, pairs) in (begin..parts).zip(rows) {
            for (part, there, back) in pairs {
                all[(part * parts + other) * count..][..count].copy_from_slice(&there);
                all[(other * parts + part) * count..][..count].copy_from_slice(&back);
            }
        }
        eprintln!("distances of {} of {parts} parts", parts.min(begin + BLOCK));
    }
    map.flush().unwrap();
}

/// A part's tokens of one tapped layer.
struct Prepared {
    tokens: Vec<f32>,
    #[cfg(target_arch = "x86_64")]
    tiles: Option<(tiles::Rows, tiles::Columns)>,
}

impl Prepared {
    fn new(tokens: Vec<f32>, width: usize) -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            // Whole blocks alone: rows of zeros would be nearer than some.
            tiles: (tiles::are_there() && (tokens.len() / width).is_multiple_of(32)).then(|| (tiles::Rows::new(&tokens, width), tiles::Columns::new(&tokens, width))),
            tokens,
        }
    }

    /// Of each of these tokens to the other part's, and of each of those to these: in bfloat16 where there are tiles.
    fn largest(&self, other: &Self, products: &mut [f32], patches: usize, width: usize) -> (Vec<f32>, Vec<f32>) {
        #[cfg(target_arch = "x86_64")]
        if let (Some((rows, _)), Some((_, columns))) = (&self.tiles, &other.tiles) {
            const LANES: usize = 16;
            let (mut of_rows, mut of_columns) = (vec![[-1.0f32; LANES]; patches], vec![-1.0f32; patches]);
            tiles::products(
                rows,
                columns,
                #[inline(always)]
                |row, column, block| {
                    let of_columns = &mut of_columns[column..][..block.len()];
                    for (of_row, values) in of_rows[row..].iter_mut().zip(block) {
                        let mut most = *of_row;
                        for (values, of_columns) in values.chunks_exact(LANES).zip(of_columns.chunks_exact_mut(LANES)) {
                            for lane in 0..LANES {
                                let value = values[lane];
                                of_columns[lane] = if value > of_columns[lane] { value } else { of_columns[lane] };
                                most[lane] = if value > most[lane] { value } else { most[lane] };
                            }
                        }
                        *of_row = most;
                    }
                },
            );
            let of_rows = of_rows.into_iter().map(|lanes| lanes.into_iter().fold(-1.0, f32::max));
            return (of_rows.collect(), of_columns);
        }
        multiply(products, &self.tokens, &other.tokens, patches, width);
        largest(products, patches)
    }
}

/// `products` = `a`·`b`ᵀ of two parts' tokens.
fn multiply(products: &mut [f32], a: &[f32], b: &[f32], patches: usize, width: usize) {
    assert_eq!((a.len(), b.len(), products.len()), (patches * width, patches * width, patches * patches));
    let (rows, k, plain) = (patches as isize, width as isize, false);
    // SAFETY: the sizes are asserted above; the second is read transposed.
    unsafe {
        let (to, left, right) = (products.as_mut_ptr(), a.as_ptr(), b.as_ptr());
        let alone = gemm::Parallelism::None;
        gemm::gemm(
            patches, patches, width, to, 1, rows, plain, left, 1, k, right, k, 1, 0.0, 1.0, plain, plain, plain, alone,
        );
    }
}

/// Of each row and of each column.
fn largest(products: &[f32], patches: usize) -> (Vec<f32>, Vec<f32>) {
    const LANES: usize = 32;
    let (mut rows, mut columns) = (Vec::with_capacity(patches), vec![-1.0f32; patches]);
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for row in products.chunks_exact(patches) {
                let mut lanes = [-1.0f32; LANES];
                let (chunks, rest) = row.as_chunks::<LANES>();
                let (into, into_rest) = columns.as_chunks_mut::<LANES>();
                for (chunk, column) in chunks.iter().zip(into) {
                    for lane in 0..LANES {
                        let value = chunk[lane];
                        lanes[lane] = if value > lanes[lane] { value } else { lanes[lane] };
                        column[lane] = if value > column[lane] { value } else { column[lane] };
                    }
                }
                for (value, column) in rest.iter().zip(into_rest) {
                    lanes[0] = value.max(lanes[0]);
                    *column = value.max(*column);
                }
                rows.push(lanes.into_iter().fold(-1.0, f32::max));
            }
        },
    );
    (rows, columns)
}
