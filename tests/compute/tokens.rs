//! Token ids against the released implementation's tokenizer, and what a template may not be.

use std::fs;
use std::path::PathBuf;

use safetensors::SafeTensors;
use vcp_line::vcp_clip::prompt::{
    ABNORMAL_TEMPLATE, CLASS_TOKEN, CONTEXT_LENGTH, END_TOKEN, NORMAL_TEMPLATE, START_TOKEN, tokenize,
    tokenize_template,
};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/oracle/tiny/golden").join(name)
}

#[derive(serde::Deserialize)]
struct Sentence {
    text: String,
    ids: Vec<u32>,
}

#[test]
fn ten_sentences_have_the_released_ids() {
    let json = fs::read_to_string(golden("tokenizer.json")).expect("fixture");
    let sentences: Vec<Sentence> = serde_json::from_str(&json).expect("fixture");
    assert_eq!(sentences.len(), 10);
    for Sentence { text, ids } in sentences {
        assert_eq!(tokenize(&text).expect(&text), ids, "{text}");
    }
}

#[test]
fn templates_have_the_released_rows() {
    let bytes = fs::read(golden("img0_rgb_131x97.safetensors")).expect("fixture");
    let tensors = SafeTensors::deserialize(&bytes).expect("fixture");
    for (name, template) in [("tokens.normal", NORMAL_TEMPLATE), ("tokens.abnormal", ABNORMAL_TEMPLATE)] {
        let tensor = tensors.tensor(name).expect("fixture");
        let expected: Vec<u32> =
            tensor.data().chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let mut row = tokenize_template(template).expect(template);
        assert_eq!(row.len(), 8);
        row.resize(CONTEXT_LENGTH, 0);
        assert_eq!(row, expected, "{name}");
    }
}

#[test]
fn the_class_mark_is_needed_exactly_once() {
    let none = tokenize_template("a photo of a bottle").expect_err("no mark").to_string();
    assert_eq!(none, "prompt 'a photo of a bottle': has 0 times '<|class|>', needs it exactly once");
    let two = tokenize_template("<|class|> <|Class|>").expect_err("two marks").to_string();
    assert_eq!(two, "prompt '<|class|> <|Class|>': has 2 times '<|class|>', needs it exactly once");
    assert_eq!(tokenize_template("<|class|>").expect("only the mark"), [START_TOKEN, CLASS_TOKEN, END_TOKEN]);
}

#[test]
fn a_glued_class_mark_is_refused() {
    let error = tokenize("a photo (<|class|>)").expect_err("CLIP reads '(<|' as one word").to_string();
    assert_eq!(error, "prompt 'a photo (<|class|>)': put a space before '<|class|>'");
}

#[test]
fn what_would_mean_something_else_is_refused() {
    assert!(tokenize("caf&eacute;").expect_err("name").to_string().contains("write the character itself"));
    assert!(tokenize("a <end_of_text> b").expect_err("mark").to_string().contains("is reserved"));
}

#[test]
fn a_template_fits_the_context_to_the_last_token() {
    let words = |count: usize| format!("{}<|class|>", "photo ".repeat(count));
    assert_eq!(tokenize_template(&words(74)).expect("77 tokens").len(), CONTEXT_LENGTH);
    assert!(tokenize_template(&words(75)).expect_err("78 tokens").to_string().contains("is 78 tokens long"));
}

#[test]
fn references_resolve_to_the_characters_they_name() {
    assert_eq!(tokenize("&#60;b&#x3E; R&D &quot;x&quot;"), tokenize("<b> R&D \"x\""));
    assert_eq!(tokenize("the part’s “edge”"), tokenize("the part's \"edge\""));
}
