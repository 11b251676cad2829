//! What others wrote, in one line of a bounded length.

/// Longest line, bytes; the rest is cut off.
pub const LONGEST: usize = 8 * 1024;

/// What comes from a broker, a file name or a library may hold line ends and escape sequences: they are shown, not obeyed.
pub fn push_harmless(line: &mut String, words: &str) {
    let before = line.len();
    for letter in words.chars() {
        if line.len() - before >= LONGEST {
            line.push('…');
            return;
        }
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
}
