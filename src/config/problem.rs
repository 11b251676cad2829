//! What is wrong with a settings file: every mistake with its line, key, finding and next step.

use std::fmt;
use std::path::{Path, PathBuf};

/// The settings cannot be used; the service exits with 78.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "{path}: {source}; name an existing settings file, /usr/share/vcp-line/pipelines/reference.toml shows every key"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds mistakes.
    #[error("{}", lines(.problems))]
    Invalid {
        /// All of them, in the order of the file.
        problems: Vec<Problem>,
    },
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Line in it, from 1, where there is one.
    pub line: Option<usize>,
    /// The key; empty for mistakes of the language TOML itself.
    pub key: String,
    /// What was found, what is allowed, what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// Collects mistakes and knows which line a byte is on.
pub struct Report {
    file: PathBuf,
    line_starts: Vec<usize>,
    problems: Vec<Problem>,
}

impl Report {
    /// An empty report on a file with this text.
    pub fn new(file: &Path, text: &str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.to_owned(), line_starts, problems: Vec::new() }
    }

    /// Adds a mistake; `at` is its place, bytes into the file.
    pub fn add(&mut self, at: Option<usize>, key: &str, message: String) {
        let line = at.map(|at| self.line_starts.partition_point(|&start| start <= at));
        let problem = Problem { file: self.file.clone(), line, key: key.to_owned(), message };
        // Cameras share the line's recipe and so its mistakes.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The error, when there is anything to say.
    pub fn finish(mut self) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        // What belongs to no line, such as a missing key, comes last.
        self.problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        Err(ConfigError::Invalid { problems: self.problems })
    }
}
