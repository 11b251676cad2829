//! What folders of data sets are called: kinds of parts, splits and masks, in the words and spellings that people use.

use std::path::Path;

use super::Split;

/// Parts without an anomaly.
const GOOD: &[&str] = &[
    "good",
    "ok",
    "okay",
    "normal",
    "nominal",
    "pass",
    "passed",
    "io",
    "gut",
    "gutteil",
    "gutteile",
    "defectfree",
    "nodefect",
    "nodefects",
    "nondefect",
    "nondefective",
    "undefective",
    "anomalyfree",
    "noanomaly",
    "nonanomaly",
    "nonanomalous",
    "faultless",
    "flawless",
    "intact",
    "undamaged",
    "healthy",
    "conforming",
    "accepted",
    "acceptable",
    "良品",
    "正常",
    "合格",
];
/// Parts with one, whatever it is.
const BAD: &[&str] = &[
    "bad",
    "ko",
    "ng",
    "nok",
    "notok",
    "notgood",
    "nogood",
    "nongood",
    "def",
    "defect",
    "defects",
    "defective",
    "defected",
    "anomaly",
    "anomalies",
    "anomalous",
    "abnormal",
    "abnormality",
    "abnormalities",
    "notnormal",
    "nonnormal",
    "fail",
    "failed",
    "reject",
    "rejected",
    "rejects",
    "nio",
    "schlecht",
    "schlechtteil",
    "schlechtteile",
    "ausschuss",
    "fehler",
    "fehlerhaft",
    "defekt",
    "nonconforming",
    "unacceptable",
    "不良",
    "不良品",
    "异常",
    "缺陷",
];
/// What says so as well, and is a kind of defect where others stand beside it.
const BAD_OR_KIND: &[&str] = &[
    "fault", "faults", "faulty", "failure", "failures", "scrap", "damage", "damaged", "broken", "flaw", "flaws",
    "flawed",
];
/// What turns a word into its contrary.
const NOT: &[&str] = &["not", "no", "non", "nicht", "kein", "keine", "never", "un"];
/// Parts of which nobody has said what they are.
const UNKNOWN: &[&str] = &[
    "unlabeled",
    "unlabelled",
    "unknown",
    "unsorted",
    "unchecked",
    "unclear",
    "todo",
    "mixed",
    "testprivate",
    "testprivatemixed",
];
const MASKS: &[&str] = &[
    "groundtruth",
    "groundtruths",
    "gt",
    "gts",
    "mask",
    "masks",
    "label",
    "labels",
    "annotation",
    "annotations",
    "truth",
    "segmentation",
    "segmentations",
    "gtmask",
    "gtmasks",
    "maskgt",
];
const TEST: &[&str] = &["test", "testpublic", "testing", "tests"];
const TRAIN: &[&str] = &["train", "training"];
const VALIDATION: &[&str] = &["val", "valid", "validation", "dev"];
/// What may follow a word and adds nothing to it.
const NOUNS: &[&str] =
    &["parts", "part", "images", "image", "imgs", "img", "pictures", "samples", "sample", "products"];

/// What may follow a word and says from where the part is seen: `ok_front`, `good_cam2`, `NG_2024`.
const VIEWS: &[&str] = &[
    "front", "rear", "back", "side", "top", "bottom", "left", "right", "upper", "lower", "inner", "outer", "inside",
    "outside", "view", "cam", "camera", "new", "old", "all", "set", "batch", "lot",
];

/// Letters and digits in lower case: `Not-OK`, `not_ok` and `NotOK` are one word.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn is_one_of(name: &str, words: &[&str]) -> bool {
    let plain = plain(name);
    // A number before the word sorts folders: `00_good`.
    let name = plain.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let bare = NOUNS.iter().find_map(|noun| name.strip_suffix(noun)).unwrap_or(name);
    words.contains(&plain.as_str()) || words.contains(&name) || words.contains(&bare)
}

/// The same for the last of several words, as in `caps_good`, unless another one turns it round.
fn ends_with_one_of(name: &str, words: &[&str]) -> bool {
    let parts: Vec<String> = name.split(|letter: char| !letter.is_alphanumeric()).map(plain).collect();
    let Some((last, others)) = parts.split_last().filter(|(_, others)| !others.is_empty()) else { return false };
    words.contains(&last.as_str()) && !others.iter().any(|other| NOT.contains(&other.as_str()) || is_one_of(other, BAD))
}

/// The same for the first of several words, when the others say only from where and when.
fn begins_with_one_of(name: &str, words: &[&str]) -> bool {
    let parts: Vec<String> = name.split(|letter: char| !letter.is_alphanumeric()).map(plain).collect();
    let Some((first, others)) = parts.split_first().filter(|(_, others)| !others.is_empty()) else { return false };
    let adds_nothing = |other: &String| {
        let word = other.trim_end_matches(|letter: char| letter.is_ascii_digit());
        word.is_empty() || VIEWS.contains(&word) || NOUNS.contains(&word)
    };
    words.contains(&first.as_str()) && others.iter().all(adds_nothing)
}

/// Does the name say that the parts are good?
pub(super) fn is_good(name: &str) -> bool {
    let among_others = ends_with_one_of(name, GOOD) || begins_with_one_of(name, GOOD);
    is_one_of(name, GOOD) || (among_others && !is_one_of(name, BAD))
}

/// Does it say that they are not?
pub(super) fn is_bad(name: &str) -> bool {
    is_all_bad(name) || is_one_of(name, BAD_OR_KIND) || ends_with_one_of(name, BAD) || begins_with_one_of(name, BAD)
}

/// Does it say so of all that are not good?
pub(super) fn is_all_bad(name: &str) -> bool {
    is_one_of(name, BAD)
}

/// Does it say that nobody knows?
pub(super) fn is_unknown(name: &str) -> bool {
    is_one_of(name, UNKNOWN)
}

/// Does it say nothing but that pictures lie there?
pub(super) fn is_noun(name: &str) -> bool {
    NOUNS.contains(&plain(name).as_str())
}

/// Does it hold masks?
pub(super) fn is_masks(name: &str) -> bool {
    is_one_of(name, MASKS)
}

/// Is it a split of a data set, whichever?
pub(super) fn is_split(name: &str) -> bool {
    let name = plain(name);
    [TEST, TRAIN, VALIDATION].iter().any(|words| words.contains(&name.as_str()))
}

/// How well a name says a split: smaller is better, the word itself comes first.
pub(super) fn split_rank(name: &str, split: Split) -> Option<usize> {
    let words = match split {
        Split::Train => TRAIN,
        Split::Test => TEST,
    };
    if name == split.name() {
        return Some(0);
    }
    words.iter().position(|word| plain(name) == *word).map(|at| at + 1)
}

/// Are two names the same word?
pub(super) fn same(a: &str, b: &str) -> bool {
    plain(a) == plain(b)
}

/// The last part of a path as text, bytes that are none shown as such.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_in_every_spelling() {
        for good in [
            "good",
            "Good",
            "GOOD",
            "ok",
            "OK",
            "Normal",
            "i.O.",
            "defect-free",
            "no_defect",
            "OK_images",
            "good parts",
        ] {
            assert!(is_good(good) && !is_bad(good), "{good}");
        }
        for bad in ["ko", "NG", "n.i.O.", "not_ok", "Not Good", "Defect", "anomalies", "ABNORMAL", "bad_parts", "nok"] {
            assert!(is_bad(bad) && !is_good(bad), "{bad}");
        }
        for good in
            ["00_good", "caps_ok", "Caps-Good", "2 normal", "ok_front", "good_1", "OK-cam2", "Normal 2024-01-05"]
        {
            assert!(is_good(good) && !is_bad(good), "{good}");
        }
        for bad in ["def_front", "NG_cam1", "defect-2024", "bad_top_view"] {
            assert!(is_bad(bad) && !is_good(bad), "{bad}");
        }
        for bad in ["01_ng", "caps_not_ok", "caps_bad", "not_so_good", "ok_but_dirty", "normal_wear", "good_ng"] {
            assert!(!is_good(bad), "{bad}");
        }
        assert!(is_bad("caps_ng") && is_bad("broken") && is_all_bad("01_NG") && !is_all_bad("broken"));
        for kind in ["scratch", "logical_anomalies", "broken_large", "goods_inward", "image", "parts"] {
            assert!(!is_good(kind) && !is_all_bad(kind), "{kind}");
        }
        assert!(is_masks("Ground_Truth") && is_masks("Label") && is_masks("GT") && !is_masks("good"));
        assert_eq!(split_rank("test_public", Split::Test), Some(2));
        assert_eq!((split_rank("Test", Split::Test), split_rank("test", Split::Test)), (Some(1), Some(0)));
        assert_eq!(split_rank("test_private", Split::Test), None);
    }
}
