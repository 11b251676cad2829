//! Standard output and standard error: the one place that knows what to do when nobody reads, and that prints what others
//! wrote without obeying it.
//!
//! A reader that has gone away (`| head`) ends a command quietly, unless results are still to come on disk or a line is
//! running: those go on without. What cannot be written for another reason, such as a full disk, is an error.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::failure::EXIT_FAILURE;
use crate::output;
use crate::printable::{printable, printable_json};

/// Prints one line on standard output: the answer of a command.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::cli::terminal::line(&format!($($text)*))
    };
}

/// Prints one line on standard error: how it goes, and what went wrong.
macro_rules! note {
    ($($text:tt)*) => {
        $crate::cli::terminal::note_line(&format!($($text)*))
    };
}

pub(crate) use {note, say};

/// More is to be done than to print.
static GOES_ON: AtomicBool = AtomicBool::new(false);
/// Why standard output takes nothing any more; none for a reader that has gone away.
static CLOSED: OnceLock<Option<io::Error>> = OnceLock::new();

/// From here on the command goes on without standard output: it has results on disk to finish, or a line to run.
pub fn goes_on_without() {
    GOES_ON.store(true, Ordering::Relaxed);
}

/// One line; control characters in it are spelled out.
pub fn line(text: &str) {
    write(&(printable(text).into_owned() + "\n"));
}

/// Colours of a word, on terminals that want them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Good.
    Green,
    /// Bad.
    Red,
    /// Neither.
    Yellow,
}

/// Whether somebody looks at standard output.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// What is read on a screen is no wider than this, columns.
const COLUMNS: usize = 80;

/// `text` in lines of at most 80 columns, broken between words; from the second on `indent` columns are left free. A word that is
/// longer has a line of its own.
pub fn wrapped(text: &str, indent: usize) -> Vec<String> {
    let width = |text: &str| text.chars().count();
    let mut lines = vec![String::new()];
    let mut empty = true;
    for word in text.split(' ') {
        let last = lines.len() - 1;
        if !empty && width(&lines[last]) + 1 + width(word) > COLUMNS {
            lines.push(" ".repeat(indent) + word);
            continue;
        }
        if !empty {
            lines[last].push(' ');
        }
        lines[last].push_str(word);
        empty = false;
    }
    lines
}

/// One line whose first word, or first ` word `, is coloured where standard output is a terminal that shows colours and NO_COLOR
/// (no-color.org) is not set; control characters in it are spelled out.
pub fn line_with(text: &str, word: &str, colour: Colour) {
    let wanted = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let colours = is_terminal() && !dumb && wanted("NO_COLOR");
    write(&(coloured(text, word, colours.then_some(colour)) + "\n"));
}

fn coloured(text: &str, word: &str, colour: Option<Colour>) -> String {
    let text = printable(text);
    let code = match colour {
        Some(Colour::Green) => "32",
        Some(Colour::Red) => "1;31",
        Some(Colour::Yellow) => "33",
        None => return text.into_owned(),
    };
    let painted = format!("\x1b[{code}m{word}\x1b[0m");
    match text.strip_prefix(word) {
        Some(rest) if rest.starts_with(' ') => painted + rest,
        _ => text.replacen(&format!(" {word} "), &format!(" {painted} "), 1),
    }
}

/// Several lines, such as a table; control characters within each are spelled out.
pub fn lines(text: &str) {
    write(&each_line(text));
}

/// One value, in one line or several.
pub fn json(value: &impl serde::Serialize, pretty: bool) -> serde_json::Result<()> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }?;
    write(&(printable_json(&text) + "\n"));
    Ok(())
}

/// One line on standard error. When that is gone, too, there is nobody to tell.
pub fn note_line(text: &str) {
    io::stderr().write_all((printable(text).into_owned() + "\n").as_bytes()).ok();
}

/// Why what was said did not arrive, if it did not and somebody wanted it.
pub fn failure() -> Option<&'static io::Error> {
    CLOSED.get()?.as_ref()
}

fn each_line(text: &str) -> String {
    text.lines().flat_map(|line| [printable(line), "\n".into()]).collect()
}

fn write(text: &str) {
    if CLOSED.get().is_some() {
        return;
    }
    let mut out = io::stdout().lock();
    let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) else { return };
    drop(out);
    let gone = error.kind() == ErrorKind::BrokenPipe;
    if GOES_ON.load(Ordering::Relaxed) {
        // Whoever comes first has said it.
        CLOSED.get_or_init(|| (!gone).then_some(error));
        return;
    }
    output::abandon();
    if gone {
        process::exit(0);
    }
    note_line(&unwritten(&error));
    process::exit(EXIT_FAILURE.into());
}

/// What a full disk behind standard output is called.
pub fn unwritten(error: &io::Error) -> String {
    format!("vcp-line: writing to standard output: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_coloured_and_what_others_wrote_is_not_obeyed() {
        let said = coloured("12:00 FAIL a\x1b[2J FAIL b", "FAIL", Some(Colour::Red));
        assert_eq!(said, "12:00 \x1b[1;31mFAIL\x1b[0m a\\u{1b}[2J FAIL b");
        assert_eq!(coloured("12:00 pass a", "pass", None), "12:00 pass a");
        assert_eq!(coloured("FAIL  a", "FAIL", Some(Colour::Red)), "\x1b[1;31mFAIL\x1b[0m  a");
    }

    #[test]
    fn long_lines_are_broken_between_words_and_nothing_is_lost() {
        let text = format!("FAIL  {:12} {}", "broker", "four words of thirty letters, ".repeat(9).trim_end());
        let lines = wrapped(&text, 19);
        assert!(lines.len() > 3 && lines.iter().all(|line| line.chars().count() <= COLUMNS), "{lines:#?}");
        assert!(lines[1..].iter().all(|line| line.starts_with(&" ".repeat(19)) && !line[19..].starts_with(' ')));
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&lines.join(" ")), words(&text));
        assert_eq!(wrapped("ok    model", 19), ["ok    model"]);
    }
}
