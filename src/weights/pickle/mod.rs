//! Pickles read as data: a small interpreter that builds values and never calls anything.
//!
//! Only what torch writes is understood. A global is a name; calling one is possible for the few torch functions that
//! describe tensors, and what they would do is done here. Everything else is refused by name.

mod opcode;
mod stack;
mod torch;
mod value;

pub(super) use value::{Node, PickleError, Pickled, PickledTensor, Value};

use opcode::{Op, Opcodes, global};
use stack::Stack;
use value::damaged;

/// Reads a pickle of protocol 2 to 5.
pub(super) fn read(bytes: &[u8]) -> Result<Pickled, PickleError> {
    let mut opcodes = Opcodes { rest: bytes };
    let mut stack = Stack::default();
    loop {
        match opcodes.read()? {
            Op::Stop => return stack.finish(),
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
            (Value::Str(name), Value::Str(module)) => stack.push(global(&module, &name)),
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
            stack.push(torch::storage(stack, &id)?)
        }
        Op::New => {
            let (arguments, class) = (stack.pop()?, stack.pop()?);
            torch::new_object(stack, &class, &arguments)
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
    fn a_value_below_a_mark_stays_there() {
        assert!(read(b"\x80\x02N(0.").is_err());
        assert!(read(b"\x80\x02N(\x85.").is_err());
        assert!(read(b"\x80\x02").is_err());
        assert!(read(b"").is_err());
    }
}
