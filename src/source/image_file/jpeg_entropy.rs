//! The entropy-coded data of a JPEG, followed block by block without computing pixels: what is there, and what is missing.
//!
//! ITU-T T.81, annexes F and G. Decoders fill what is missing with grey and say nothing, so the blocks are counted here.

/// Codes of up to this many bits are found in one step.
const FAST: u32 = 9;

/// Why a scan is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// A marker or the end of the file comes before the last block.
    Short,
    /// No code, or a coefficient past the last one.
    Invalid,
}

/// A Huffman table.
#[derive(Clone)]
pub struct Table {
    /// Per beginning of a code: its length and symbol, length 0 for a longer code.
    fast: Vec<(u8, u8)>,
    /// Per length, the code after its last one, aligned to 16 bits.
    end: [u32; 17],
    /// Per length, what to add to a code to find its symbol.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// From the number of codes per length, 1 to 16, and the symbols in the order of their codes. `None` for more codes
    /// than there are bits for.
    pub fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table =
            Self { fast: vec![(0, 0); 1 << FAST], end: [0; 17], offset: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut index) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            table.offset[length as usize] = index as i32 - code as i32;
            for _ in 0..count {
                let symbol = *symbols.get(index)?;
                if code >= 1 << length {
                    return None;
                }
                if length <= FAST {
                    let first = (code << (FAST - length)) as usize;
                    table.fast[first..first + (1 << (FAST - length))].fill((length as u8, symbol));
                }
                (code, index) = (code + 1, index + 1);
            }
            table.end[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }

    fn decode(&self, bits: &mut Bits<'_>) -> Result<u8, Break> {
        let next = bits.peek();
        let (length, symbol) = self.fast[(next >> (16 - FAST)) as usize];
        if length > 0 {
            bits.skip(u32::from(length))?;
            return Ok(symbol);
        }
        // Past the end come ones, which are no code.
        let none = if bits.count < 16 { Break::Short } else { Break::Invalid };
        let length = (FAST + 1..=16).find(|&length| next < self.end[length as usize]).ok_or(none)?;
        let index = (next >> (16 - length)) as i32 + self.offset[length as usize];
        let symbol = usize::try_from(index).ok().and_then(|index| self.symbols.get(index)).ok_or(Break::Invalid)?;
        bits.skip(length)?;
        Ok(*symbol)
    }
}

/// Bits of a scan, up to its next marker.
pub struct Bits<'a> {
    data: &'a [u8],
    /// The next byte that is not held; a marker, or the end, when no more come.
    at: usize,
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at, held: 0, count: 0 }
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let (byte, length) = match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xFF), Some(0)) => (0xFF, 2),
                (Some(0xFF), _) | (None, _) => return,
                (Some(&byte), _) => (byte, 1),
            };
            self.at += length;
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// The next 16 bits; ones where there are no more.
    fn peek(&mut self) -> u32 {
        if self.count < 16 {
            self.fill();
        }
        let next = match self.count.checked_sub(16) {
            Some(rest) => self.held >> rest,
            None => (self.held << (16 - self.count)) | ((1 << (16 - self.count)) - 1),
        };
        (next & 0xFFFF) as u32
    }

    /// At most 16 bits.
    fn take(&mut self, length: u32) -> Result<u32, Break> {
        let next = self.peek();
        self.skip(length)?;
        Ok(if length == 0 { 0 } else { next >> (16 - length) })
    }

    fn skip(&mut self, length: u32) -> Result<(), Break> {
        if self.count < length {
            self.fill();
        }
        self.count = self.count.checked_sub(length).ok_or(Break::Short)?;
        Ok(())
    }

    /// Where the data ends: the next marker, or the end of the file; and how many bytes before it nobody asked for, those
    /// that only fill up aside.
    pub fn finish(mut self) -> (usize, usize) {
        // What is left of the byte that the last code ended in.
        self.count -= self.count % 8;
        let mut surplus = 0;
        loop {
            while self.count > 0 {
                self.count -= 8;
                let byte = (self.held >> self.count) as u8;
                surplus += usize::from(!(byte == 0 || byte == 0xFF));
            }
            let before = self.at;
            self.fill();
            if self.at == before {
                return (self.at, surplus);
            }
        }
    }
}

/// A block of a scan that has all coefficients.
pub fn sequential(bits: &mut Bits<'_>, dc: &Table, ac: &Table) -> Result<(), Break> {
    dc_first(bits, dc)?;
    let mut k = 1;
    while k < 64 {
        let code = ac.decode(bits)?;
        let (run, size) = (u32::from(code >> 4), u32::from(code & 15));
        match (run, size) {
            (15, 0) => k += 16,
            (_, 0) => return Ok(()),
            _ => {
                k += run + 1;
                if k > 64 {
                    return Err(Break::Invalid);
                }
                bits.skip(size)?;
            }
        }
    }
    Ok(())
}

/// The first scan of a progressive picture's DC coefficients.
pub fn dc_first(bits: &mut Bits<'_>, dc: &Table) -> Result<(), Break> {
    let size = dc.decode(bits)?;
    if size > 15 {
        return Err(Break::Invalid);
    }
    bits.skip(u32::from(size))
}

/// One more bit of a DC coefficient.
pub fn dc_refine(bits: &mut Bits<'_>) -> Result<(), Break> {
    bits.skip(1)
}

/// One scan of AC coefficients `from` to `to`: which are not zero, and for how many blocks nothing comes.
pub struct Band<'a> {
    pub table: &'a Table,
    pub from: u32,
    pub to: u32,
    pub end_run: u32,
}

impl Band<'_> {
    /// A block's first bits. `known` has a bit per coefficient that is not zero.
    pub fn first(&mut self, bits: &mut Bits<'_>, known: &mut u64) -> Result<(), Break> {
        if self.end_run > 0 {
            self.end_run -= 1;
            return Ok(());
        }
        let mut k = self.from;
        while k <= self.to {
            let code = self.table.decode(bits)?;
            let (run, size) = (u32::from(code >> 4), u32::from(code & 15));
            match (run, size) {
                (15, 0) => k += 16,
                (run, 0) => {
                    self.end_run = (1 << run) - 1 + bits.take(run)?;
                    return Ok(());
                }
                _ => {
                    k += run;
                    if k > self.to {
                        return Err(Break::Invalid);
                    }
                    bits.skip(size)?;
                    *known |= 1 << k;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    /// One more bit of each coefficient of a block.
    pub fn refine(&mut self, bits: &mut Bits<'_>, known: &mut u64) -> Result<(), Break> {
        let mut k = self.from;
        while self.end_run == 0 && k <= self.to {
            let code = self.table.decode(bits)?;
            let (mut run, size) = (u32::from(code >> 4), u32::from(code & 15));
            match (run, size) {
                (15, 0) => {}
                (run, 0) => {
                    self.end_run = (1 << run) + bits.take(run)?;
                    break;
                }
                (_, 1) => bits.skip(1)?,
                _ => return Err(Break::Invalid),
            }
            // Past as many coefficients that stay zero; each one on the way that is none has a bit of its own.
            while k <= self.to {
                if *known >> k & 1 == 1 {
                    bits.skip(1)?;
                } else if run == 0 {
                    break;
                } else {
                    run -= 1;
                }
                k += 1;
            }
            if size > 0 {
                if k > self.to {
                    return Err(Break::Invalid);
                }
                *known |= 1 << k;
            }
            k += 1;
        }
        if self.end_run > 0 {
            for k in k..=self.to {
                bits.skip((*known >> k & 1) as u32)?;
            }
            self.end_run -= 1;
        }
        Ok(())
    }
}
