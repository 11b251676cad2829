//! How a record lies in a segment, and how records are found again among damage.
//!
//! A segment starts with 16 bytes: `VCPLOB`, the format (u16), the number of the segment (u64). A record is a head
//! of 32 bytes and a payload, all numbers little endian:
//!
//! | bytes | |
//! |---|---|
//! | 4 | `F5 4F 42 FD`; none of these occurs in the JSON of a payload as a pair, so a head is never found inside one |
//! | 4 | kind (u8), three zeros |
//! | 4 | length of the payload |
//! | 8 | number of the record; an acknowledgement repeats that of the record before it |
//! | 8 | time, milliseconds since 1970, never going back |
//! | 4 | CRC-32 (IEEE) of everything between the first four bytes and here, and of the payload |
//!
//! Segments are allocated with zeros, so zeros up to the end are the clean end.

use std::ops::Range;

/// Bytes before the first record.
pub const SEGMENT_HEAD: usize = 16;
/// Bytes before a payload.
pub const RECORD_HEAD: usize = 32;
/// No payload is longer; a length beyond it is damage. Events are capped far below by the size of an MQTT packet.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// No log comes so far: a number beyond it is damage.
pub const LAST_NUMBER: u64 = u64::MAX >> 1;
/// The format of segments.
pub const FORMAT: u16 = 1;

const NAME: &[u8; 6] = b"VCPLOB";
const MARK: [u8; 4] = [0xf5, 0x4f, 0x42, 0xfd];
const LENGTH: Range<usize> = 8..12;
const NUMBER: Range<usize> = 12..20;
const TIME: Range<usize> = 20..28;
const CRC: Range<usize> = 28..32;

/// Place of a record in the log; grows with every record, also across restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

impl RecordId {
    /// The record after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// JSON of an [`OwedPart`](super::OwedPart).
    Owed = 1,
    /// Eight bytes with the number of the debt it answers (0: none), then the event as JSON.
    Event = 2,
    /// Eight bytes: every event up to this number was acknowledged.
    Acked = 3,
    /// Eight bytes with the number of a debt whose event was acknowledged without ever being on disk.
    Settled = 4,
}

/// A record as it lies in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it says.
    pub kind: Kind,
    /// Its number.
    pub id: RecordId,
    /// When it was written, milliseconds since 1970.
    pub time: i64,
    /// The rest.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Bytes in the segment.
    pub fn size(payload: usize) -> usize {
        RECORD_HEAD + payload
    }

    /// Adds it to `bytes`. The payload must not be longer than [`MAX_PAYLOAD`].
    pub fn write(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend_from_slice(&MARK);
        bytes.extend_from_slice(&[self.kind as u8, 0, 0, 0]);
        bytes.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.id.0.to_le_bytes());
        bytes.extend_from_slice(&self.time.to_le_bytes());
        let crc = checksum(&bytes[start + MARK.len()..], self.payload);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(self.payload);
    }
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(payload);
    crc.finalize()
}

/// The eight bytes at the front of an event's or an acknowledgement's payload.
pub fn leading_number(payload: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = payload.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

/// The first bytes of a segment.
pub fn segment_head(number: u64) -> [u8; SEGMENT_HEAD] {
    let mut head = [0; SEGMENT_HEAD];
    head[..6].copy_from_slice(NAME);
    head[6..8].copy_from_slice(&FORMAT.to_le_bytes());
    head[8..].copy_from_slice(&number.to_le_bytes());
    head
}

/// The format that a segment's first bytes name; `None` when they are no segment's.
pub fn segment_format(bytes: &[u8]) -> Option<u16> {
    let head = bytes.get(..8)?;
    (head[..6] == NAME[..]).then(|| u16::from_le_bytes([head[6], head[7]]))
}

/// One step through a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole record, and where it lies.
    Record(Record<'a>, Range<usize>),
    /// Bytes that are no record, with a record after them.
    Damage(Range<usize>),
    /// Bytes that are no record, with nothing after them: a write that was cut short.
    Tail(Range<usize>),
}

/// Walks over the records in `bytes` from `at` on; ends at the clean end, or after a [`Step::Tail`]. Never fails and
/// never reads beyond `bytes`, whatever they hold.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    /// Starts at a record's first byte, or anywhere: what is no record is skipped.
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at: at.min(bytes.len()) }
    }

    /// Where the next step begins.
    pub fn position(&self) -> usize {
        self.at
    }

    fn record_at(&self, at: usize) -> Option<(Record<'a>, Range<usize>)> {
        let head = self.bytes.get(at..at.checked_add(RECORD_HEAD)?)?;
        if head[..MARK.len()] != MARK {
            return None;
        }
        let kind = match head[4..8] {
            [1, 0, 0, 0] => Kind::Owed,
            [2, 0, 0, 0] => Kind::Event,
            [3, 0, 0, 0] => Kind::Acked,
            [4, 0, 0, 0] => Kind::Settled,
            _ => return None,
        };
        let length = u32::from_le_bytes(head[LENGTH].try_into().ok()?) as usize;
        if length > MAX_PAYLOAD {
            return None;
        }
        let end = at + RECORD_HEAD + length;
        let payload = self.bytes.get(at + RECORD_HEAD..end)?;
        let crc = u32::from_le_bytes(head[CRC].try_into().ok()?);
        if crc != checksum(&head[MARK.len()..CRC.start], payload) {
            return None;
        }
        let id = RecordId(u64::from_le_bytes(head[NUMBER].try_into().ok()?));
        let time = i64::from_le_bytes(head[TIME].try_into().ok()?);
        let acked = kind == Kind::Acked;
        let to = leading_number(payload).map_or(0, |(to, _)| to);
        if id.0 > LAST_NUMBER || (id.0 == 0 && !acked) || (acked && to > LAST_NUMBER) {
            return None;
        }
        Some((Record { kind, id, time, payload }, at..end))
    }

    fn next_record_after(&self, at: usize) -> Option<usize> {
        let rest = self.bytes.get(at..)?;
        let found = rest.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
        found.map(|(offset, _)| at + offset).find(|&at| self.record_at(at).is_some())
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        if let Some((record, range)) = self.record_at(self.at) {
            self.at = range.end;
            return Some(Step::Record(record, range));
        }
        let start = self.at;
        if self.bytes[start..].iter().all(|byte| *byte == 0) {
            return None;
        }
        match self.next_record_after(start + 1) {
            Some(next) => {
                self.at = next;
                Some(Step::Damage(start..next))
            }
            None => {
                self.at = self.bytes.len();
                Some(Step::Tail(start..self.bytes.len()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(payloads: &[Vec<u8>]) -> (Vec<u8>, Vec<Range<usize>>) {
        let mut bytes = segment_head(1).to_vec();
        let mut places = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            let start = bytes.len();
            let id = RecordId(index as u64 + 1);
            Record { kind: Kind::Event, id, time: index as i64, payload }.write(&mut bytes);
            places.push(start..bytes.len());
        }
        (bytes, places)
    }

    fn walked(bytes: &[u8]) -> Vec<Step<'_>> {
        Walk::new(bytes, SEGMENT_HEAD).collect()
    }

    fn ids(steps: &[Step<'_>]) -> Vec<u64> {
        let id = |step: &Step<'_>| match step {
            Step::Record(record, _) => Some(record.id.0),
            _ => None,
        };
        steps.iter().filter_map(id).collect()
    }

    #[test]
    fn zeros_are_the_clean_end_and_a_torn_record_is_a_tail() {
        let (mut bytes, places) = written(&[b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(segment_format(&bytes), Some(FORMAT));
        bytes.extend([0; 500]);
        assert_eq!(walked(&bytes).len(), 2);
        // The allocated zeros stand where the end of the second record should be.
        bytes[places[1].end - 1] = 0;
        assert_eq!(walked(&bytes)[1], Step::Tail(places[1].start..bytes.len()));
    }

    /// The numbers of the format, written down: a later version must still read them.
    #[test]
    fn the_format_is_fixed() {
        let mut bytes = segment_head(7).to_vec();
        Record { kind: Kind::Acked, id: RecordId(7), time: 258, payload: &[6, 0, 0, 0, 0, 0, 0, 0] }.write(&mut bytes);
        let fixed: [u8; 56] = [
            b'V', b'C', b'P', b'L', b'O', b'B', 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0xf5, 0x4f, 0x42, 0xfd, 3, 0, 0, 0, 8, 0,
            0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
        ];
        // All but the checksum, which the walk judges.
        assert_eq!((&bytes[..44], &bytes[48..]), (&fixed[..44], &fixed[48..]));
        assert_eq!(ids(&walked(&bytes)), [7]);
    }

    #[test]
    fn a_number_that_no_log_reaches_is_damage() {
        let record = |kind, id: u64, to: u64| {
            let mut bytes = segment_head(1).to_vec();
            Record { kind, id: RecordId(id), time: 1, payload: &to.to_le_bytes() }.write(&mut bytes);
            ids(&walked(&bytes))
        };
        assert_eq!(record(Kind::Event, 1, 0), [1]);
        assert_eq!(record(Kind::Acked, 0, 0), [0]);
        for (kind, id, to) in [(Kind::Event, u64::MAX, 0), (Kind::Owed, 0, 0), (Kind::Acked, 1, u64::MAX)] {
            assert!(record(kind, id, to).is_empty(), "{kind:?} {id} {to}");
        }
    }

    proptest! {
        /// Whatever one stretch of damage does, all records outside of it are found, and none is invented.
        #[test]
        fn records_outside_the_damage_are_found(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
            at in any::<prop::sample::Index>(),
            damage in prop::collection::vec(any::<u8>(), 1..60),
        ) {
            let (mut bytes, places) = written(&payloads);
            let start = SEGMENT_HEAD + at.index(bytes.len() - SEGMENT_HEAD);
            let end = (start + damage.len()).min(bytes.len());
            bytes[start..end].copy_from_slice(&damage[..end - start]);
            let steps = walked(&bytes);
            let sound = |place: &Range<usize>| place.end <= start || place.start >= end;
            let expected: Vec<u64> =
                places.iter().enumerate().filter(|(_, place)| sound(place)).map(|(i, _)| i as u64 + 1).collect();
            // What was overwritten with what stood there before is no damage.
            let found = ids(&steps);
            prop_assert!(expected.iter().all(|id| found.contains(id)), "{found:?} lacks some of {expected:?}");
            for step in &steps {
                if let Step::Record(record, _) = step {
                    prop_assert_eq!(record.payload, &payloads[record.id.0 as usize - 1][..]);
                }
            }
        }

        /// A segment that ends anywhere: the records before the cut, then at most one tail.
        #[test]
        fn a_cut_costs_only_what_is_behind_it(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..10),
            at in any::<prop::sample::Index>(),
            zeros in 0..100usize,
        ) {
            let (mut bytes, places) = written(&payloads);
            let cut = SEGMENT_HEAD + at.index(bytes.len() - SEGMENT_HEAD + 1);
            bytes.truncate(cut);
            bytes.extend(std::iter::repeat_n(0, zeros));
            let whole = places.iter().filter(|place| place.end <= cut).count() as u64;
            let found = ids(&walked(&bytes));
            // Zeros may happen to be what was cut off.
            prop_assert!(found.len() as u64 >= whole && found[..whole as usize] == (1..=whole).collect::<Vec<_>>()[..]);
        }

        #[test]
        fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let end = Walk::new(&bytes, 0).fold(0, |_, step| match step {
                Step::Record(_, range) | Step::Damage(range) | Step::Tail(range) => range.end,
            });
            prop_assert!(end <= bytes.len());
        }
    }
}
