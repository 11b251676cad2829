//! How one event becomes one line: priority or time, level, message, fields; control characters of others are spelled out.

use std::fmt::{self, Write};
use std::fs::File;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::harmless::push_harmless;
use super::journal;

/// Who reads the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A person at a terminal that shows colours.
    Colour,
    /// A file, a pipe, a terminal without colours.
    Plain,
    /// systemd's journal, which stamps the lines itself and takes the priority from a prefix (`sd-daemon(3)`).
    Journal,
    /// The same by journald's own socket, with fields.
    Fields,
}

impl Style {
    /// Follows `JOURNAL_STREAM` (`systemd.exec(5)`) and `NO_COLOR` (no-color.org: any text but an empty one).
    pub fn from_env(terminal: bool, stderr: Option<&File>) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let given =
            || stderr.is_some_and(|file| std::env::var("JOURNAL_STREAM").is_ok_and(|at| journal::is_given(&at, file)));
        match () {
            () if given() => Self::Fields,
            () if set("JOURNAL_STREAM") => Self::Journal,
            () if terminal && !set("NO_COLOR") => Self::Colour,
            () => Self::Plain,
        }
    }
}

/// Formats events in a [`Style`].
pub struct OneLine {
    style: Style,
}

impl OneLine {
    pub fn new(style: Style) -> Self {
        Self { style }
    }
}

impl<S, N> FormatEvent<S, N> for OneLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut words = String::new();
        context.format_fields(Writer::new(&mut words), event)?;
        match self.style {
            Style::Fields => writer.write_str(&journal::record_of(event, &words)),
            style => writer.write_str(&line(style, *event.metadata().level(), &words)),
        }
    }
}

/// One line with its end, as the style wants it.
pub fn line(style: Style, level: Level, words: &str) -> String {
    if style == Style::Fields {
        return journal::record(level, words);
    }
    let mut line = String::with_capacity(words.len() + 48);
    // Writing to a String never fails.
    head(&mut line, style, level).ok();
    push_harmless(&mut line, words);
    line.push('\n');
    line
}

/// One line of words without time and level, for a person; in the journal an error.
pub fn plain(style: Style, words: &str) -> String {
    let mut line = match style {
        Style::Fields => return journal::record(Level::ERROR, words),
        Style::Journal => prefix(Level::ERROR),
        Style::Plain | Style::Colour => String::new(),
    };
    push_harmless(&mut line, words);
    line.push('\n');
    line
}

fn head(line: &mut String, style: Style, level: Level) -> fmt::Result {
    match style {
        // Records have no head.
        Style::Fields => Ok(()),
        Style::Journal => {
            line.push_str(&prefix(level));
            write!(line, "{level:>5} ")
        }
        Style::Plain => {
            SystemTime.format_time(&mut Writer::new(line))?;
            write!(line, " {level:>5} ")
        }
        Style::Colour => {
            line.push_str("\x1b[2m");
            SystemTime.format_time(&mut Writer::new(line))?;
            write!(line, "\x1b[0m \x1b[{}m{level:>5}\x1b[0m ", colour(level))
        }
    }
}

/// The level as `sd-daemon(3)` has it before a line.
fn prefix(level: Level) -> String {
    format!("<{}>", journal::priority(level))
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        _ => 35,
    }
}

#[cfg(test)]
mod tests {
    use super::super::harmless::LONGEST;
    use super::*;

    #[test]
    fn control_characters_are_spelled_out_and_long_lines_cut() {
        assert_eq!(
            line(Style::Journal, Level::WARN, "a\nb\x1b[2Jc\u{9b}d\te"),
            "<4> WARN a\\nb\\u{1b}[2Jc\\u{9b}d\\te\n"
        );
        assert_eq!(plain(Style::Plain, "vcp-line: x\ry"), "vcp-line: x\\ry\n");
        assert_eq!(plain(Style::Journal, "a"), "<3>a\n");
        let long = line(Style::Journal, Level::ERROR, &"ä".repeat(LONGEST));
        assert!(long.len() < LONGEST + 24 && long.ends_with("…\n"), "{}", long.len());
    }

    #[test]
    fn each_style_has_its_head() {
        assert_eq!(line(Style::Journal, Level::INFO, "x"), "<6> INFO x\n");
        let plain = line(Style::Plain, Level::ERROR, "x");
        assert!(
            plain.ends_with("Z ERROR x\n") && plain.len() == "2026-11-28T01:25:15.123456Z ERROR x\n".len(),
            "{plain}"
        );
        assert!(line(Style::Colour, Level::ERROR, "x").contains("\x1b[31mERROR\x1b[0m x\n"));
    }
}
