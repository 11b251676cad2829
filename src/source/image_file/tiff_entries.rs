//! The entries of a TIFF's first picture, read where they lie: small numbers are looked up and can be rewritten.

/// What stands in the first directory of a file.
pub(crate) struct Entries<'a> {
    bytes: &'a [u8],
    little: bool,
    big: bool,
    /// Where the first entry lies, and how many there are.
    first: usize,
    count: usize,
}

impl<'a> Entries<'a> {
    /// `None` when the directory is not all there.
    pub fn of_first_picture(bytes: &'a [u8]) -> Option<Self> {
        let little = bytes.starts_with(b"II");
        let big = bytes.get(2..4)?.contains(&b'+');
        let mut entries = Self { bytes, little, big, first: 0, count: 0 };
        let at = usize::try_from(if big { entries.read(8, 8)? } else { entries.read(4, 4)? }).ok()?;
        let width = if big { 8 } else { 2 };
        entries.count = usize::try_from(entries.read(at, width)?).ok()?;
        entries.first = at.checked_add(width)?;
        let end = entries.first.checked_add(entries.count.checked_mul(entries.length())?)?;
        (end <= bytes.len() && entries.values_are_there()).then_some(entries)
    }

    /// No value is longer than the file. The decoder, tiff 0.11.3, prints on standard error before it refuses such a text.
    fn values_are_there(&self) -> bool {
        (0..self.count).map(|number| self.first + number * self.length()).all(|at| {
            let width = match self.read(at + 2, 2) {
                Some(3 | 8) => 2,
                Some(4 | 9 | 11 | 13) => 4,
                Some(5 | 10 | 12 | 16..=18) => 8,
                _ => 1,
            };
            let count = self.read(at + 4, if self.big { 8 } else { 4 });
            count.and_then(|count| count.checked_mul(width)).is_some_and(|length| length <= self.bytes.len() as u64)
        })
    }

    fn length(&self) -> usize {
        if self.big { 20 } else { 12 }
    }

    fn read(&self, at: usize, length: usize) -> Option<u64> {
        let field = self.bytes.get(at..at.checked_add(length)?)?;
        let join = |value, &byte: &u8| value << 8 | u64::from(byte);
        Some(if self.little { field.iter().rev().fold(0, join) } else { field.iter().fold(0, join) })
    }

    /// Where the value of `tag` begins, and how many bytes a number of it has.
    fn place(&self, tag: u16) -> Option<(usize, usize)> {
        let places = (0..self.count).map(|number| self.first + number * self.length());
        let at = places.into_iter().find(|&at| self.read(at, 2) == Some(u64::from(tag)))?;
        let width = match self.read(at + 2, 2)? {
            1 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 13 => 4,
            16..=18 => 8,
            _ => return None,
        };
        let (count_length, place, inline) = if self.big { (8, at + 12, 8) } else { (4, at + 8, 4) };
        let count = usize::try_from(self.read(at + 4, count_length)?).ok()?;
        match count.checked_mul(width)? {
            0 => None,
            length if length <= inline => Some((place, width)),
            _ => Some((usize::try_from(self.read(place, inline)?).ok()?, width)),
        }
    }

    /// The first number of a tag; `None` without the tag, or when it holds no whole numbers.
    pub fn number(&self, tag: u16) -> Option<u64> {
        let (at, width) = self.place(tag)?;
        self.read(at, width)
    }

    /// The file with other numbers in these tags; `None` without one of them, or where it has no room for its number.
    pub fn rewritten(&self, numbers: &[(u16, u64)]) -> Option<Vec<u8>> {
        let mut bytes = self.bytes.to_vec();
        for &(tag, number) in numbers {
            let (at, width) = self.place(tag)?;
            let field = bytes.get_mut(at..at.checked_add(width)?)?;
            let number = number.to_le_bytes();
            let (low, high) = number.split_at(width);
            if high.iter().any(|byte| *byte != 0) {
                return None;
            }
            field.copy_from_slice(low);
            if !self.little {
                field.reverse();
            }
        }
        Some(bytes)
    }
}
