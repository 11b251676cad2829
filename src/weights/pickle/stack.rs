//! The values that a pickle piles up while it is read, and what it remembers.

use std::collections::HashMap;
use std::rc::Rc;

use super::value::{Node, PickleError, Pickled, Storage, Value, damaged};

/// Values ever pushed, in the memo, and containers made: far above what a model of thousands of layers needs. A value
/// that was popped again counts, as it may have gone into a container.
pub(super) const MAX_VALUES: usize = 4_000_000;
/// Nested marks.
const MAX_MARKS: usize = 1000;

/// Values in the making, above the marks that open groups; containers lie in an arena, as later opcodes still fill them.
#[derive(Default)]
pub(super) struct Stack {
    values: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    nodes: Vec<Node>,
    storages: HashMap<String, Rc<Storage>>,
    pushed: usize,
}

impl Stack {
    /// Stack height that belongs to the innermost mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    pub(super) fn push(&mut self, value: Value) -> Result<(), PickleError> {
        self.count(1)?;
        self.values.push(value);
        Ok(())
    }

    /// Values that are copied into a container count like those that were pushed.
    pub(super) fn count(&mut self, values: usize) -> Result<(), PickleError> {
        self.pushed += values;
        if self.pushed > MAX_VALUES { damaged("pickle holds too many values") } else { Ok(()) }
    }

    /// Pushes a storage; one that was there under its name already is the same.
    pub(super) fn push_storage(&mut self, storage: Storage) -> Result<(), PickleError> {
        let storage = Rc::new(storage);
        let first = self.storages.entry(storage.key.clone()).or_insert_with(|| Rc::clone(&storage));
        match (first.bytes(), storage.bytes()) {
            (Some(bytes), Some(same)) if bytes == same => {}
            _ => return damaged(format!("pickle says two lengths of storage '{}', or an impossible one", storage.key)),
        }
        self.push(Value::Storage(storage))
    }

    pub(super) fn push_node(&mut self, node: Node) -> Result<(), PickleError> {
        if self.nodes.len() >= MAX_VALUES {
            return damaged("pickle holds too many containers");
        }
        self.nodes.push(node);
        self.push(Value::Node(self.nodes.len() - 1))
    }

    pub(super) fn pop(&mut self) -> Result<Value, PickleError> {
        if self.values.len() <= self.floor() {
            return damaged("pickle takes a value that is not there");
        }
        self.values.pop().map_or_else(|| damaged("pickle takes a value that is not there"), Ok)
    }

    pub(super) fn top(&self) -> Result<&Value, PickleError> {
        match self.values.last() {
            Some(value) if self.values.len() > self.floor() => Ok(value),
            _ => damaged("pickle uses a value that is not there"),
        }
    }

    /// The values of the innermost group, which it closes.
    pub(super) fn pop_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        match self.marks.pop() {
            Some(from) if from <= self.values.len() => Ok(self.values.split_off(from)),
            _ => damaged("pickle closes a group that it never opened"),
        }
    }

    /// Opens a group.
    pub(super) fn mark(&mut self) -> Result<(), PickleError> {
        if self.marks.len() >= MAX_MARKS {
            return damaged("pickle nests too deep");
        }
        self.marks.push(self.values.len());
        Ok(())
    }

    /// The last `count` values.
    pub(super) fn pop_last(&mut self, count: usize) -> Result<Vec<Value>, PickleError> {
        match self.values.len().checked_sub(count).filter(|&from| from >= self.floor()) {
            Some(from) => Ok(self.values.split_off(from)),
            None => damaged("pickle takes values that are not there"),
        }
    }

    /// Remembers the topmost value, under the next number when none is given.
    pub(super) fn store(&mut self, key: Option<u64>) -> Result<(), PickleError> {
        let top = self.top()?.clone();
        if self.memo.len() >= MAX_VALUES {
            return damaged("pickle remembers too many values");
        }
        self.memo.insert(key.unwrap_or(self.memo.len() as u64), top);
        Ok(())
    }

    pub(super) fn recall(&mut self, key: u64) -> Result<(), PickleError> {
        match self.memo.get(&key).cloned() {
            Some(value) => self.push(value),
            None => damaged(format!("pickle recalls value {key}, which it never stored")),
        }
    }

    /// The topmost container; `None` for something else.
    pub(super) fn top_node(&mut self) -> Result<Option<&mut Node>, PickleError> {
        let Value::Node(index) = *self.top()? else { return Ok(None) };
        Ok(self.nodes.get_mut(index))
    }

    /// Items of a list. Those of an object are no weights.
    pub(super) fn append(&mut self, items: Vec<Value>) -> Result<(), PickleError> {
        if let Some(Node::List(list)) = self.top_node()? {
            list.extend(items);
        }
        Ok(())
    }

    /// Items of a dictionary, or of an object that is some kind of dictionary.
    pub(super) fn set(&mut self, items: Vec<(Value, Value)>) -> Result<(), PickleError> {
        match self.top_node()? {
            Some(Node::Dict(dict)) => dict.extend(items),
            Some(Node::Object(object)) => object.items.extend(items),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn node(&self, value: &Value) -> Option<&Node> {
        match value {
            Value::Node(index) => self.nodes.get(*index),
            _ => None,
        }
    }

    pub(super) fn tuple(&self, value: &Value) -> Result<&[Value], PickleError> {
        match value {
            Value::Node(index) => match self.nodes.get(*index) {
                Some(Node::Tuple(items)) => Ok(items),
                _ => damaged("pickle has something else where a tuple belongs"),
            },
            _ => damaged("pickle has something else where a tuple belongs"),
        }
    }

    /// What the pickle says, when it has come to its end.
    pub(super) fn finish(mut self) -> Result<Pickled, PickleError> {
        let root = self.pop()?;
        Ok(Pickled { root, nodes: self.nodes, storages: self.storages })
    }
}
