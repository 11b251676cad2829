//! What a check has found, as lines for people or as one object for programs.

use anyhow::Error;
use serde::Serialize;

use super::as_service::Difference;
use crate::cli::failure::{self, ChecksFailed};
use crate::cli::terminal::{self, Colour, say};
use crate::config::ConfigError;
use crate::error_chain;

/// Where the detail of a check begins, columns.
const DETAIL: usize = 19;

/// All checks so far, each printed at once unless they come as JSON.
pub struct Findings {
    json: bool,
    checks: Vec<Check>,
    /// Mistakes in the settings file count singly.
    problems: usize,
    configuration: bool,
}

/// One check.
#[derive(Serialize)]
struct Check {
    name: String,
    ok: bool,
    detail: String,
}

#[derive(Serialize)]
struct Report<'a> {
    checks: &'a [Check],
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_as_service: Option<NotAsService<'a>>,
}

#[derive(Serialize)]
struct NotAsService<'a> {
    other: &'a [&'static str],
    command: &'a str,
}

impl Findings {
    pub fn new(json: bool) -> Self {
        Self { json, checks: Vec::new(), problems: 0, configuration: false }
    }

    pub fn tell(&mut self, name: &str, result: anyhow::Result<String>) {
        let (ok, detail) = match result {
            Ok(detail) => (true, detail),
            Err(error) => {
                self.problems += 1;
                self.configuration |= failure::exit_code(&error) == failure::EXIT_CONFIG;
                (false, error_chain::one_line(error.as_ref()))
            }
        };
        if !self.json {
            let (word, colour) = if ok { ("ok", Colour::Green) } else { ("FAIL", Colour::Red) };
            let text = format!("{word:6}{name:12} {detail}");
            // Who reads it in a pipe wants a line for each check.
            let text = if terminal::is_terminal() { terminal::wrapped(&text, DETAIL) } else { vec![text] };
            for (at, line) in text.iter().enumerate() {
                if at == 0 {
                    terminal::line_with(line, word, colour);
                } else {
                    terminal::line(line);
                }
            }
        }
        self.checks.push(Check { name: name.to_owned(), ok, detail });
    }

    /// Without this nothing else can be tried; whoever ends the program says it.
    pub fn stopped_by(&mut self, name: &str, error: &Error) {
        let mistakes = error.downcast_ref::<ConfigError>().map_or(1, |error| match error {
            ConfigError::Invalid { problems } => problems.len(),
            ConfigError::Read { .. } => 1,
        });
        self.problems += mistakes;
        self.checks.push(Check { name: name.to_owned(), ok: false, detail: error_chain::one_line(error.as_ref()) });
    }

    /// The last word: ready, or how many problems there are.
    pub fn end(&self, other: Option<&Difference>) -> anyhow::Result<()> {
        let ready = self.problems == 0;
        if self.json {
            let not_as_service =
                other.map(|Difference { missing, command, .. }| NotAsService { other: missing, command });
            return Ok(terminal::json(&Report { checks: &self.checks, ready, not_as_service }, true)?);
        }
        match self.problems {
            0 => say!("ready"),
            1 => say!("1 problem"),
            many => say!("{many} problems"),
        }
        Ok(())
    }

    /// The error that ends the program, when a check that was told has failed.
    pub fn result(self) -> anyhow::Result<()> {
        match self.problems {
            0 => Ok(()),
            failed => Err(ChecksFailed { failed, configuration: self.configuration }.into()),
        }
    }
}
