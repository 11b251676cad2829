//! The public contract as judge: JSON Schemas of `tests/schema`, strict about what is documented.

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

/// A schema, ready to judge.
pub struct Judge {
    schemas: Schemas,
    schema: SchemaIndex,
}

impl Judge {
    /// Whether nothing is violated.
    pub fn is_valid(&self, instance: &Value) -> bool {
        self.schemas.validate(instance, self.schema).is_ok()
    }
}

fn judge(name: &str, text: &str) -> Judge {
    let mut compiler = Compiler::new();
    compiler.enable_format_assertions();
    compiler.add_resource(name, serde_json::from_str(text).expect("the schema is JSON")).expect("it has a name");
    let mut schemas = Schemas::new();
    let schema = compiler.compile(name, &mut schemas).unwrap_or_else(|error| panic!("{name} is no schema: {error:#}"));
    Judge { schemas, schema }
}

/// Judges verdict events.
pub fn verdict() -> Judge {
    judge("verdict.schema.json", include_str!("../schema/verdict.schema.json"))
}

/// Judges the retained state.
pub fn state() -> Judge {
    judge("state.schema.json", include_str!("../schema/state.schema.json"))
}

/// Judges acknowledgements.
pub fn ack() -> Judge {
    judge("ack.schema.json", include_str!("../schema/ack.schema.json"))
}

/// Judges what `eval --json` writes.
pub fn eval() -> Judge {
    judge("eval.schema.json", include_str!("../schema/eval.schema.json"))
}

/// Panics with every violation.
pub fn assert_valid(judge: &Judge, instance: &Value) {
    if let Err(error) = judge.schemas.validate(instance, judge.schema) {
        panic!("{error:#}\nin {instance:#}");
    }
}
