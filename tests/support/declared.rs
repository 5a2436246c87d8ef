//! Public items of `src/` that nothing outside of their file names.
//!
//! Exact as far as names are: an item counts as used when another file has its name as a word, in code that is neither a comment nor
//! a string and does not only pass the name on (`pub use`). So items with a common name are never found. A type counts as used when
//! its own file names it outside of its `impl`: what is public may return it. A variant counts as used when it is made anywhere;
//! those that `#[from]` or a table of words makes are left out.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// A declaration: its file, its line and its name.
pub struct Declared {
    /// Below `src/`.
    pub file: String,
    pub line: usize,
    /// `Kind::Variant` for a variant.
    pub name: String,
}

/// What `pub` declares in `sources` and no other file names. `others` is the code outside of `src/`.
pub fn unused(sources: &[Source], others: &[String]) -> Vec<Declared> {
    let mut files: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    let code: Vec<_> =
        sources.iter().map(|source| (source.path.as_str(), without_passing_on(source.whole_code()))).collect();
    files.extend(code.iter().map(|(path, code)| (*path, words(code))));
    let others: Vec<_> = others.iter().map(|text| without_passing_on(text)).collect();
    files.extend(others.iter().map(|code| ("", words(code))));
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, names) in &files {
        names.iter().for_each(|name| users.entry(name).or_default().push(path));
    }
    let mut found = Vec::new();
    for source in sources {
        for (line, name) in declarations(source.code()) {
            let is_named = name.starts_with(char::is_uppercase) && is_in_signatures(source.code(), name);
            if !is_named && users.get(name).is_none_or(|users| users.iter().all(|user| *user == source.path)) {
                found.push(Declared { file: source.path.clone(), line, name: name.to_owned() });
            }
        }
        for (line, kind, variant) in variants(source.code()) {
            let everywhere = sources.iter().map(Source::whole_code).chain(others.iter().map(String::as_str));
            let names: BTreeSet<_> = everywhere.flat_map(|code| aliases(code, kind)).collect();
            let made = |code: &str| {
                names.iter().any(|kind| made(code, kind, variant))
                    || (code.contains(kind) && made(code, "Self", variant))
            };
            if !sources.iter().any(|source| made(source.whole_code())) && !others.iter().any(|code| made(code)) {
                found.push(Declared { file: source.path.clone(), line, name: format!("{kind}::{variant}") });
            }
        }
    }
    found
}

/// Names that follow `pub` and a keyword, each with its line.
fn declarations(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let Some(rest) = line.trim_start().strip_prefix("pub ") else { continue };
        let mut names = rest.split(|c: char| !is_part(c)).filter(|word| !word.is_empty()).peekable();
        while names.next_if(|word| matches!(*word, "const" | "unsafe" | "async" | "extern")).is_some() {}
        let constant = rest.starts_with("const ") && !rest.contains(" fn ");
        let keyword = if constant { Some("const") } else { names.next() };
        let is_item =
            matches!(keyword, Some("fn" | "struct" | "enum" | "trait" | "static" | "type" | "const" | "union"));
        found.extend(names.next().filter(|_| is_item).map(|name| (number + 1, name)));
    }
    found
}

/// Whether `code` names the type elsewhere than where it is declared and implemented.
fn is_in_signatures(code: &str, name: &str) -> bool {
    let is_declared = |line: &str| declarations(line).first().is_some_and(|(_, declared)| *declared == name);
    let declares = |line: &str| line.trim_start().starts_with("impl") || is_declared(line);
    code.lines().filter(|line| !declares(line)).any(|line| line.split(|c| !is_part(c)).any(|word| word == name))
        && !name.contains('_')
        && name.contains(char::is_lowercase)
}

/// The variants of public enums: line, enum, variant.
fn variants(code: &str) -> Vec<(usize, &str, &str)> {
    let mut found = Vec::new();
    let mut inside: Option<(&str, usize)> = None;
    for (number, line) in code.lines().enumerate() {
        let depth = line.len() - line.trim_start().len();
        if let Some(rest) = line.trim_start().strip_prefix("pub enum ") {
            inside = rest.split(|c: char| !is_part(c)).next().map(|name| (name, depth));
        } else if let Some((kind, outer)) = inside {
            if depth == outer && line.trim_start().starts_with('}') {
                inside = None;
            } else if depth == outer + 4
                && line.trim_start().starts_with(char::is_uppercase)
                && !line.contains("#[from]")
                && !line.contains(" = ")
            {
                found
                    .extend(line.trim_start().split(|c: char| !is_part(c)).next().map(|name| (number + 1, kind, name)));
            }
        }
    }
    found
}

/// The names that `code` has for the type: its own, and those after `as`.
fn aliases<'a>(code: &'a str, kind: &'a str) -> impl Iterator<Item = &'a str> {
    let after = code.match_indices(kind).filter_map(move |(at, _)| code[at + kind.len()..].strip_prefix(" as "));
    after.filter_map(|rest| rest.split(|c| !is_part(c)).next()).chain([kind])
}

/// Whether `code` has a value of the variant made, not only matched.
fn made(code: &str, kind: &str, variant: &str) -> bool {
    let path = format!("{kind}::{variant}");
    code.match_indices(&path).any(|(at, _)| {
        let rest = &code[at + path.len()..];
        if rest.starts_with(is_part) || code[..at].ends_with(is_part) {
            return false;
        }
        let rest = match rest.trim_start().chars().next() {
            Some(open @ ('(' | '{')) => after_bracket(rest.trim_start(), open),
            _ => rest,
        };
        let rest = rest.trim_start();
        !(rest.starts_with("=>") || rest.starts_with("| ") || rest.starts_with("if ") || (rest.starts_with("= ")))
    })
}

fn after_bracket(text: &str, open: char) -> &str {
    let close = if open == '(' { ')' } else { '}' };
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == open) - i32::from(c == close);
        if depth == 0 {
            return &text[at + c.len_utf8()..];
        }
    }
    ""
}

/// The code without `pub use …;`.
fn without_passing_on(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("pub use ") {
        out.push_str(&rest[..at]);
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end + 1);
        rest = &rest[end..];
    }
    out + rest
}

fn words(code: &str) -> BTreeSet<&str> {
    code.split(|c| !is_part(c)).filter(|word| !word.is_empty()).collect()
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
