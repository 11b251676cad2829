//! Pickles read as data: a small interpreter that builds values and never calls anything.
//!
//! A global is a name. What the few torch functions that describe tensors would do is done here; whatever else a training
//! script keeps beside its weights (settings, numbers of numpy, dates) becomes an object without behaviour. Names that
//! act on the machine when Python loads them are refused.

mod hostile;
mod opcode;
mod stack;
mod torch;
mod value;

pub(super) use value::{Node, Object, PickleError, Pickled, PickledTensor, Value};

use opcode::{Op, Opcodes, global};
use stack::Stack;
use value::damaged;

/// Reads a pickle of protocol 0 to 5.
pub(super) fn read(bytes: &[u8]) -> Result<Pickled, PickleError> {
    read_first(bytes).map(|(pickled, _)| pickled)
}

/// Reads the pickle that `bytes` begin with, and says how many of them it has.
pub(super) fn read_first(bytes: &[u8]) -> Result<(Pickled, usize), PickleError> {
    let mut opcodes = Opcodes { rest: bytes };
    let mut stack = Stack::default();
    loop {
        match opcodes.read()? {
            Op::Stop => return Ok((stack.finish()?, bytes.len() - opcodes.rest.len())),
            op => run(op, &mut stack)?,
        }
    }
}

/// Does one step.
fn run(op: Op, stack: &mut Stack) -> Result<(), PickleError> {
    match op {
        Op::Stop | Op::Nothing => Ok(()),
        Op::Mark => stack.mark(),
        Op::Pop => stack.pop().map(drop),
        Op::PopMark => stack.pop_mark().map(drop),
        Op::Duplicate => {
            let top = stack.top()?.clone();
            stack.push(top)
        }
        Op::Push(value) => stack.push(value),
        Op::PushNode(node) => stack.push_node(node),
        Op::Global => match (stack.pop()?, stack.pop()?) {
            (Value::Str(name), Value::Str(module)) => stack.push(global(&module, &name)?),
            _ => damaged("pickle names a global by something that is no text"),
        },
        Op::Store(key) => stack.store(key),
        Op::Recall(key) => stack.recall(key),
        Op::Tuple => {
            let items = stack.pop_mark()?;
            stack.push_node(Node::Tuple(items))
        }
        Op::List => {
            let items = stack.pop_mark()?;
            stack.push_node(Node::List(items))
        }
        Op::Dict => {
            let items = stack.pop_mark()?;
            stack.push_node(Node::Dict(pairs(items)?))
        }
        Op::TupleOf(count) => {
            let items = stack.pop_last(count)?;
            stack.push_node(Node::Tuple(items))
        }
        Op::Frozen => {
            stack.pop_mark()?;
            stack.push(Value::Opaque)
        }
        Op::Append => {
            let item = stack.pop()?;
            stack.append(vec![item])
        }
        Op::Extend => {
            let items = stack.pop_mark()?;
            stack.append(items)
        }
        Op::Set => {
            let (value, key) = (stack.pop()?, stack.pop()?);
            stack.set(vec![(key, value)])
        }
        Op::Update => {
            let items = stack.pop_mark()?;
            stack.set(pairs(items)?)
        }
        Op::Storage => {
            let id = stack.pop()?;
            torch::storage(stack, &id)
        }
        Op::New => {
            let (arguments, class) = (stack.pop()?, stack.pop()?);
            torch::new_object(stack, &class, &arguments)
        }
        Op::NewNamed => {
            let (_, arguments, class) = (stack.pop()?, stack.pop()?, stack.pop()?);
            torch::new_object(stack, &class, &arguments)
        }
        Op::NewMarked => {
            let mut values = stack.pop_mark()?.into_iter();
            match values.next() {
                Some(class) => torch::new_object(stack, &class, &Value::None),
                None => damaged("pickle makes an object without a class"),
            }
        }
        Op::NewOf(class) => {
            stack.pop_mark()?;
            torch::new_object(stack, &class, &Value::None)
        }
        Op::Call => {
            let (arguments, function) = (stack.pop()?, stack.pop()?);
            torch::call(stack, &function, &arguments)
        }
        Op::Build => {
            let state = stack.pop()?;
            torch::build(stack, state)
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
    use super::stack::MAX_VALUES;
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
    fn what_is_copied_is_bounded_by_its_size() {
        // One list of a thousand pairs, made into a dictionary ten thousand times.
        let mut bytes = b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93q\x00]q\x01(".to_vec();
        bytes.extend(b"NN\x86".repeat(1000));
        bytes.push(b'e');
        bytes.extend(b"h\x00h\x01\x85R0".repeat(10_000));
        bytes.extend(b"N.");
        assert_eq!(read(&bytes).unwrap_err(), PickleError::Damaged("pickle holds too many values".to_owned()));
        // A name of 100 kB, used again and again.
        let mut bytes = b"\x80\x04X\xa0\x86\x01\x00".to_vec();
        bytes.extend(b"x".repeat(100_000));
        bytes.extend(b"q\x00h\x00\x93.");
        let refused = PickleError::Damaged("pickle names a function by more than a kilobyte".to_owned());
        assert_eq!(read(&bytes).unwrap_err(), refused);
    }

    #[test]
    fn a_value_below_a_mark_stays_there() {
        assert!(read(b"\x80\x02N(0.").is_err());
        assert!(read(b"\x80\x02N(\x85.").is_err());
        assert!(read(b"\x80\x02").is_err());
        assert!(read(b"").is_err());
    }
}
