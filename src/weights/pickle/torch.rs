//! The few functions and classes that torch's pickles name, and what stands for them and for all others.

use std::rc::Rc;

use super::opcode::MAX_NAME;
use super::stack::Stack;
use super::value::{Node, Object, PickleError, PickledTensor, Storage, Value, damaged};
use crate::weights::dtype::{Element, View};

/// Axes of a tensor. One long tuple, recalled again and again, would fill the memory.
const MAX_AXES: usize = 16;

/// A persistent id is `("storage", class, key, device, elements)`; the device does not matter here. Files of old torch
/// add which part of a larger storage it is, `(key, first, elements)`, or nothing.
pub(super) fn storage(stack: &mut Stack, id: &Value) -> Result<(), PickleError> {
    let id = stack.tuple(id)?;
    // A class with its source: the class is all that is needed.
    if let [Value::Str(tag), class, ..] = id
        && &**tag == "module"
    {
        let class = class.clone();
        return stack.push(class);
    }
    let [Value::Str(tag), Value::Global(class), Value::Str(key), _, len, rest @ ..] = id else {
        return damaged("pickle refers to something that is no storage");
    };
    if &**tag != "storage" {
        return damaged(format!("pickle refers to a '{tag}', expected a storage"));
    }
    let Some(element) = class.rsplit('.').next().and_then(Element::from_torch) else {
        return stack.push(Value::Opaque);
    };
    let whole = size(len)?;
    let (base, len) = match rest.first() {
        Some(view @ Value::Node(_)) => match stack.tuple(view)? {
            [_, first, elements] => (size(first)?, size(elements)?),
            _ => return damaged("pickle refers to a part of a storage without saying which"),
        },
        _ => (0, whole),
    };
    if base.checked_add(len).is_none_or(|end| end > whole) {
        return damaged(format!("pickle refers to a part of storage '{key}' beyond its {whole} elements"));
    }
    if key.len() > MAX_NAME {
        return damaged("pickle names a storage by more than a kilobyte");
    }
    let storage = Storage { element, key: key.to_string(), len: whole, base };
    stack.push_storage(storage)
}

/// An object of any class. Nothing of the class runs.
pub(super) fn new_object(stack: &mut Stack, class: &Value, arguments: &Value) -> Result<(), PickleError> {
    let class: Rc<str> = match class {
        Value::Global(class) => Rc::clone(class),
        _ => "".into(),
    };
    // Some kind of dictionary made from a dictionary is the same items, which lie where they are.
    if let Ok([value]) = stack.tuple(arguments)
        && matches!(stack.node(value), Some(Node::Dict(_)))
    {
        let value = value.clone();
        return stack.push(value);
    }
    stack.push_node(Node::Object(Object { class, items: Vec::new(), state: None }))
}

pub(super) fn call(stack: &mut Stack, function: &Value, arguments: &Value) -> Result<(), PickleError> {
    let Value::Global(name) = function else { return new_object(stack, function, arguments) };
    let first = |stack: &Stack| match stack.tuple(arguments)?.first() {
        Some(value) => Ok(value.clone()),
        None => damaged(format!("pickle calls '{name}' without arguments")),
    };
    match &**name {
        "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => {
            let tensor = tensor(stack, stack.tuple(arguments)?)?;
            stack.push(tensor)
        }
        // A tensor of a class of its own: the function that makes the tensor, the class, the function's arguments.
        "torch._tensor._rebuild_from_type_v2"
        | "torch.tensor._rebuild_from_type_v2"
        | "torch._tensor._rebuild_from_type" => {
            let (inner, arguments) = match stack.tuple(arguments)? {
                [inner, _, arguments, ..] => (inner.clone(), arguments.clone()),
                _ => return damaged(format!("pickle calls '{name}' without arguments")),
            };
            match &inner {
                Value::Global(inner) if inner.contains("_rebuild_from_type") => stack.push(Value::Opaque),
                _ => call(stack, &inner, &arguments),
            }
        }
        "torch._utils._rebuild_parameter"
        | "torch._utils._rebuild_parameter_with_state"
        | "torch.nn.parameter.Parameter"
        | "torch.nn.parameter.Buffer"
        | "torch.jit._pickle.restore_type_tag"
        | "torch.jit._pickle.build_intlist"
        | "torch.jit._pickle.build_tensorlist"
        | "torch.jit._pickle.build_doublelist"
        | "torch.jit._pickle.build_boollist" => {
            let value = first(stack)?;
            stack.push(value)
        }
        "collections.OrderedDict" => {
            let items = match stack.tuple(arguments)? {
                [pairs] => match stack.node(pairs) {
                    Some(Node::List(pairs)) => {
                        pairs.iter().filter_map(|pair| self::pair(stack, pair)).collect::<Vec<_>>()
                    }
                    _ => return new_object(stack, function, arguments),
                },
                _ => Vec::new(),
            };
            stack.count(2 * items.len())?;
            stack.push_node(Node::Dict(items))
        }
        // Class, its base, and what the base was made of: under protocols 0 and 1.
        "copyreg._reconstructor" | "copy_reg._reconstructor" => match stack.tuple(arguments)? {
            [_, _, value] if matches!(stack.node(value), Some(Node::Dict(_))) => {
                let value = value.clone();
                stack.push(value)
            }
            [class, ..] => {
                let class = class.clone();
                new_object(stack, &class, &Value::None)
            }
            [] => damaged(format!("pickle calls '{name}' without arguments")),
        },
        _ => new_object(stack, function, arguments),
    }
}

/// Two values of a list or tuple.
fn pair(stack: &Stack, value: &Value) -> Option<(Value, Value)> {
    match stack.node(value)? {
        Node::List(items) | Node::Tuple(items) => match &items[..] {
            [key, value] => Some((key.clone(), value.clone())),
            _ => None,
        },
        _ => None,
    }
}

fn tensor(stack: &Stack, arguments: &[Value]) -> Result<Value, PickleError> {
    let (storage, offset, shape, strides) = match arguments {
        [Value::Storage(storage), offset, shape, strides, ..] => (storage, offset, shape, strides),
        // Numbers that are of no type known here: no weights.
        [Value::Opaque | Value::Node(_), ..] => return Ok(Value::Opaque),
        _ => return damaged("pickle describes a tensor without a storage"),
    };
    let offset = size(offset)?.checked_add(storage.base);
    let Some(offset) = offset else { return damaged("pickle describes a tensor beyond its storage") };
    let view = View { offset, shape: sizes(stack, shape)?, strides: sizes(stack, strides)? };
    if !view.fits(storage.len) {
        return damaged(format!(
            "a tensor of shape {:?} lies outside its storage '{}' of {} elements",
            view.shape, storage.key, storage.len
        ));
    }
    Ok(Value::Tensor(Rc::new(PickledTensor { storage: Rc::clone(storage), view })))
}

/// Sets attributes. Only those of objects are kept: torch keeps version numbers in those of a dictionary.
pub(super) fn build(stack: &mut Stack, state: Value) -> Result<(), PickleError> {
    if let Some(Node::Object(object)) = stack.top_node()? {
        object.state = Some(state);
    }
    Ok(())
}

fn sizes(stack: &Stack, value: &Value) -> Result<Vec<usize>, PickleError> {
    match stack.tuple(value)? {
        items if items.len() > MAX_AXES => damaged(format!("pickle describes a tensor of {} axes", items.len())),
        items => items.iter().map(size).collect(),
    }
}

fn size(value: &Value) -> Result<usize, PickleError> {
    match value {
        Value::Int(value) => usize::try_from(*value).or_else(|_| damaged(format!("pickle holds the size {value}"))),
        _ => damaged("pickle has something else where a size belongs"),
    }
}
