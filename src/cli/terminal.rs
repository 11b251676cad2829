//! Standard output and standard error: the one place that knows what to do when nobody reads, and that prints what others
//! wrote without obeying it.
//!
//! A reader that has gone away (`| head`) ends a command quietly, unless results are still to come on disk or a line is
//! running: those go on without. What cannot be written for another reason, such as a full disk, is an error.

use std::io::{self, ErrorKind, Write};
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
