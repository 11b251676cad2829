//! Names that come from outside: of parts, cameras, recipes and commands.

/// Longest id of a part, a correlation or a camera, characters.
pub const MAX_ID: usize = 128;

/// Short, and safe to print.
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_ID && !text.chars().any(char::is_control)
}
