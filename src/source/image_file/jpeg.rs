//! JPEG: a picture counts when every block of every scan is there and the end is marked, not when a decoder says nothing.

use image::metadata::Orientation;

use super::error::{Refusal, check_size};
use super::jpeg_entropy::{Band, Bits, Break, Table, dc_first, dc_refine, sequential};
use super::jpeg_tables::default_tables;
use super::orientation::of_exif;

/// Bytes that cheap encoders leave after the last block of a scan; more of them mean that something was lost.
const MOST_SURPLUS: usize = 8;

/// What is known of a JPEG before its pixels are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Columns and rows as stored.
    pub size: (u32, u32),
    pub channels: usize,
    pub orientation: Orientation,
}

struct Component {
    id: u8,
    h: usize,
    v: usize,
    /// Columns and rows of blocks that hold its pixels, and of those that are stored in an interleaved scan.
    own: (usize, usize),
    stored: (usize, usize),
    /// Per coefficient, the lowest bit that has come so far; above 13 is none.
    lowest: [u8; 64],
    /// Per block, a bit for each coefficient that is not zero.
    known: Vec<u64>,
}

struct Frame {
    size: (u32, u32),
    progressive: bool,
    /// Columns and rows of interleaved units.
    units: (usize, usize),
    components: Vec<Component>,
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    interval: usize,
    frame: Option<Frame>,
    orientation: Option<Orientation>,
}

/// Is this the beginning of a JPEG?
pub(crate) fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0xD8, 0xFF])
}

/// Follows a JPEG from its beginning to the marker of its end. What comes after it is no part of the picture.
pub(crate) fn check(bytes: &[u8]) -> Result<Checked, Refusal> {
    let (dc, ac) = default_tables();
    Walk { bytes, at: 2, dc, ac, interval: 0, frame: None, orientation: None }.run()
}

fn cut() -> Refusal {
    Refusal::damaged("the file ends before the picture does")
}

fn malformed(what: &str) -> Refusal {
    Refusal::damaged(format_args!("its {what} cannot be understood"))
}

impl<'a> Walk<'a> {
    fn run(mut self) -> Result<Checked, Refusal> {
        loop {
            match self.marker()? {
                0xC4 => self.huffman_tables()?,
                0xC0..=0xC2 => self.frame(self.bytes[self.at - 1] == 0xC2)?,
                0xC3 | 0xC7 | 0xCB | 0xCF => return Err(Refusal::because("is a lossless JPEG, which is not read")),
                0xC5 | 0xC6 => return Err(Refusal::because("is a hierarchical JPEG, which is not read")),
                0xC9..=0xCE => return Err(Refusal::because("is a JPEG with arithmetic coding, which is not read")),
                0xD8 => return Err(Refusal::damaged("another picture begins before this one ends")),
                0xD9 => return self.whole(),
                0xDA => self.scan()?,
                0xDD => {
                    let interval = self.segment()?.first_chunk().copied().ok_or_else(|| malformed("DRI segment"))?;
                    self.interval = usize::from(u16::from_be_bytes(interval));
                }
                0xE1 => {
                    let content = self.segment()?;
                    if content.starts_with(b"Exif\0") && self.orientation.is_none() {
                        self.orientation = Some(of_exif(content));
                    }
                }
                // One that belongs to no scan any more, and those without content.
                0xD0..=0xD7 | 0x01 => {}
                _ => {
                    self.segment()?;
                }
            }
        }
    }

    /// The next marker's code, past it.
    fn marker(&mut self) -> Result<u8, Refusal> {
        loop {
            match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<2>()) {
                None => return Err(cut()),
                Some([0xFF, code @ 1..=0xFE]) => {
                    self.at += 2;
                    return Ok(*code);
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// The content of a segment, past it.
    fn segment(&mut self) -> Result<&'a [u8], Refusal> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = usize::from(u16::from_be_bytes(*rest.first_chunk().ok_or_else(cut)?));
        if length < 2 {
            return Err(malformed("segments"));
        }
        self.at += length;
        rest.get(2..length).ok_or_else(cut)
    }

    fn huffman_tables(&mut self) -> Result<(), Refusal> {
        let wrong = || malformed("Huffman tables");
        let mut rest = self.segment()?;
        while let Some((&[place], after)) = rest.split_first_chunk::<1>() {
            let (counts, after) = after.split_first_chunk::<16>().ok_or_else(wrong)?;
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, after) = after.split_at_checked(total).ok_or_else(wrong)?;
            let table = Table::new(counts, symbols).ok_or_else(wrong)?;
            let tables = if place >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(place & 15)).ok_or_else(wrong)? = Some(table);
            rest = after;
        }
        Ok(())
    }

    fn frame(&mut self, progressive: bool) -> Result<(), Refusal> {
        let wrong = || malformed("frame header");
        let content = self.segment()?;
        if self.frame.is_some() {
            return Err(malformed("second frame header"));
        }
        let (&[bits, h1, h0, w1, w0, count], rest) = content.split_first_chunk::<6>().ok_or_else(wrong)?;
        let (height, width) = (u16::from_be_bytes([h1, h0]), u16::from_be_bytes([w1, w0]));
        if bits != 8 {
            return Err(Refusal::because(format!("is a JPEG with {bits} bits a channel; save it with 8")));
        }
        if height == 0 {
            return Err(Refusal::because("is a JPEG that tells its height at the end (DNL), which is not read"));
        }
        check_size(u32::from(width), u32::from(height))?;
        let parts: Vec<[u8; 3]> = rest.as_chunks::<3>().0.iter().take(usize::from(count)).copied().collect();
        let factor = |value: u8| (usize::from(value >> 4), usize::from(value & 15));
        let factors: Vec<_> = parts.iter().map(|part| factor(part[1])).collect();
        let valid = |(h, v): &(usize, usize)| (1..=4).contains(h) && (1..=4).contains(v);
        if width == 0 || parts.len() != usize::from(count) || !(1..=4).contains(&count) || !factors.iter().all(valid) {
            return Err(wrong());
        }
        let most_h = factors.iter().map(|factor| factor.0).max().unwrap_or(1);
        let most_v = factors.iter().map(|factor| factor.1).max().unwrap_or(1);
        let (width, height) = (usize::from(width), usize::from(height));
        let units = (width.div_ceil(8 * most_h), height.div_ceil(8 * most_v));
        let component = |(part, &(h, v)): (&[u8; 3], &(usize, usize))| {
            let stored = (units.0 * h, units.1 * v);
            Component {
                id: part[0],
                h,
                v,
                own: ((width * h).div_ceil(most_h).div_ceil(8), (height * v).div_ceil(most_v).div_ceil(8)),
                stored,
                lowest: [u8::MAX; 64],
                known: if progressive { vec![0; stored.0 * stored.1] } else { Vec::new() },
            }
        };
        let components = parts.iter().zip(&factors).map(component).collect();
        self.frame = Some(Frame { size: (width as u32, height as u32), progressive, units, components });
        Ok(())
    }

    fn scan(&mut self) -> Result<(), Refusal> {
        let wrong = || malformed("scan header");
        let content = self.segment()?;
        let frame = self.frame.as_mut().ok_or_else(wrong)?;
        let (&[count], rest) = content.split_first_chunk::<1>().ok_or_else(wrong)?;
        let (parts, rest) = rest.split_at_checked(usize::from(count) * 2).ok_or_else(wrong)?;
        let &[from, to, bits] = rest.first_chunk::<3>().ok_or_else(wrong)?;
        let (high, low) = (bits >> 4, bits & 15);
        let (from, to, high, low) = if frame.progressive { (from, to, high, low) } else { (0, 63, 0, 0) };
        let mut chosen: Vec<(usize, usize, usize)> = Vec::new();
        for part in parts.as_chunks::<2>().0 {
            let at = frame.components.iter().position(|component| component.id == part[0]).ok_or_else(wrong)?;
            if chosen.iter().any(|&(other, ..)| other == at) {
                return Err(wrong());
            }
            chosen.push((at, usize::from(part[1] >> 4), usize::from(part[1] & 15)));
        }
        let bands = from <= to && to < 64 && (from > 0 || to == 0 || !frame.progressive);
        if chosen.is_empty() || !bands || low > 13 || (from > 0 && chosen.len() > 1) {
            return Err(wrong());
        }
        for &(at, ..) in &chosen {
            for lowest in &mut frame.components[at].lowest[usize::from(from)..=usize::from(to)] {
                // Bits come from the highest down, each once.
                let begins = *lowest == u8::MAX && high == 0;
                if !(begins || high > 0 && *lowest == high && low + 1 == high) {
                    return Err(Refusal::damaged("a scan is missing"));
                }
                *lowest = low;
            }
        }
        let mut units = Units {
            frame,
            chosen,
            dc: &self.dc,
            ac: &self.ac,
            end_run: 0,
            range: (u32::from(from), u32::from(to)),
            refines: high > 0,
        };
        self.at = follow(self.bytes, self.at, self.interval, &mut units)?;
        Ok(())
    }

    /// The end is there: are all scans?
    fn whole(self) -> Result<Checked, Refusal> {
        let frame = self.frame.ok_or_else(|| malformed("end without a picture"))?;
        if frame.components.iter().any(|component| component.lowest != [0; 64]) {
            return Err(Refusal::damaged("a scan is missing"));
        }
        let orientation = self.orientation.unwrap_or(Orientation::NoTransforms);
        Ok(Checked { size: frame.size, channels: frame.components.len(), orientation })
    }
}

/// The units of one scan.
struct Units<'a> {
    frame: &'a mut Frame,
    /// Component, DC table, AC table.
    chosen: Vec<(usize, usize, usize)>,
    dc: &'a [Option<Table>; 4],
    ac: &'a [Option<Table>; 4],
    end_run: u32,
    range: (u32, u32),
    refines: bool,
}

impl Units<'_> {
    fn count(&self) -> usize {
        match self.chosen[..] {
            [(only, ..)] => self.frame.components[only].own.0 * self.frame.components[only].own.1,
            _ => self.frame.units.0 * self.frame.units.1,
        }
    }

    fn next(&mut self, unit: usize, bits: &mut Bits<'_>) -> Result<(), Break> {
        if let [(only, dc, ac)] = self.chosen[..] {
            let component = &self.frame.components[only];
            let (column, row) = (unit % component.own.0, unit / component.own.0);
            return self.block(only, (dc, ac), row * component.stored.0 + column, bits);
        }
        let (column, row) = (unit % self.frame.units.0, unit / self.frame.units.0);
        for chosen in 0..self.chosen.len() {
            let (at, dc, ac) = self.chosen[chosen];
            let Component { h, v, stored, .. } = self.frame.components[at];
            for y in row * v..(row + 1) * v {
                for x in column * h..(column + 1) * h {
                    self.block(at, (dc, ac), y * stored.0 + x, bits)?;
                }
            }
        }
        Ok(())
    }

    fn block(&mut self, component: usize, tables: (usize, usize), at: usize, bits: &mut Bits<'_>) -> Result<(), Break> {
        if !self.frame.progressive {
            return sequential(bits, lookup(self.dc, tables.0)?, lookup(self.ac, tables.1)?);
        }
        match (self.range.0, self.refines) {
            (0, false) => dc_first(bits, lookup(self.dc, tables.0)?),
            (0, true) => dc_refine(bits),
            (from, refines) => {
                let table = lookup(self.ac, tables.1)?;
                let known = &mut self.frame.components[component].known[at];
                let mut band = Band { table, from, to: self.range.1, end_run: self.end_run };
                if refines { band.refine(bits, known) } else { band.first(bits, known) }?;
                self.end_run = band.end_run;
                Ok(())
            }
        }
    }
}

fn lookup(tables: &[Option<Table>; 4], at: usize) -> Result<&Table, Break> {
    tables.get(at).and_then(Option::as_ref).ok_or(Break::Invalid)
}

/// Follows a scan's data from `at`; where its next marker is.
fn follow(bytes: &[u8], at: usize, interval: usize, units: &mut Units<'_>) -> Result<usize, Refusal> {
    let count = units.count();
    let mut bits = Bits::new(bytes, at);
    for unit in 0..count {
        if interval > 0 && unit > 0 && unit % interval == 0 {
            let (end, surplus) = bits.finish();
            let mut end = end;
            while bytes.get(end..end + 2) == Some(&[0xFF, 0xFF]) {
                end += 1;
            }
            let expected = 0xD0 + (unit / interval - 1) as u8 % 8;
            if surplus > 0 || bytes.get(end..end + 2) != Some(&[0xFF, expected]) {
                return Err(broken(Break::Short, unit, count));
            }
            bits = Bits::new(bytes, end + 2);
            units.end_run = 0;
        }
        units.next(unit, &mut bits).map_err(|why| broken(why, unit, count))?;
    }
    let (end, surplus) = bits.finish();
    if surplus > MOST_SURPLUS {
        return Err(Refusal::damaged(format_args!("{surplus} bytes follow the last block of a scan")));
    }
    Ok(end)
}

fn broken(why: Break, unit: usize, count: usize) -> Refusal {
    match why {
        Break::Short => Refusal::damaged(format_args!("{unit} of {count} blocks of a scan are there")),
        Break::Invalid => {
            Refusal::damaged(format_args!("the data breaks off after {unit} of {count} blocks of a scan"))
        }
    }
}
