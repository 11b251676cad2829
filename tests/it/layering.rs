//! The table in the crate's doc is enforced: who may import whom, who may name which library, how files are made.

use std::path::{Path, PathBuf};

use crate::circles;

/// Who may be imported by a module, besides itself and the vocabulary.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["*"]),
    ("lib", &["*"]),
    ("cli", &["*"]),
    (
        "service",
        &[
            "archive",
            "view",
            "calibrate",
            "config",
            "drift",
            "line",
            "memory",
            "publish",
            "web",
            "systemd",
            "logging",
            "source",
            "engine",
            "output",
        ],
    ),
    ("config", &["archive", "view", "drift", "memory", "line", "publish", "source", "engine"]),
    ("calibrate", &["view", "look", "drift", "line", "memory", "output"]),
    ("line", &["archive", "view", "look", "source", "engine", "drift", "memory"]),
    ("archive", &["output"]),
    ("drift", &[]),
    ("memory", &["view", "vcp_clip", "output"]),
    ("publish", &["tls"]),
    ("web", &["archive"]),
    ("serve", &["engine", "oip", "tls", "web"]),
    ("oip", &[]),
    ("tls", &[]),
    ("learn", &["view", "dataset", "eval", "source", "engine", "vcp_clip", "weights", "synth", "output"]),
    ("systemd", &[]),
    ("logging", &[]),
    ("eval", &["view", "look", "dataset", "source", "engine", "memory", "vcp_clip", "weights", "output"]),
    ("quantize", &["dataset", "eval", "source", "engine", "vcp_clip", "weights"]),
    ("dataset", &["source"]),
    ("source", &["synth", "output"]),
    ("engine", &["vcp_clip", "weights", "cuda", "output", "oip", "tls"]),
    ("cuda", &["vcp_clip", "output"]),
    ("weights", &["vcp_clip", "output"]),
    ("vcp_clip", &[]),
    ("view", &[]),
    ("look", &["view", "engine", "memory"]),
    ("synth", &[]),
    ("output", &[]),
];
const VOCABULARY: &[&str] = &[
    "frame",
    "levels",
    "anomaly",
    "tokens",
    "overlay",
    "lettering",
    "verdict",
    "event",
    "camera",
    "clock",
    "secret",
    "command",
    "dice",
    "printable",
    "error_chain",
];

/// Which files may name a library.
const ONLY: &[(&str, &[&str])] = &[
    ("clap", &["cli/"]),
    ("tracing_subscriber", &["logging/"]),
    ("openvino", &["engine/openvino"]),
    ("gstreamer", &["source/gstreamer"]),
    ("gstreamer_app", &["source/gstreamer"]),
    ("gstreamer_video", &["source/gstreamer"]),
    ("rumqttc", &["publish/"]),
    ("rumqttd", &["publish/"]),
    ("axum", &["web/"]),
    ("cudarc", &["cuda/"]),
    ("opencv", &["line/regions_opencv.rs", "view/locate/", "source/demosaic.rs"]),
    ("plotters", &["eval/report/plot.rs"]),
    ("maud", &["eval/report/"]),
    ("rusqlite", &["archive/"]),
    ("prometheus_client", &["service/metrics.rs", "serve/metrics.rs"]),
    ("tonic", &["oip/", "serve/", "engine/remote/"]),
    ("csv", &["dataset/listed.rs"]),
    ("burn", &["vcp_clip/eager.rs", "engine/finish.rs", "learn/"]),
];

const MOST_LINES: usize = 500;

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("readable folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).expect("text"))
    };
    found.into_iter().map(read).collect()
}

fn module_of(file: &str) -> &str {
    file.split('/').next().expect("a name").trim_end_matches(".rs")
}

/// Code without comments; strings stay, as none of them holds a path of this crate.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// First segments behind `root::`, also of `root::{a, b::c}`.
fn segments(code: &str, root: &str) -> Vec<String> {
    let needle = format!("{root}::");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&needle) {
        if code[..at].chars().next_back().is_some_and(|before| is_word(before) || before == '$') {
            continue;
        }
        found.extend(firsts(&code[at + needle.len()..]));
    }
    found
}

/// First segments of a path's rest, `a::b` or `{a, b::c}`.
fn firsts(rest: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(list) = rest.strip_prefix('{') {
        let mut depth = 0;
        let mut item = String::new();
        for letter in list.chars() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => found.push(std::mem::take(&mut item)),
                _ if depth == 0 => item.push(letter),
                _ => {}
            }
        }
        found.push(item);
    } else {
        found.push(rest.to_owned());
    }
    let first = |path: String| path.trim_start().chars().take_while(|&letter| is_word(letter)).collect::<String>();
    found.into_iter().map(first).filter(|name| !name.is_empty()).collect()
}

/// First segments of the paths that `super::` leads up to the crate's root.
fn above(file: &str, code: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs");
    // A module's own file lies as deep as its folder.
    let own = ["/mod", "main", "lib"].iter().find_map(|name| path.strip_suffix(name)).unwrap_or(path);
    let depth = own.split('/').filter(|part| !part.is_empty()).count();
    // Modules within a file are its tests, which come last.
    let tests = code.find("mod tests {").unwrap_or(code.len());
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("super::").map(|at| from + at) {
        let rest = code[at..].trim_start_matches("super::");
        let steps = (code.len() - at - rest.len()) / "super::".len();
        from = code.len() - rest.len();
        let glued = code[..at].chars().next_back().is_some_and(is_word);
        if !glued && steps >= depth + usize::from(at > tests) {
            found.extend(firsts(rest));
        }
    }
    found
}

fn breaches(files: &[(String, String)]) -> Vec<String> {
    let mut breaches = Vec::new();
    for (file, text) in files {
        let module = module_of(file);
        let allowed: &[&str] = if VOCABULARY.contains(&module) {
            &[]
        } else {
            match MAY_IMPORT.iter().find(|(name, _)| *name == module) {
                Some((_, allowed)) => allowed,
                None => {
                    breaches.push(format!("{file}: module '{module}' is not in the table"));
                    continue;
                }
            }
        };
        let code = code(text);
        let absolute = ["crate", "vcp_line"].iter().flat_map(|root| segments(&code, root));
        for name in absolute.chain(above(file, &code)) {
            let fine = name == module || VOCABULARY.contains(&name.as_str()) || allowed.contains(&"*");
            if !fine && !allowed.contains(&name.as_str()) {
                breaches.push(format!("{file}: '{module}' imports '{name}'"));
            }
        }
        for (library, homes) in ONLY {
            if !homes.iter().any(|home| file.starts_with(home)) && names(&code, library) {
                breaches.push(format!("{file}: names {library}, which belongs to {}", homes.join(" and ")));
            }
        }
    }
    breaches
}

/// `library::` that starts a path: neither `crate::engine::openvino::` nor `super::openvino::` counts.
fn names(code: &str, library: &str) -> bool {
    let starts_a_path = |at: usize| {
        let before = code[..at].trim_end_matches(' ');
        let glued = code[..at].chars().next_back().is_some_and(is_word);
        !glued && (!before.ends_with("::") || before.ends_with(" ::"))
    };
    let local = [format!("mod {library};"), format!("mod {library} ")].iter().any(|line| code.contains(line));
    !local && code.match_indices(&format!("{library}::")).any(|(at, _)| starts_a_path(at))
}

#[test]
fn imports_follow_the_table() {
    let breaches = breaches(&sources());
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn no_file_needs_one_that_needs_it() {
    let circles = circles::circles(&sources());
    let told: Vec<String> = circles.iter().map(|circle| circle.join("\n")).collect();
    assert!(told.is_empty(), "{} circles of files:\n\n{}", told.len(), told.join("\n\n"));
}

#[test]
fn breaches_are_seen() {
    let seen = |file: &str, text: &str| breaches(&[(file.to_owned(), text.to_owned())]);
    assert_eq!(seen("line/x.rs", "use crate::{clock, publish::Door};"), ["line/x.rs: 'line' imports 'publish'"]);
    assert_eq!(seen("frame.rs", "fn f() { crate::line::g() }"), ["frame.rs: 'frame' imports 'line'"]);
    assert_eq!(seen("utils.rs", ""), ["utils.rs: module 'utils' is not in the table"]);
    assert_eq!(seen("cli/x.rs", "use rumqttc::Client;"), ["cli/x.rs: names rumqttc, which belongs to publish/"]);
    assert_eq!(seen("line/x.rs", "use super::super::publish::Door;"), ["line/x.rs: 'line' imports 'publish'"]);
    assert_eq!(seen("line/mod.rs", "fn f() { super::cli::g() }"), ["line/mod.rs: 'line' imports 'cli'"]);
    assert_eq!(seen("frame.rs", "use super::{clock, line::Queue};"), ["frame.rs: 'frame' imports 'line'"]);
    assert_eq!(
        seen("weights/y/x.rs", "mod tests {\n use super::super::super::super::engine::open;\n}"),
        ["weights/y/x.rs: 'weights' imports 'engine'"]
    );
    assert_eq!(
        seen("line/x.rs", "use burn::tensor::Tensor;"),
        ["line/x.rs: names burn, which belongs to vcp_clip/eager.rs and engine/finish.rs and learn/"]
    );
    assert!(seen("line/mod.rs", "mod tests {\n use super::{Queue, x};\n}").is_empty());
    assert!(seen("source/gstreamer/fault.rs", "use super::super::gstreamer_spec::GStreamerSpec;").is_empty());
    assert!(seen("engine/openvino.rs", "use openvino::Core;").is_empty());
    assert!(seen("line/x.rs", "// use crate::publish::Door;\nuse crate::source::Source;").is_empty());
}

#[test]
fn files_say_what_they_are_for_and_stay_short() {
    let files = sources();
    assert!(files.len() > 20, "the walk found only {} files", files.len());
    for (file, text) in files {
        assert!(text.starts_with("//! "), "{file} does not open with a sentence (//!)");
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{file} has {lines} lines, at most {MOST_LINES}");
    }
}
