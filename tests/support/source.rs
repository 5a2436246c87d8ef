//! The crate's own source as text, for tests of its shape: comments, strings and test modules taken out.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` of the repository whose name ends in `ending`, in order.
pub fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A file of `src/`.
pub struct Source {
    /// Its path below `src/`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// Its code: everything that is no code is blanks; the lines stay where they are.
    code: String,
    /// The same with its tests.
    whole: String,
}

/// Every file of `src/`.
pub fn sources() -> Vec<Source> {
    let base = root().join("src");
    let read = |path: PathBuf| {
        Source::new(&path.strip_prefix(&base).unwrap().to_string_lossy(), &fs::read_to_string(&path).unwrap())
    };
    files("src", ".rs").into_iter().map(read).collect()
}

impl Source {
    /// A file of that path below `src/`.
    pub fn new(path: &str, text: &str) -> Self {
        let whole = without_text(text);
        let code = without_tests(&whole);
        // A file of tests alone is declared under `#[cfg(test)]` by its parent.
        let code = if path.ends_with("tests.rs") || path.ends_with("probe.rs") { String::new() } else { code };
        Self { path: path.to_owned(), text: text.to_owned(), code, whole }
    }

    /// Its code, with blanks for everything that is no code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// [`code`](Self::code) and the code of its tests.
    pub fn whole_code(&self) -> &str {
        &self.whole
    }

    /// The module directly below the crate's root that it belongs to; none for the root itself.
    pub fn module(&self) -> Option<&str> {
        let first = self.path.split('/').next()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (name != "lib").then_some(name)
    }

    /// Modules below the crate's root that its code names, as `crate::x` or by enough `super::`, with the line.
    pub fn crate_paths(&self) -> Vec<(String, usize)> {
        let depth = self.path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
        let mut found = Vec::new();
        for (root, needs) in [("crate", 1), ("super", depth)] {
            for at in words(&self.code, root) {
                let line = self.line(at);
                let mut rest = self.code[at..].strip_prefix(root).unwrap_or_default();
                let mut steps = 1;
                while let Some(after) = separator(rest) {
                    rest = after;
                    match rest.strip_prefix("super") {
                        Some(after) if root == "super" => (rest, steps) = (after, steps + 1),
                        _ => break,
                    }
                }
                let is_path = !std::ptr::eq(rest, &self.code[at + root.len()..]);
                if is_path && steps >= needs && (root == "crate" || steps == needs) {
                    found.extend(first_names(rest).into_iter().map(|name| (at, name, line)));
                }
            }
        }
        found.sort();
        found.into_iter().map(|(_, name, line)| (name, line)).collect()
    }

    /// The lines (from 1) whose code names `path`, groups in braces included.
    pub fn lines_naming(&self, path: &str) -> Vec<usize> {
        let (parent, last) = path.rsplit_once("::").unwrap_or(("", path));
        let whole = words(&self.code, path);
        let grouped = words(&self.code, parent).filter(|_| !parent.is_empty()).filter(|at| {
            let rest = separator(&self.code[at + parent.len()..]);
            rest.is_some_and(|rest| rest.starts_with('{') && first_names(rest).iter().any(|name| name == last))
        });
        let mut lines: Vec<_> = whole.chain(grouped).map(|at| self.line(at)).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }
}

/// What follows a `::`.
fn separator(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix("::").map(str::trim_start)
}

/// Where `word` stands by itself.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let joined = before.is_some_and(part) || (after.is_some_and(part) && word.ends_with(part));
        !(word.is_empty() || joined)
    })
}

/// The first name of a path, or of each path of a group in braces.
fn first_names(text: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = text.strip_prefix('{') else { return vec![name(text)] };
    let mut names = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Blanks for comments, strings and characters; the lines stay.
pub fn without_text(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => end_of(text, at, "\n"),
            b'/' if bytes[at..].starts_with(b"/*") => end_of(text, at + 2, "*/"),
            b'"' => {
                let hashes = bytes[..at].iter().rev().take_while(|byte| **byte == b'#').count();
                if bytes[..at - hashes].ends_with(b"r") || bytes[..at - hashes].ends_with(b"rb") {
                    end_of(text, at + 1, &format!("\"{}", "#".repeat(hashes)))
                } else {
                    end_of_string(bytes, at + 1)
                }
            }
            // A character, not a lifetime.
            b'\'' if bytes.get(at + 1) == Some(&b'\\') => end_of(text, at + 3, "'"),
            b'\'' => match text[at + 1..].char_indices().nth(1) {
                Some((width, '\'')) => at + width + 2,
                _ => at + 1,
            },
            _ => {
                at += 1;
                continue;
            }
        };
        let end = end.min(out.len());
        out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end;
    }
    String::from_utf8(out).unwrap()
}

fn end_of(text: &str, from: usize, end: &str) -> usize {
    text[from..].find(end).map_or(text.len(), |at| from + at + end.len())
}

fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Blanks for what there is in tests only.
fn without_tests(code: &str) -> String {
    ["#[cfg(test)]", "#[cfg(all(test, not(loom)))]"].iter().fold(code.to_owned(), |code, mark| without(&code, mark))
}

/// Blanks for each item with the attribute `mark`.
fn without(code: &str, mark: &str) -> String {
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(at) = out[from..].find(mark).map(|at| from + at) {
        let item = &out[at..];
        let open = item.find('{').filter(|open| item.find(';').is_none_or(|end| open < &end));
        let length = match open {
            None => item.find(';').map_or(item.len(), |end| end + 1),
            Some(open) => {
                let mut depth = 0;
                let close = item[open..].char_indices().find(|(_, c)| {
                    depth += match c {
                        '{' => 1,
                        '}' => -1,
                        _ => 0,
                    };
                    depth == 0
                });
                close.map_or(item.len(), |(close, _)| open + close + 1)
            }
        };
        let blank: String = item[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(at..at + length, &blank);
        from = at + blank.len();
    }
    out
}
