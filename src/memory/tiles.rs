//! The largest products of rows in bfloat16 on the matrix tiles of x86-64 processors (AMX), sixteen times as fast as in f32.
//!
//! Products of bfloat16 are added in f32 (Intel Architecture Instruction Set Extensions Programming Reference, chapter 3):
//! a cosine is off by about 1e-4, less than what tokens that a network gives in bfloat16 are off by themselves.
#![allow(unsafe_code)] // what stable Rust has no functions for: tile instructions, and the permission to use them

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use rayon::prelude::*;

use crate::vcp_clip::simd;

/// Rows of a tile, and columns of a product of two tiles.
const ROWS: usize = 16;
/// Numbers in a row of a tile.
const DEEP: usize = 32;
/// Numbers in a tile.
const TILE: usize = ROWS * DEEP;
/// Two tiles by two, all of whose products are in registers.
const BLOCK: usize = 2 * ROWS;
/// Rows of the memory that are made bfloat16 together: 0.5 MB of a ViT-L/14, which stay in a core's cache while all tokens
/// pass by.
const TASK: usize = 256;

/// Whether processor and system let this process use them; asks the system for it once.
pub fn are_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        const OSXSAVE: u32 = 1 << 27;
        const AMX_BF16_AND_TILE: u32 = 1 << 22 | 1 << 24;
        const TILE_STATE: u32 = 1 << 17 | 1 << 18;
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XTILEDATA: libc::c_long = 18;
        if __cpuid_count(0, 0).eax < 7 || __cpuid_count(1, 0).ecx & OSXSAVE == 0 {
            return false;
        }
        if __cpuid_count(7, 0).edx & AMX_BF16_AND_TILE != AMX_BF16_AND_TILE {
            return false;
        }
        let state: u32;
        // SAFETY: the processor has XGETBV (asked above), which reads register 0 and touches no memory.
        unsafe { asm!("xgetbv", in("ecx") 0, out("eax") state, out("edx") _, options(nomem, nostack)) };
        // SAFETY: the call takes two numbers and touches no memory of this process (Documentation/arch/x86/xstate.rst).
        state & TILE_STATE == TILE_STATE
            && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) } == 0
    })
}

/// For each of `tokens` its largest product with a row of `memory`; both hold rows of `width` numbers. Rows whose index
/// `left_out` names are passed over, and −1 is the least. `None` where there are no tiles.
pub fn largest(
    tokens: &[f32],
    memory: &[f32],
    width: usize,
    left_out: &(impl Fn(usize) -> bool + Sync),
) -> Option<Vec<f32>> {
    if !are_there() {
        return None;
    }
    let columns = Columns::new(tokens, width);
    let none = || vec![-1.0f32; columns.padded()];
    let mut best = memory
        .par_chunks(TASK * width)
        .enumerate()
        .fold(none, |mut best, (task, memory)| {
            let rows = Rows::new(memory, width);
            let counts = |row: usize| row < rows.count && !left_out(task * TASK + row);
            let which: Vec<bool> = (0..rows.padded()).map(counts).collect();
            products(
                &rows,
                &columns,
                #[inline(always)]
                |row, column, block| {
                    let best = &mut best[column..][..BLOCK];
                    for (row, counts) in block.iter().zip(&which[row..]) {
                        if *counts {
                            for (best, &value) in best.iter_mut().zip(row) {
                                *best = if value > *best { value } else { *best };
                            }
                        }
                    }
                },
            );
            best
        })
        .reduce(none, |mut a, b| {
            a.iter_mut().zip(&b).for_each(|(a, &b)| *a = a.max(b));
            a
        });
    best.truncate(columns.count);
    Some(best)
}

/// Rows of numbers as tiles, with rows of zeros up to whole blocks.
pub struct Rows {
    tiles: Vec<u16>,
    deep: usize,
    /// Those that were given.
    pub count: usize,
}

/// The same as the columns of tiles.
pub struct Columns {
    tiles: Vec<u16>,
    deep: usize,
    /// Those that were given.
    pub count: usize,
}

/// Products of 32 rows with 32 columns.
pub type Block = [[f32; BLOCK]; BLOCK];

impl Rows {
    /// Of rows of `width` numbers.
    pub fn new(rows: &[f32], width: usize) -> Self {
        let (tiles, deep, count) = packed(rows, width, pack_rows);
        Self { tiles, deep, count }
    }

    /// A multiple of 32.
    pub fn padded(&self) -> usize {
        self.count.div_ceil(BLOCK) * BLOCK
    }
}

impl Columns {
    /// Of rows of `width` numbers.
    pub fn new(rows: &[f32], width: usize) -> Self {
        let (tiles, deep, count) = packed(rows, width, pack_columns);
        Self { tiles, deep, count }
    }

    /// A multiple of 32.
    pub fn padded(&self) -> usize {
        self.count.div_ceil(BLOCK) * BLOCK
    }
}

fn packed(rows: &[f32], width: usize, pack: fn(&[f32], usize, &mut [u16])) -> (Vec<u16>, usize, usize) {
    let (count, deep) = (rows.len() / width, width.div_ceil(DEEP).max(1));
    let mut tiles = vec![0; count.div_ceil(BLOCK) * BLOCK * deep * DEEP];
    tiles.par_chunks_mut(ROWS * deep * DEEP).zip(rows.par_chunks(ROWS * width)).for_each(|(tiles, rows)| {
        pack(rows, width, tiles);
    });
    (tiles, deep, count)
}

/// Each block of products, with its first row and column, for `take` (`#[inline(always)]`, see [`simd::dispatch`]). Only where
/// [`are_there`].
pub fn products(rows: &Rows, columns: &Columns, mut take: impl FnMut(usize, usize, &Block)) {
    assert_eq!(rows.deep, columns.deep, "rows of one width");
    let panel = BLOCK * rows.deep * DEEP;
    let tiles = Tiles::new();
    let mut block = [[0.0f32; BLOCK]; BLOCK];
    for (column, columns) in columns.tiles.chunks_exact(panel).enumerate() {
        for (row, some) in rows.tiles.chunks_exact(panel).enumerate() {
            tiles.multiply(some, columns, rows.deep, &mut block);
            simd::dispatch(
                #[inline(always)]
                || take(row * BLOCK, column * BLOCK, &block),
            );
        }
    }
}

#[inline(always)]
fn bfloat(value: f32) -> u16 {
    // To the nearest, ties to even.
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// Up to 16 rows as tiles one behind the other: each has 32 numbers of every row.
fn pack_rows(rows: &[f32], width: usize, tiles: &mut [u16]) {
    simd::dispatch(
        #[inline(always)]
        || {
            for (at, row) in rows.chunks_exact(width).enumerate() {
                for (tile, numbers) in tiles.chunks_exact_mut(TILE).zip(row.chunks(DEEP)) {
                    for (to, &value) in tile[at * DEEP..].iter_mut().zip(numbers) {
                        *to = bfloat(value);
                    }
                }
            }
        },
    );
}

/// Up to 16 rows as the columns of tiles: in each row of a tile are two numbers of every column.
fn pack_columns(rows: &[f32], width: usize, tiles: &mut [u16]) {
    for (at, row) in rows.chunks_exact(width).enumerate() {
        for (tile, numbers) in tiles.chunks_exact_mut(TILE).zip(row.chunks(DEEP)) {
            for (i, &value) in numbers.iter().enumerate() {
                tile[i / 2 * DEEP + at * 2 + i % 2] = bfloat(value);
            }
        }
    }
}

/// This thread's tiles, all of 16 rows of 64 bytes, until it is dropped.
struct Tiles {
    /// Tiles are those of one thread.
    of_thread: std::marker::PhantomData<*const ()>,
}

impl Tiles {
    /// Only where [`are_there`].
    fn new() -> Self {
        assert!(are_there(), "who calls has asked");
        #[repr(align(64))]
        struct Config([u8; 64]);
        let mut config = Config([0; 64]);
        config.0[0] = 1;
        for tile in 0..8 {
            config.0[16 + 2 * tile] = 64;
            config.0[48 + tile] = ROWS as u8;
        }
        // SAFETY: there are tiles, and the processor reads 64 bytes, which the configuration has.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(readonly, nostack)) };
        Self { of_thread: std::marker::PhantomData }
    }

    /// `block` = the products of two tiles' rows with two tiles' columns, over `deep` tiles each.
    fn multiply(&self, rows: &[u16], columns: &[u16], deep: usize, block: &mut Block) {
        assert!(deep > 0 && rows.len() == 2 * deep * TILE && columns.len() == rows.len(), "two tiles by two");
        let half = deep * TILE;
        // SAFETY: `self` has configured the tiles. Each of the four inputs is read for `deep` tiles of 1,024 bytes, which the
        // slices have (asserted above), and the four stores fill the quarters of the block's 32 rows of 128 bytes.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{upper} + {tight}*1]",
                "tileloadd tmm6, [{left} + {tight}*1]",
                "tileloadd tmm5, [{lower} + {tight}*1]",
                "tileloadd tmm7, [{right} + {tight}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {upper}, 1024",
                "add {lower}, 1024",
                "add {left}, 1024",
                "add {right}, 1024",
                "dec {deep}",
                "jnz 2b",
                "tilestored [{to} + {row}*1], tmm0",
                "tilestored [{to} + {row}*1 + 64], tmm1",
                "tilestored [{to} + {row}*1 + 2048], tmm2",
                "tilestored [{to} + {row}*1 + 2112], tmm3",
                upper = inout(reg) rows.as_ptr() => _,
                lower = inout(reg) rows[half..].as_ptr() => _,
                left = inout(reg) columns.as_ptr() => _,
                right = inout(reg) columns[half..].as_ptr() => _,
                deep = inout(reg) deep => _,
                tight = in(reg) 64usize,
                to = in(reg) block.as_mut_ptr(),
                row = in(reg) 128usize,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: frees the tiles that `new` has configured, of this very thread.
        unsafe { asm!("tilerelease", options(nomem, nostack)) };
    }
}
