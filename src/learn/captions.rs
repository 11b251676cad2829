//! The list of pictures and captions that `vcp-line synth` writes beside them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::vcp_clip::prompt::{self, CLASS_TOKEN, END_TOKEN, PromptError, START_TOKEN};

/// The list of pairs in a folder.
pub const CAPTIONS_FILE: &str = "captions.jsonl";

/// Positions of the text tower, as OpenAI's CLIP has them, start and end included.
pub const CONTEXT_LENGTH: usize = 77;

/// One line of [`CAPTIONS_FILE`]; what else it holds is not read.
#[derive(Deserialize)]
pub(super) struct CaptionLine {
    /// Below the list's folder.
    pub image: PathBuf,
    /// Of its defect, below the list's folder.
    pub mask: Option<PathBuf>,
    /// The product.
    pub class: String,
    /// What is true of the whole picture.
    pub caption: String,
    /// What is true of a view that leaves the defect out.
    pub good_caption: String,
}

/// Pairs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PairsError {
    /// A file cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A line is not what it should be.
    #[error("{}: line {line}: {reason}; `vcp-line synth` writes such files", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// A caption that the text tower cannot read.
    #[error("{}: caption '{caption}': {reason}", path.display())]
    Caption {
        /// The list.
        path: PathBuf,
        /// The caption.
        caption: String,
        /// Why.
        reason: String,
    },
    /// Nothing to learn from.
    #[error("{}: no pairs of the classes asked for; the list has {}", path.display(), classes.join(", "))]
    Empty {
        /// The list.
        path: PathBuf,
        /// What there is.
        classes: Vec<String>,
    },
    /// A caption cannot be tokenised.
    #[error(transparent)]
    Prompt(#[from] PromptError),
}

/// Every caption once.
#[derive(Default)]
pub(super) struct Vocabulary {
    /// As token ids from start to end.
    pub captions: Vec<Vec<u32>>,
    known: HashMap<String, usize>,
}

impl Vocabulary {
    /// Where `text`, of the list at `path`, is among the captions.
    pub fn index(&mut self, path: &Path, text: &str) -> Result<usize, PairsError> {
        if let Some(&at) = self.known.get(text) {
            return Ok(at);
        }
        let mut ids = vec![START_TOKEN];
        ids.extend(prompt::tokenize(text)?);
        ids.push(END_TOKEN);
        let unfit = |reason: String| PairsError::Caption { path: path.to_owned(), caption: text.to_owned(), reason };
        if ids.contains(&CLASS_TOKEN) {
            return Err(unfit("'<|class|>' stands for learned vectors; take another word".to_owned()));
        }
        if ids.len() > CONTEXT_LENGTH {
            return Err(unfit(format!("it has {} tokens, at most {CONTEXT_LENGTH} fit; shorten it", ids.len())));
        }
        self.captions.push(ids);
        self.known.insert(text.to_owned(), self.captions.len() - 1);
        Ok(self.captions.len() - 1)
    }
}

/// A list.
pub(super) struct CaptionList {
    /// Each line as it stands there, and as it is read.
    pub lines: Vec<(String, CaptionLine)>,
    /// Its classes, each once.
    pub classes: Vec<String>,
}

/// The list at `path`.
pub(super) fn read_list(path: &Path) -> Result<CaptionList, PairsError> {
    let text = fs::read_to_string(path)
        .map_err(|error| PairsError::File { path: path.to_owned(), reason: error.to_string() })?;
    let mut classes = Vec::new();
    let read = |(text, line): (&str, usize)| {
        let parsed: CaptionLine = serde_json::from_str(text).map_err(|error| PairsError::Line {
            path: path.to_owned(),
            line,
            reason: error.to_string(),
        })?;
        if !classes.contains(&parsed.class) {
            classes.push(parsed.class.clone());
        }
        Ok((text.to_owned(), parsed))
    };
    let lines = text.lines().zip(1..).map(read).collect::<Result<_, PairsError>>()?;
    Ok(CaptionList { lines, classes })
}
