//! Pickles read as data: a small interpreter that builds values and never calls anything.
//!
//! Only what torch writes is understood. A global is a name; calling one is possible for the few torch functions that
//! describe tensors, and what they would do is done here. Everything else is refused by name.

use std::collections::HashMap;
use std::rc::Rc;

use super::dtype::{Element, View};

mod torch;

/// Values ever pushed, in the memo, and containers made: far above what a model of thousands of layers needs. A value
/// that was popped again counts, as it may have gone into a container.
const MAX_VALUES: usize = 4_000_000;
/// Bytes of one string, enough for any tensor name.
const MAX_STRING: usize = 1 << 20;
/// Nested marks.
const MAX_MARKS: usize = 1000;

/// Why a pickle was not read.
#[derive(Debug, PartialEq)]
pub(super) enum PickleError {
    /// Truncated, contradictory or over a limit.
    Damaged(String),
    /// It asks for something that is no tensor data: `module.name`.
    Refused(String),
}

fn damaged<T>(reason: impl Into<String>) -> Result<T, PickleError> {
    Err(PickleError::Damaged(reason.into()))
}

/// A storage a tensor lies in.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) element: Element,
    /// Name of the archive entry below `data/`.
    pub(super) key: String,
    /// Elements.
    pub(super) len: usize,
}

/// A tensor: which storage, and where in it.
#[derive(Debug)]
pub(super) struct PickledTensor {
    pub(super) storage: Rc<Storage>,
    pub(super) view: View,
}

/// A value. Containers live in the pickle's arena, as later opcodes may still fill them.
#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Int(i64),
    /// A truth value, a float or a byte string: nothing here needs which.
    Opaque,
    Str(Rc<str>),
    Global(Rc<str>),
    Storage(Rc<Storage>),
    Tensor(Rc<PickledTensor>),
    Node(usize),
}

/// A container.
#[derive(Debug)]
pub(super) enum Node {
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// An object of a TorchScript class and its attributes.
    Object(Option<Value>),
}

/// What a pickle says.
#[derive(Debug)]
pub(super) struct Pickled {
    pub(super) root: Value,
    nodes: Vec<Node>,
}

impl Pickled {
    /// The container behind a value.
    pub(super) fn node(&self, value: &Value) -> Option<&Node> {
        match value {
            Value::Node(index) => self.nodes.get(*index),
            _ => None,
        }
    }
}

/// Reads a pickle of protocol 2 to 5.
pub(super) fn read(bytes: &[u8]) -> Result<Pickled, PickleError> {
    let mut machine = Machine {
        rest: bytes,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        nodes: Vec::new(),
        pushed: 0,
    };
    while !machine.step()? {}
    let root = machine.pop()?;
    Ok(Pickled { root, nodes: machine.nodes })
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    nodes: Vec<Node>,
    pushed: usize,
}

impl<'a> Machine<'a> {
    /// Runs one opcode; true after STOP.
    fn step(&mut self) -> Result<bool, PickleError> {
        let opcode = self.take(1)?[0];
        match opcode {
            b'.' => return Ok(true),
            0x80 => {
                let protocol = self.take(1)?[0];
                if !(2..=5).contains(&protocol) {
                    return damaged(format!("pickle protocol {protocol} is not one of 2 to 5"));
                }
            }
            // FRAME: the length of a block, nothing to do.
            0x95 => {
                self.take(8)?;
            }
            b'(' => {
                if self.marks.len() >= MAX_MARKS {
                    return damaged("pickle nests too deep");
                }
                self.marks.push(self.stack.len());
            }
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_mark()?;
            }
            b'2' => {
                let top = self.top()?.clone();
                self.push(top)?;
            }
            b'N' => self.push(Value::None)?,
            0x88 | 0x89 => self.push(Value::Opaque)?,
            b'K' | b'M' | b'J' | 0x8a => {
                let value = self.integer(opcode)?;
                self.push(Value::Int(value))?;
            }
            b'G' => {
                self.take(8)?;
                self.push(Value::Opaque)?;
            }
            b'X' | 0x8c | 0x8d => {
                let text = self.text(opcode)?;
                self.push(Value::Str(text))?;
            }
            b'T' | b'U' | b'B' | b'C' | 0x8e => {
                let size = match opcode {
                    b'U' | b'C' => 1,
                    0x8e => 8,
                    _ => 4,
                };
                let length = self.length(size)?;
                self.take(length)?;
                self.push(Value::Opaque)?;
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.push(Value::Global(format!("{module}.{name}").into()))?;
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Str(name), Value::Str(module)) => {
                    self.push(Value::Global(format!("{module}.{name}").into()))?;
                }
                _ => return damaged("pickle names a global by something that is no text"),
            },
            b'q' | b'r' | 0x94 => {
                let key = match opcode {
                    b'q' => self.length(1)? as u64,
                    b'r' => self.length(4)? as u64,
                    _ => self.memo.len() as u64,
                };
                let top = self.top()?.clone();
                if self.memo.len() >= MAX_VALUES {
                    return damaged("pickle remembers too many values");
                }
                self.memo.insert(key, top);
            }
            b'h' | b'j' => {
                let key = self.length(if opcode == b'h' { 1 } else { 4 })? as u64;
                match self.memo.get(&key).cloned() {
                    Some(value) => self.push(value)?,
                    None => return damaged(format!("pickle recalls value {key}, which it never stored")),
                }
            }
            b')' | b'}' | b']' => self.push_node(match opcode {
                b')' => Node::Tuple(Vec::new()),
                b'}' => Node::Dict(Vec::new()),
                _ => Node::List(Vec::new()),
            })?,
            b't' | b'l' => {
                let items = self.pop_mark()?;
                self.push_node(if opcode == b't' { Node::Tuple(items) } else { Node::List(items) })?;
            }
            b'd' => {
                let items = self.pop_mark()?;
                self.push_node(Node::Dict(pairs(items)?))?;
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let from = self.stack.len().checked_sub(count).filter(|&from| from >= self.floor());
                let Some(from) = from else { return damaged("pickle takes values that are not there") };
                let items = self.stack.split_off(from);
                self.push_node(Node::Tuple(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set(pairs(items)?)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(&id)?;
                self.push(storage)?;
            }
            0x81 => {
                let arguments = self.pop()?;
                let class = self.pop()?;
                self.new_object(&class, &arguments)?;
            }
            b'R' => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                self.call(&function, &arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                self.build(state)?;
            }
            other => return damaged(format!("pickle opcode 0x{other:02x} is none that torch writes")),
        }
        Ok(false)
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

    fn integer(&mut self, opcode: u8) -> Result<i64, PickleError> {
        Ok(match opcode {
            b'K' => i64::from(self.take(1)?[0]),
            b'M' => self.length(2)? as i64,
            b'J' => i64::from(self.length(4)? as u32 as i32),
            _ => {
                let size = usize::from(self.take(1)?[0]);
                let bytes = self.take(size)?;
                if size > 8 {
                    return damaged("pickle holds an integer of more than 64 bits");
                }
                let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
                let mut filled = [if negative { 0xff } else { 0 }; 8];
                filled[..size].copy_from_slice(bytes);
                i64::from_le_bytes(filled)
            }
        })
    }

    fn text(&mut self, opcode: u8) -> Result<Rc<str>, PickleError> {
        let length = self.length(match opcode {
            b'X' => 4,
            0x8c => 1,
            _ => 8,
        })?;
        if length > MAX_STRING {
            return damaged("pickle holds a text that is too long");
        }
        match std::str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(text.into()),
            Err(_) => damaged("pickle holds a text that is not UTF-8"),
        }
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let end = self.rest.iter().take(MAX_STRING).position(|&byte| byte == b'\n');
        let Some(end) = end else { return damaged("pickle ends inside a name") };
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end]).or_else(|_| damaged("pickle holds a name that is not UTF-8"))
    }

    /// Stack height that belongs to the innermost mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn push(&mut self, value: Value) -> Result<(), PickleError> {
        self.pushed += 1;
        if self.pushed > MAX_VALUES {
            return damaged("pickle holds too many values");
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_node(&mut self, node: Node) -> Result<(), PickleError> {
        if self.nodes.len() >= MAX_VALUES {
            return damaged("pickle holds too many containers");
        }
        self.nodes.push(node);
        self.push(Value::Node(self.nodes.len() - 1))
    }

    fn pop(&mut self) -> Result<Value, PickleError> {
        if self.stack.len() <= self.floor() {
            return damaged("pickle takes a value that is not there");
        }
        self.stack.pop().map_or_else(|| damaged("pickle takes a value that is not there"), Ok)
    }

    fn top(&self) -> Result<&Value, PickleError> {
        match self.stack.last() {
            Some(value) if self.stack.len() > self.floor() => Ok(value),
            _ => damaged("pickle uses a value that is not there"),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        match self.marks.pop() {
            Some(from) if from <= self.stack.len() => Ok(self.stack.split_off(from)),
            _ => damaged("pickle closes a group that it never opened"),
        }
    }

    fn top_node(&mut self) -> Result<&mut Node, PickleError> {
        let index = match self.top()? {
            Value::Node(index) => *index,
            _ => return damaged("pickle fills something that is no container"),
        };
        match self.nodes.get_mut(index) {
            Some(node) => Ok(node),
            None => damaged("pickle fills something that is no container"),
        }
    }

    fn append(&mut self, items: Vec<Value>) -> Result<(), PickleError> {
        match self.top_node()? {
            Node::List(list) => list.extend(items),
            _ => return damaged("pickle appends to something that is no list"),
        }
        Ok(())
    }

    fn set(&mut self, items: Vec<(Value, Value)>) -> Result<(), PickleError> {
        match self.top_node()? {
            Node::Dict(dict) => dict.extend(items),
            _ => return damaged("pickle sets a key of something that is no dictionary"),
        }
        Ok(())
    }

    fn tuple(&self, value: &Value) -> Result<&[Value], PickleError> {
        match value {
            Value::Node(index) => match self.nodes.get(*index) {
                Some(Node::Tuple(items)) => Ok(items),
                _ => damaged("pickle has something else where a tuple belongs"),
            },
            _ => damaged("pickle has something else where a tuple belongs"),
        }
    }
}

fn pairs(items: Vec<Value>) -> Result<Vec<(Value, Value)>, PickleError> {
    if !items.len().is_multiple_of(2) {
        return damaged("pickle holds a key without a value");
    }
    let mut items = items.into_iter();
    let mut pairs = Vec::with_capacity(items.len() / 2);
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        pairs.push((key, value));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_the_system_is_refused_by_name() {
        let refused = |bytes: &[u8]| read(bytes).unwrap_err();
        let expected = PickleError::Refused("posix.system".to_owned());
        assert_eq!(refused(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."), expected);
        assert_eq!(refused(b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."), expected);
        assert_eq!(refused(b"\x80\x02cposix\nsystem\n)\x81."), expected);
        assert_eq!(refused(b"\x80\x02cposix\nsystem\n}b."), expected);
    }

    #[test]
    fn deep_nesting_neither_overflows_nor_takes_long() {
        let mut bytes = b"\x80\x02N".to_vec();
        bytes.extend(std::iter::repeat_n(0x85, 1_000_000));
        bytes.push(b'.');
        assert!(matches!(read(&bytes).unwrap().root, Value::Node(_)));
        let mut bytes = b"\x80\x02".to_vec();
        bytes.extend(std::iter::repeat_n(b'(', 1_000_000));
        assert_eq!(read(&bytes).unwrap_err(), PickleError::Damaged("pickle nests too deep".to_owned()));
    }

    #[test]
    fn values_that_were_popped_count_too() {
        // A list that grows by one recalled value, again and again.
        let mut bytes = b"\x80\x02]Nq\x00a".to_vec();
        bytes.extend(b"h\x00a".repeat(MAX_VALUES));
        bytes.push(b'.');
        assert_eq!(read(&bytes).unwrap_err(), PickleError::Damaged("pickle holds too many values".to_owned()));
    }

    #[test]
    fn a_value_below_a_mark_stays_there() {
        assert!(read(b"\x80\x02N(0.").is_err());
        assert!(read(b"\x80\x02N(\x85.").is_err());
        assert!(read(b"\x80\x02").is_err());
        assert!(read(b"").is_err());
    }
}
