//! Opcodes with their arguments, as they stand in a pickle.

use super::hostile;
use super::value::{Node, PickleError, Value, damaged};

/// Bytes of one string, enough for any tensor name.
const MAX_STRING: usize = 1 << 20;
/// Names of functions, classes and storages: each is copied where it is used.
pub(super) const MAX_NAME: usize = 1024;

/// A step of a pickle.
pub(super) enum Op {
    Stop,
    /// Protocol number, or the length of a block.
    Nothing,
    Mark,
    Pop,
    PopMark,
    Duplicate,
    Push(Value),
    PushNode(Node),
    /// The name lies on the stack, above its module.
    Global,
    /// Under this number, or else the next one.
    Store(Option<u64>),
    Recall(u64),
    /// Of the values behind the mark, as are the next two.
    Tuple,
    List,
    Dict,
    /// Of so many values.
    TupleOf(usize),
    /// Of the values behind the mark, which nothing here needs.
    Frozen,
    Append,
    /// The values behind the mark.
    Extend,
    Set,
    /// The pairs behind the mark.
    Update,
    /// By the persistent id on the stack.
    Storage,
    New,
    /// As [`Op::New`] with arguments by name.
    NewNamed,
    /// By the class and arguments behind the mark.
    NewMarked,
    /// As [`Op::NewMarked`] for this class.
    NewOf(Value),
    Call,
    Build,
}

/// What is left of a pickle.
pub(super) struct Opcodes<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Opcodes<'a> {
    /// Reads the next opcode with its arguments.
    pub(super) fn read(&mut self) -> Result<Op, PickleError> {
        Ok(match self.take(1)?[0] {
            b'.' => Op::Stop,
            0x80 => self.protocol()?,
            0x95 => {
                self.take(8)?;
                Op::Nothing
            }
            b'(' => Op::Mark,
            b'0' => Op::Pop,
            b'1' => Op::PopMark,
            b'2' => Op::Duplicate,
            b'N' => Op::Push(Value::None),
            0x88 | 0x89 => Op::Push(Value::Opaque),
            b'K' => Op::Push(Value::Int(self.length(1)? as i64)),
            b'M' => Op::Push(Value::Int(self.length(2)? as i64)),
            b'J' => Op::Push(Value::Int(i64::from(self.length(4)? as u32 as i32))),
            0x8a => Op::Push(self.long(1)?),
            b'G' => self.skip(8)?,
            0x8c => Op::Push(self.text(1)?),
            b'X' => Op::Push(self.text(4)?),
            0x8d => Op::Push(self.text(8)?),
            0x8b => Op::Push(self.long(4)?),
            b'U' => Op::Push(self.text(1)?),
            b'T' => Op::Push(self.text(4)?),
            b'C' => self.bytes(1)?,
            b'B' => self.bytes(4)?,
            0x8e | 0x96 => self.bytes(8)?,
            0x97 => Op::Push(Value::Opaque),
            // Protocol 0, as text.
            b'I' | b'L' => Op::Push(self.number()?),
            b'F' => {
                self.line()?;
                Op::Push(Value::Opaque)
            }
            b'S' => Op::Push(self.quoted()?),
            b'V' => Op::Push(self.plain()?),
            b'p' => Op::Store(Some(self.index()?)),
            b'g' => Op::Recall(self.index()?),
            b'P' => return damaged("it was saved with pickle protocol 0, which loses where the numbers are"),
            b'i' => {
                let module = self.line()?;
                Op::NewOf(global(module, self.line()?)?)
            }
            b'o' => Op::NewMarked,
            b'c' => {
                let module = self.line()?;
                Op::Push(global(module, self.line()?)?)
            }
            // Sets: what is in them is no tensor.
            0x8f => Op::PushNode(Node::List(Vec::new())),
            0x90 => Op::Extend,
            0x91 => Op::Frozen,
            0x98 => Op::Nothing,
            0x93 => Op::Global,
            b'q' => Op::Store(Some(self.length(1)? as u64)),
            b'r' => Op::Store(Some(self.length(4)? as u64)),
            0x94 => Op::Store(None),
            b'h' => Op::Recall(self.length(1)? as u64),
            b'j' => Op::Recall(self.length(4)? as u64),
            b')' => Op::PushNode(Node::Tuple(Vec::new())),
            b']' => Op::PushNode(Node::List(Vec::new())),
            b'}' => Op::PushNode(Node::Dict(Vec::new())),
            b't' => Op::Tuple,
            b'l' => Op::List,
            b'd' => Op::Dict,
            opcode @ 0x85..=0x87 => Op::TupleOf(usize::from(opcode - 0x84)),
            b'a' => Op::Append,
            b'e' => Op::Extend,
            b's' => Op::Set,
            b'u' => Op::Update,
            b'Q' => Op::Storage,
            0x81 => Op::New,
            0x92 => Op::NewNamed,
            b'R' => Op::Call,
            b'b' => Op::Build,
            other => return damaged(format!("pickle opcode 0x{other:02x} is none that Python writes")),
        })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], PickleError> {
        match self.rest.split_at_checked(count) {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => damaged("pickle ends early"),
        }
    }

    /// A little-endian length of `size` bytes.
    fn length(&mut self, size: usize) -> Result<usize, PickleError> {
        let value = self.take(size)?.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        usize::try_from(value).or_else(|_| damaged("pickle holds a length out of range"))
    }

    fn protocol(&mut self) -> Result<Op, PickleError> {
        match self.take(1)?[0] {
            0..=5 => Ok(Op::Nothing),
            protocol => damaged(format!("pickle protocol {protocol} is not one of 0 to 5")),
        }
    }

    /// An integer behind a length of `size` bytes; one of more than 64 bits is no size and no seed that matters here.
    fn long(&mut self, size: usize) -> Result<Value, PickleError> {
        let size = self.length(size)?;
        let bytes = self.take(size)?;
        if size > 8 {
            return Ok(Value::Opaque);
        }
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut filled = [if negative { 0xff } else { 0 }; 8];
        filled[..size].copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(filled)))
    }

    /// A number in decimal; `01` and `00` are truth values.
    fn number(&mut self) -> Result<Value, PickleError> {
        let line = self.line()?.trim_end_matches('L');
        Ok(match line.parse() {
            Ok(number) if line.len() < 2 || !line.starts_with('0') => Value::Int(number),
            _ => Value::Opaque,
        })
    }

    /// A text in quotation marks; one with escapes is no name of a tensor.
    fn quoted(&mut self) -> Result<Value, PickleError> {
        let Value::Str(line) = self.plain()? else { return Ok(Value::Opaque) };
        let inner = ['\'', '"'].iter().find_map(|&mark| line.strip_prefix(mark)?.strip_suffix(mark));
        Ok(inner.map_or(Value::Opaque, |inner| Value::Str(inner.into())))
    }

    /// A place in the memo, in decimal.
    fn index(&mut self) -> Result<u64, PickleError> {
        self.line()?.trim().parse().or_else(|_| damaged("pickle numbers a value by something that is no number"))
    }

    /// A value of `count` bytes that nothing here needs.
    fn skip(&mut self, count: usize) -> Result<Op, PickleError> {
        self.take(count)?;
        Ok(Op::Push(Value::Opaque))
    }

    /// As [`Self::skip`], behind a length of `size` bytes.
    fn bytes(&mut self, size: usize) -> Result<Op, PickleError> {
        let length = self.length(size)?;
        self.skip(length)
    }

    /// Text behind a length of `size` bytes. A long one is a report or a configuration and no name.
    fn text(&mut self, size: usize) -> Result<Value, PickleError> {
        let length = self.length(size)?;
        let bytes = self.take(length)?;
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) if length <= MAX_STRING => Value::Str(text.into()),
            _ => Value::Opaque,
        })
    }

    /// Text up to the end of the line; one with escapes or beyond ASCII is no name of a tensor.
    fn plain(&mut self) -> Result<Value, PickleError> {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let Some(end) = end else { return damaged("pickle ends inside a text") };
        let line = &self.take(end + 1)?[..end];
        Ok(match std::str::from_utf8(line) {
            Ok(text) if text.is_ascii() && text.len() <= MAX_STRING && !text.contains('\\') => Value::Str(text.into()),
            _ => Value::Opaque,
        })
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let end = self.rest.iter().take(MAX_STRING).position(|&byte| byte == b'\n');
        let Some(end) = end else { return damaged("pickle ends inside a name") };
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end]).or_else(|_| damaged("pickle holds a name that is not UTF-8"))
    }
}

/// The value that names a function or class; an error when it is one that acts on the machine.
pub(super) fn global(module: &str, name: &str) -> Result<Value, PickleError> {
    if module.len() + name.len() > MAX_NAME {
        return damaged("pickle names a function by more than a kilobyte");
    }
    let global = format!("{module}.{name}");
    if hostile::acts(module, name) {
        return Err(PickleError::Refused(global));
    }
    Ok(Value::Global(global.into()))
}
