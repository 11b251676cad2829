//! The few functions and classes that torch's pickles name, and what stands for them.

use std::rc::Rc;

use super::stack::Stack;
use super::value::{Node, PickleError, PickledTensor, Storage, Value, damaged};
use crate::weights::dtype::{Element, View};

/// Axes of a tensor. One long tuple, recalled again and again, would fill the memory.
const MAX_AXES: usize = 16;

/// A persistent id is `("storage", class, key, device, elements)`; the device does not matter here.
pub(super) fn storage(stack: &Stack, id: &Value) -> Result<Value, PickleError> {
    let [Value::Str(tag), Value::Global(class), Value::Str(key), Value::Str(_), len] = stack.tuple(id)? else {
        return damaged("pickle refers to something that is no storage");
    };
    if &**tag != "storage" {
        return damaged(format!("pickle refers to a '{tag}', expected a storage"));
    }
    let Some(element) = class.strip_prefix("torch.").and_then(Element::from_torch) else {
        return Err(PickleError::Refused(class.to_string()));
    };
    Ok(Value::Storage(Rc::new(Storage { element, key: key.to_string(), len: size(len)? })))
}

pub(super) fn new_object(stack: &mut Stack, class: &Value, arguments: &Value) -> Result<(), PickleError> {
    let Value::Global(class) = class else {
        return damaged("pickle makes an object of something that is no class");
    };
    stack.tuple(arguments)?;
    if class.starts_with("__torch__.") {
        stack.push_node(Node::Object(None))
    } else {
        Err(PickleError::Refused(class.to_string()))
    }
}

pub(super) fn call(stack: &mut Stack, function: &Value, arguments: &Value) -> Result<(), PickleError> {
    let Value::Global(function) = function else { return damaged("pickle calls something that is no function") };
    let first = |stack: &Stack| match stack.tuple(arguments)?.first() {
        Some(value) => Ok(value.clone()),
        None => damaged(format!("pickle calls '{function}' without arguments")),
    };
    match &**function {
        "torch._utils._rebuild_tensor_v2" => {
            let tensor = tensor(stack, stack.tuple(arguments)?)?;
            stack.push(tensor)
        }
        "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
            let value = first(stack)?;
            match value {
                Value::Tensor(_) => stack.push(value),
                _ => damaged("pickle makes a parameter of something that is no tensor"),
            }
        }
        "torch.jit._pickle.restore_type_tag"
        | "torch.jit._pickle.build_intlist"
        | "torch.jit._pickle.build_tensorlist"
        | "torch.jit._pickle.build_doublelist"
        | "torch.jit._pickle.build_boollist" => {
            let value = first(stack)?;
            stack.push(value)
        }
        "collections.OrderedDict" => {
            let items = match stack.tuple(arguments)? {
                [] => Vec::new(),
                _ => return damaged("pickle fills an OrderedDict in a way that torch does not"),
            };
            stack.push_node(Node::Dict(items))
        }
        class if class.starts_with("__torch__.") => stack.push_node(Node::Object(None)),
        other => Err(PickleError::Refused(other.to_owned())),
    }
}

fn tensor(stack: &Stack, arguments: &[Value]) -> Result<Value, PickleError> {
    let [Value::Storage(storage), offset, shape, strides, ..] = arguments else {
        return damaged("pickle describes a tensor without a storage");
    };
    let view = View { offset: size(offset)?, shape: sizes(stack, shape)?, strides: sizes(stack, strides)? };
    if !view.fits(storage.len) {
        return damaged(format!(
            "a tensor of shape {:?} lies outside its storage '{}' of {} elements",
            view.shape, storage.key, storage.len
        ));
    }
    Ok(Value::Tensor(Rc::new(PickledTensor { storage: Rc::clone(storage), view })))
}

/// Sets attributes. Those of a dictionary (torch keeps version numbers there) and of a tensor do not matter.
pub(super) fn build(stack: &mut Stack, state: Value) -> Result<(), PickleError> {
    if matches!(stack.top()?, Value::Tensor(_)) {
        return Ok(());
    }
    if let Value::Global(class) = stack.top()? {
        return Err(PickleError::Refused(class.to_string()));
    }
    match stack.top_node()? {
        Node::Object(attributes) => *attributes = Some(state),
        Node::Dict(_) => {}
        _ => return damaged("pickle sets attributes of something that has none"),
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
