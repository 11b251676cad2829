//! What a pickle says, as values that nothing was executed for.

use std::collections::HashMap;
use std::rc::Rc;

use crate::weights::dtype::{Element, View};

/// Why a pickle was not read.
#[derive(Debug, PartialEq)]
pub enum PickleError {
    /// Truncated, contradictory or over a limit.
    Damaged(String),
    /// It asks for something that acts on the machine when Python loads it: `module.name`.
    Refused(String),
}

pub(super) fn damaged<T>(reason: impl Into<String>) -> Result<T, PickleError> {
    Err(PickleError::Damaged(reason.into()))
}

/// A storage a tensor lies in.
#[derive(Debug)]
pub struct Storage {
    pub element: Element,
    /// Name of the archive entry below `data/`.
    pub key: String,
    /// Elements.
    pub len: usize,
    /// Element of the storage `key` that is this one's first: old files have storages within storages.
    pub base: usize,
}

impl Storage {
    /// Bytes of its elements; `None` on overflow.
    pub fn bytes(&self) -> Option<usize> {
        self.len.checked_mul(self.element.bytes())
    }
}

/// A tensor: which storage, and where in it.
#[derive(Debug)]
pub struct PickledTensor {
    pub storage: Rc<Storage>,
    pub view: View,
}

/// A value. Containers live in the pickle's arena, as later opcodes may still fill them.
#[derive(Clone, Debug)]
pub enum Value {
    None,
    Int(i64),
    /// A truth value, a float, a byte string or whatever else is no part of the weights: nothing here needs which.
    Opaque,
    Str(Rc<str>),
    Global(Rc<str>),
    Storage(Rc<Storage>),
    Tensor(Rc<PickledTensor>),
    Node(usize),
}

/// A container.
#[derive(Debug)]
pub enum Node {
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// An object of a class that is only a name here.
    Object(Object),
}

/// What a pickle gives an object: its items, if it is some kind of dictionary, and its attributes.
#[derive(Debug)]
pub struct Object {
    pub class: Rc<str>,
    pub items: Vec<(Value, Value)>,
    pub state: Option<Value>,
}

/// What a pickle says.
#[derive(Debug)]
pub struct Pickled {
    pub root: Value,
    pub(super) nodes: Vec<Node>,
    pub(super) storages: HashMap<String, Rc<Storage>>,
}

impl Pickled {
    /// The container behind a value.
    pub fn node(&self, value: &Value) -> Option<&Node> {
        match value {
            Value::Node(index) => self.nodes.get(*index),
            _ => None,
        }
    }

    /// The storage of this name.
    pub fn storage(&self, key: &str) -> Option<&Storage> {
        self.storages.get(key).map(Rc::as_ref)
    }
}
