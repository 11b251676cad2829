//! The tensors of a pickle under the names that `state_dict()` would give them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::pickle::{Node, Object, Pickled, PickledTensor, Value};

/// Bytes of a tensor's name; CLIP's longest has 60.
const MAX_NAME: usize = 1024;
/// Dictionaries or modules within each other.
const MAX_DEPTH: usize = 64;
/// Values visited while looking for tensors; shared values count again each time.
const MAX_VISITS: usize = 4_000_000;

/// All tensors, however deep.
pub(super) fn tensors(pickled: &Pickled) -> Result<BTreeMap<String, Rc<PickledTensor>>, String> {
    let mut walk = Walk { pickled, found: BTreeMap::new(), visits: 0 };
    walk.visit(&pickled.root, "", 0)?;
    Ok(walk.found)
}

struct Walk<'a> {
    pickled: &'a Pickled,
    found: BTreeMap<String, Rc<PickledTensor>>,
    visits: usize,
}

impl Walk<'_> {
    fn visit(&mut self, value: &Value, name: &str, depth: usize) -> Result<(), String> {
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return Err("its dictionaries hold too many values".to_owned());
        }
        // What nests deeper, or in itself, is no state dictionary.
        if depth > MAX_DEPTH {
            return Ok(());
        }
        if let Value::Tensor(tensor) = value {
            self.found.insert(name.to_owned(), Rc::clone(tensor));
            return Ok(());
        }
        let pickled = self.pickled;
        match pickled.node(value) {
            Some(Node::Dict(items)) => self.items(items, name, depth)?,
            Some(Node::Object(object)) => self.object(object, name, depth)?,
            Some(Node::Tuple(items) | Node::List(items)) => {
                for (index, value) in items.iter().enumerate() {
                    self.entry(value, name, &index.to_string(), depth)?;
                }
            }
            None => {}
        }
        Ok(())
    }

    fn items(&mut self, items: &[(Value, Value)], name: &str, depth: usize) -> Result<(), String> {
        for (key, value) in items {
            let key = match key {
                Value::Str(key) => Cow::Borrowed(&**key),
                Value::Int(key) => Cow::Owned(key.to_string()),
                // No name, so no weight: an optimiser keeps its state by other keys.
                _ => continue,
            };
            self.entry(value, name, &key, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, value: &Value, name: &str, key: &str, depth: usize) -> Result<(), String> {
        match join(name, key) {
            Some(name) => self.visit(value, &name, depth + 1),
            None => Ok(()),
        }
    }

    /// An object is the dictionary that its class derives from, a TorchScript module, or a module saved whole. The
    /// attributes of any other are no weights.
    fn object(&mut self, object: &Object, name: &str, depth: usize) -> Result<(), String> {
        self.items(&object.items, name, depth)?;
        let Some(state) = &object.state else { return Ok(()) };
        if object.class.starts_with("__torch__.") {
            return self.visit(state, name, depth + 1);
        }
        let Some(Node::Dict(attributes)) = self.pickled.node(state) else { return Ok(()) };
        let named = |wanted: &str| {
            attributes
                .iter()
                .find(|(key, _)| matches!(key, Value::Str(key) if **key == *wanted))
                .map(|(_, value)| value)
        };
        if let (Some(parameters), Some(modules)) = (named("_parameters"), named("_modules")) {
            for part in [Some(parameters), named("_buffers"), Some(modules)].into_iter().flatten() {
                self.visit(part, name, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// `None` for a name that is too long for a tensor's.
fn join(name: &str, key: &str) -> Option<String> {
    if name.len() + key.len() >= MAX_NAME {
        return None;
    }
    Some(if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_an_end() {
        assert_eq!(join("a", "b").as_deref(), Some("a.b"));
        assert_eq!(join("", &"x".repeat(MAX_NAME - 1)).map(|name| name.len()), Some(MAX_NAME - 1));
        assert_eq!(join("a", &"x".repeat(MAX_NAME)), None);
    }
}
