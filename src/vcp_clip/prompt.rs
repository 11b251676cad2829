//! Prompt templates and their tokens: CLIP's byte-pair ids, plus the one id that VCP-CLIP adds for the class vectors.

use std::sync::LazyLock;

use instant_clip_tokenizer::{Token, Tokenizer};

/// What a normal part is called; `<|class|>` stands for the class vectors.
pub const NORMAL_TEMPLATE: &str = "a photo of a good <|class|>";
/// What a defective part is called.
pub const ABNORMAL_TEMPLATE: &str = "a photo of a damaged <|class|>";
/// Token id of `<|class|>`, one past CLIP's vocabulary.
pub const CLASS_TOKEN: u32 = 49408;
/// Token id of the start of text.
pub const START_TOKEN: u32 = 49406;
/// Token id of the end of text.
pub const END_TOKEN: u32 = 49407;
/// Tokens that CLIP's text tower reads at most, start and end included.
pub const CONTEXT_LENGTH: usize = 77;

/// The class vectors' place in a template, in the letter case that matching uses.
const CLASS_MARK: &str = "<|class|>";

/// Marks that the tokenizer would turn into a start or an end in the middle of a sentence.
const RESERVED: [&str; 4] = ["<start_of_text>", "<end_of_text>", "<|startoftext|>", "<|endoftext|>"];

/// A text that cannot be tokenised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("prompt '{text}': {reason}")]
pub struct PromptError {
    text: String,
    reason: String,
}

impl PromptError {
    fn new(text: &str, reason: impl Into<String>) -> Self {
        Self { text: text.to_owned(), reason: reason.into() }
    }
}

/// The ids of `text` without start and end; `<|class|>`, in any letter case, is [`CLASS_TOKEN`].
///
/// The text is cleaned as CLIP cleans it: ligatures and typographic quotes are written out, HTML character references
/// are resolved twice, white space is collapsed, letters are lower-cased. Errors on what would not mean the same
/// here as there: an HTML name outside the basic ones, a reserved mark, or a `<|class|>` glued to punctuation.
pub fn tokenize(text: &str) -> Result<Vec<u32>, PromptError> {
    let clean = clean(text)?;
    if let Some(mark) = RESERVED.iter().find(|mark| clean.contains(**mark)) {
        return Err(PromptError::new(text, format!("'{mark}' is reserved: start and end are added by themselves")));
    }
    let mut ids = Vec::new();
    let mut words = Vec::new();
    for (index, part) in clean.split(CLASS_MARK).enumerate() {
        if index > 0 {
            ids.push(CLASS_TOKEN);
        }
        words.clear();
        TOKENIZER.encode(part, &mut words);
        ids.extend(words.iter().copied().map(Token::to_u16).map(u32::from));
        // CLIP reads a run of punctuation as one word, so a mark right behind one is part of that word there.
        let followed_by_mark = index < clean.matches(CLASS_MARK).count();
        if followed_by_mark && part.chars().next_back().is_some_and(|c| !c.is_whitespace() && !c.is_alphanumeric()) {
            return Err(PromptError::new(text, format!("put a space before '{CLASS_MARK}'")));
        }
    }
    Ok(ids)
}

/// The row `[START, ids…, END]` of a template, without the padding.
///
/// Errors when the template does not hold exactly one `<|class|>`, or when the row is longer than
/// [`CONTEXT_LENGTH`]. The text tower needs `row + (class vectors − 1) + prompt tokens` positions; whoever knows
/// these sizes checks the sum.
pub fn tokenize_template(text: &str) -> Result<Vec<u32>, PromptError> {
    let ids = tokenize(text)?;
    let classes = ids.iter().filter(|id| **id == CLASS_TOKEN).count();
    if classes != 1 {
        return Err(PromptError::new(text, format!("has {classes} times '{CLASS_MARK}', needs it exactly once")));
    }
    let length = ids.len() + 2;
    if length > CONTEXT_LENGTH {
        return Err(PromptError::new(
            text,
            format!("is {length} tokens long, at most {CONTEXT_LENGTH} fit: shorten it"),
        ));
    }
    let mut row = Vec::with_capacity(length);
    row.push(START_TOKEN);
    row.extend(ids);
    row.push(END_TOKEN);
    Ok(row)
}

/// Building the merge table takes tens of milliseconds: once per process.
static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(Tokenizer::new);

fn clean(text: &str) -> Result<String, PromptError> {
    let mut plain: String = String::with_capacity(text.len());
    for c in text.chars() {
        match written_out(c) {
            Some(letters) => plain.push_str(letters),
            None => plain.push(c),
        }
    }
    for _ in 0..2 {
        plain = resolve_references(&plain).map_err(|name| {
            PromptError::new(text, format!("HTML name '&{name};' is not known: write the character itself"))
        })?;
    }
    let words: Vec<&str> = plain.split_whitespace().collect();
    Ok(words.join(" ").to_lowercase())
}

/// Typographic characters that CLIP's training text had in their plain form.
fn written_out(c: char) -> Option<&'static str> {
    Some(match c {
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "ʼn",
        '‘' | '’' | '‚' | '‛' => "'",
        '“' | '”' | '„' | '‟' => "\"",
        _ => return None,
    })
}

/// Resolves `&name;`, `&#10;` and `&#x0a;` once. `Err` carries a name that is not one of the basic ones.
fn resolve_references(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let reference = rest[1..].split_once(';').map(|(name, _)| name).filter(|name| {
            let digits = name.strip_prefix('#').unwrap_or(name);
            !digits.is_empty() && digits.chars().all(|c| c.is_ascii_alphanumeric())
        });
        let Some(name) = reference else {
            out.push('&');
            rest = &rest[1..];
            continue;
        };
        out.push(referenced(name).ok_or_else(|| name.to_owned())?);
        rest = &rest[name.len() + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

fn referenced(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        _ => return None,
    })
}
