//! Circles of files: no file below `src` may need, directly or over others, a file that needs it.
//!
//! A file needs another one when it names something that is defined there. `mod` lines and `pub use` make no need of
//! their own; a name that is re-exported counts for the file that defines it. A folder's `mod.rs` is a file like any
//! other: it uses its children, or they use it. Tests inside a file may name what they like.

use std::collections::{BTreeMap, BTreeSet};

type ModulePath = Vec<String>;

/// A `use`, or a path in the code.
struct Name {
    public: bool,
    path: Vec<String>,
    /// What it is called here; `*` for all.
    alias: String,
}

struct Module {
    file: String,
    defined: BTreeSet<String>,
    uses: Vec<Name>,
    /// The code without `use` lines.
    body: String,
}

/// Who needs whom, and over which name; files by their path below `src`.
type Needs = BTreeMap<String, BTreeMap<String, String>>;

/// Every circle, each as its needs in words; `files` are paths below `src` with their text.
pub fn circles(files: &[(String, String)]) -> Vec<Vec<String>> {
    let needs = needs(files);
    let reached: BTreeMap<&String, BTreeSet<&String>> = needs.keys().map(|file| (file, reach(&needs, file))).collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (file, beyond) in &reached {
        if !beyond.contains(*file) || seen.contains(*file) {
            continue;
        }
        let circle: BTreeSet<&String> = beyond
            .iter()
            .copied()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(*file)))
            .collect();
        seen.extend(circle.iter().copied());
        let inside = |from: &&String| {
            needs[*from]
                .iter()
                .filter(|(to, _)| circle.contains(to))
                .map(move |(to, name)| format!("{from} needs {to} for {name}"))
                .collect::<Vec<_>>()
        };
        found.push(circle.iter().flat_map(inside).collect());
    }
    found
}

fn reach<'a>(needs: &'a Needs, from: &str) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&String> = needs.get(from).into_iter().flat_map(BTreeMap::keys).collect();
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(needs.get(file).into_iter().flat_map(BTreeMap::keys));
        }
    }
    reached
}

fn needs(files: &[(String, String)]) -> Needs {
    let modules: BTreeMap<ModulePath, Module> = files.iter().filter_map(|(file, text)| module(file, text)).collect();
    let mut needs = Needs::new();
    for (own, module) in &modules {
        let mut need = |path: &[String]| {
            let Some(home) = absolute(&modules, own, path).and_then(|path| home(&modules, &path, 0)) else { return };
            if home != *own
                && !home.is_empty()
                && let Some(other) = modules.get(&home)
            {
                needs
                    .entry(module.file.clone())
                    .or_default()
                    .entry(other.file.clone())
                    .or_insert_with(|| path.join("::"));
            }
        };
        for name in module.uses.iter().filter(|name| !name.public) {
            let is_module = absolute(&modules, own, &name.path).is_some_and(|path| modules.contains_key(&path));
            if is_module {
                // A module as a name: what is taken from it counts.
                for rest in behind(&module.body, &name.alias) {
                    need(&[name.path.as_slice(), &[rest]].concat());
                }
            } else {
                need(&name.path);
            }
        }
        for path in paths(&module.body) {
            need(&path);
        }
    }
    needs
}

fn module(file: &str, text: &str) -> Option<(ModulePath, Module)> {
    let mut path: ModulePath = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if path.iter().any(|part| part == "tests") {
        return None;
    }
    match path.last().map(String::as_str) {
        Some("mod" | "lib") => drop(path.pop()),
        Some("main") if path.len() == 1 => path = vec!["main program".into()],
        _ => {}
    }
    let code = without_comments_and_tests(text);
    let (uses, body) = split_uses(&code);
    Some((path, Module { file: file.to_owned(), defined: defined(&body), uses, body }))
}

fn without_comments_and_tests(text: &str) -> String {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let tests = |at: &usize| {
        code[*at].trim() == "#[cfg(test)]" && code.get(at + 1).is_some_and(|next| next.contains("mod tests"))
    };
    let end = (0..code.len()).find(tests).unwrap_or(code.len());
    code[..end].join("\n")
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter| !is_word(letter)).filter(|word| !word.is_empty())
}

fn defined(body: &str) -> BTreeSet<String> {
    const KEYWORDS: [&str; 9] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union", "macro_rules"];
    let all: Vec<&str> = words(body).collect();
    all.windows(2).filter(|pair| KEYWORDS.contains(&pair[0])).map(|pair| pair[1].to_owned()).collect()
}

/// The `use` declarations, and the code without them.
fn split_uses(code: &str) -> (Vec<Name>, String) {
    let (mut uses, mut body) = (Vec::new(), String::new());
    let mut rest = code;
    while let Some(at) = find_use(rest) {
        let (before, declaration) = rest.split_at(at);
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        let public = before[line..].trim_start().starts_with("pub");
        body.push_str(&before[..line]);
        let end = declaration.find(';').unwrap_or(declaration.len() - 1);
        tree(&declaration["use ".len()..end], &[], public, &mut uses);
        rest = &declaration[end + 1..];
    }
    body.push_str(rest);
    (uses, body)
}

/// `use ` at the beginning of a declaration.
fn find_use(code: &str) -> Option<usize> {
    code.match_indices("use ").map(|(at, _)| at).find(|&at| {
        let line = code[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = code[line..at].trim();
        before.is_empty() || (before.starts_with("pub") && (before == "pub" || before.ends_with(')')))
    })
}

/// The names in `a::{b, c::{d as e, self}}`.
fn tree(text: &str, above: &[String], public: bool, found: &mut Vec<Name>) {
    let text = text.trim();
    let segments = |text: &str| {
        text.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect::<Vec<_>>()
    };
    if let Some(open) = text.find('{') {
        let above = [above, &segments(&text[..open])].concat();
        let inner = &text[open + 1..text.rfind('}').unwrap_or(text.len())];
        let (mut depth, mut from) = (0, 0);
        for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    if !inner[from..at].trim().is_empty() {
                        tree(&inner[from..at], &above, public, found);
                    }
                    from = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let (text, alias) =
        text.split_once(" as ").map_or((text, None), |(text, alias)| (text, Some(alias.trim().to_owned())));
    let mut path = [above, &segments(text)].concat();
    if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
        path.pop();
    }
    let alias = alias.or_else(|| path.last().cloned()).unwrap_or_default();
    found.push(Name { public, path, alias });
}

/// Paths of at least two segments in the code, as far as they may begin in this crate.
fn paths(body: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = body;
    while let Some(at) = rest.find("::") {
        let start = rest[..at].rfind(|letter| !is_word(letter)).map_or(0, |before| before + 1);
        let follows_path = rest[..start].ends_with("::") || rest[..start].ends_with('$');
        let end = rest[at..].find(|letter| !is_word(letter) && letter != ':').map_or(rest.len(), |end| at + end);
        let path: Vec<String> = rest[start..end].split("::").map(str::to_owned).collect();
        if start < at && !follows_path && path.iter().all(|part| !part.is_empty() && part.chars().all(is_word)) {
            found.push(path);
        }
        rest = &rest[end.max(at + 2)..];
    }
    found
}

/// The segments that follow `alias::` in the code.
fn behind(body: &str, alias: &str) -> Vec<String> {
    paths(body).into_iter().filter(|path| path[0] == alias).map(|path| path[1].clone()).collect()
}

/// From the root of the crate; `None` for what lies in other crates.
fn absolute(modules: &BTreeMap<ModulePath, Module>, own: &ModulePath, path: &[String]) -> Option<ModulePath> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    match path.first()?.as_str() {
        "crate" | "vcp_line" => Some(path[1..].to_vec()),
        "self" => Some([own.as_slice(), &path[1..]].concat()),
        "super" => Some([own.get(..own.len().checked_sub(ups)?)?, &path[ups..]].concat()),
        first => {
            let child = [own.as_slice(), &[first.to_owned()]].concat();
            modules.contains_key(&child).then(|| [own.as_slice(), path].concat())
        }
    }
}

/// The module in which the thing with this path is defined.
fn home(modules: &BTreeMap<ModulePath, Module>, path: &[String], depth: usize) -> Option<ModulePath> {
    const DEEPEST: usize = 16;
    if depth > DEEPEST {
        return None;
    }
    let known = (0..=path.len()).rev().map(|end| path[..end].to_vec()).find(|prefix| modules.contains_key(prefix))?;
    let Some(name) = path.get(known.len()) else { return Some(known) };
    let module = &modules[&known];
    if module.defined.contains(name) {
        return Some(known);
    }
    for used in module.uses.iter().filter(|used| used.public) {
        let (path_there, rest) = match used.alias.as_str() {
            "*" => (&used.path[..used.path.len() - 1], &path[known.len()..]),
            alias if alias == name => (used.path.as_slice(), &path[known.len() + 1..]),
            _ => continue,
        };
        if let Some(there) = absolute(modules, &known, path_there)
            && let Some(home) = home(modules, &[there.as_slice(), rest].concat(), depth + 1)
        {
            return Some(home);
        }
    }
    Some(known)
}

#[test]
fn planted_circles_are_seen_and_innocent_files_are_not() {
    let found = |files: &[(&str, &str)]| {
        circles(&files.iter().map(|&(file, text)| (file.to_owned(), text.to_owned())).collect::<Vec<_>>())
    };
    let pair = found(&[
        ("a/mod.rs", "mod x;\nmod y;"),
        ("a/x.rs", "use super::y::Y;\npub struct X(Y);"),
        ("a/y.rs", "pub struct Y;\nfn f() { super::x::go() }"),
    ]);
    assert_eq!(pair, [["a/x.rs needs a/y.rs for super::y::Y", "a/y.rs needs a/x.rs for super::x::go"]]);
    let over_a_re_export = found(&[
        ("a/mod.rs", "mod x;\nmod y;\npub use x::X;"),
        ("a/x.rs", "use crate::a::y::Y;\npub struct X(Y);"),
        ("a/y.rs", "use super::{X as Other, nothing};\npub struct Y;"),
    ]);
    assert_eq!(over_a_re_export.len(), 1, "{over_a_re_export:?}");
    let parent = found(&[
        ("a/mod.rs", "mod x;\npub trait T {}\npub fn open() { x::open() }"),
        ("a/x.rs", "use super::T;\npub fn open() {}"),
    ]);
    assert_eq!(parent.len(), 1, "{parent:?}");
    let three = found(&[
        ("a.rs", "use crate::b;\npub struct A;\nfn f() { b::f() }"),
        ("b.rs", "pub fn f() { crate::c::g() }"),
        ("c.rs", "pub fn g() -> crate::a::A { todo!() }"),
    ]);
    assert_eq!(three.len(), 1, "{three:?}");
    assert_eq!(three[0].len(), 3);
    let innocent = found(&[
        ("lib.rs", "pub mod a;\npub mod b;\npub use a::X;"),
        ("a/mod.rs", "mod x;\nmod y;\npub use x::X;\npub use y::*;"),
        ("a/x.rs", "use super::y::Y;\npub struct X(Y);\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}"),
        ("a/y.rs", "// super::x::X\npub struct Y;\nuse std::fmt;"),
        ("b.rs", "use crate::a::{X, Y};\npub struct B(X, Y);"),
        ("a/tests.rs", "use super::x::X;"),
    ]);
    assert!(innocent.is_empty(), "{innocent:?}");
}
