//! The public contract as judge: JSON Schemas of `tests/schema`, strict about what is documented.

use jsonschema::Validator;
use serde_json::Value;

fn validator(text: &str) -> Validator {
    let schema: Value = serde_json::from_str(text).expect("the schema is JSON");
    jsonschema::options().should_validate_formats(true).build(&schema).expect("the schema is a schema")
}

/// Judges verdict events.
pub fn verdict() -> Validator {
    validator(include_str!("../schema/verdict.schema.json"))
}

/// Judges the retained state.
pub fn state() -> Validator {
    validator(include_str!("../schema/state.schema.json"))
}

/// Judges acknowledgements.
pub fn ack() -> Validator {
    validator(include_str!("../schema/ack.schema.json"))
}

/// Judges what `eval --json` writes.
pub fn eval() -> Validator {
    validator(include_str!("../schema/eval.schema.json"))
}

/// Panics with every violation.
pub fn assert_valid(validator: &Validator, instance: &Value) {
    let errors: Vec<String> =
        validator.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{}\nin {instance:#}", errors.join("\n"));
}
