//! What the runbook says of an alarm: its headings are the texts of the alarms, `…` standing for what differs.

use std::sync::LazyLock;

const RUNBOOK: &str = include_str!("../../deploy/RUNBOOK.md");
/// A piece of a heading that says too little to be the text of an alarm, letters.
const LEAST: usize = 12;

struct Section {
    /// Texts in the heading, each as the pieces between what differs.
    texts: Vec<Vec<&'static str>>,
    help: String,
}

static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| RUNBOOK.split("\n## ").skip(1).map(section).collect());

fn section(text: &'static str) -> Section {
    let (heading, body) = text.split_once('\n').unwrap_or((text, ""));
    let marked = heading.split('`').skip(1).step_by(2);
    let texts = marked.filter(|text| text.len() >= LEAST).map(|text| text.split('…').collect()).collect();
    let words = body.replace('`', "");
    let paragraphs: Vec<String> =
        words.split("\n\n").map(|lines| lines.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    Section { texts, help: paragraphs.join("\n").trim().to_owned() }
}

/// All pieces, in this order; how many letters of it are theirs.
fn likeness(message: &str, pieces: &[&str]) -> Option<usize> {
    let mut rest = message;
    for piece in pieces {
        rest = &rest[rest.find(piece)? + piece.len()..];
    }
    Some(pieces.iter().map(|piece| piece.len()).sum())
}

/// The section whose heading fits the message best.
pub fn help(message: &str) -> Option<&'static str> {
    let fits = |section: &'static Section| {
        let best = section.texts.iter().filter_map(|pieces| likeness(message, pieces)).max()?;
        Some((best, section.help.as_str()))
    };
    SECTIONS.iter().filter_map(fits).max_by_key(|(best, _)| *best).map(|(_, help)| help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_find_their_section() {
        let drops = "camera 'top' drops frames: they come faster than they are inspected; lower the frame rate";
        assert!(help(drops).expect("found").starts_with("vcp-line bench tells how fast this computer is."));
        let lost = "camera 'top' (192.168.1.9) is not reachable: no route to host";
        assert!(help(lost).expect("found").contains("ping its address"));
        let light = "the picture changed against the 40 good parts: brightness 12 % lower";
        assert!(help(light).expect("found").contains("lamp, its supply"));
        assert_eq!(help("something that nobody has written about"), None);
    }
}
