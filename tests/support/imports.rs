//! Which file of `src/` uses which other one, and which files use each other in a circle.
//!
//! Read from paths in the code: `use` declarations with their groups, and paths that begin with `crate`, `super`, `self`, an
//! imported module or a child. A name that a module only passes on (`pub use`) is followed to the file that declares it.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// Files, each with the files it uses.
pub type Uses = BTreeMap<String, BTreeSet<String>>;

/// The uses between all of `sources`.
pub fn uses(sources: &[Source]) -> Uses {
    let tree = Tree::of(sources);
    let mut uses = Uses::new();
    for source in sources {
        let from = uses.entry(source.path.clone()).or_default();
        let here = module_path(&source.path);
        let paths = paths(source.code());
        let modules: BTreeMap<String, Vec<String>> =
            paths.iter().filter_map(|path| tree.imported(&here, path)).collect();
        for path in paths.iter().filter(|path| path.kind != Kind::PassedOn && tree.imported(&here, path).is_none()) {
            from.extend(tree.file_of(&here, &path.names, &modules).filter(|file| *file != source.path));
        }
    }
    uses
}

/// The largest groups of files in which each uses each other, directly or through others of the group.
pub fn circles(uses: &Uses) -> Vec<Vec<String>> {
    let reached: BTreeMap<_, _> = uses.keys().map(|file| (file, reached_from(file, uses))).collect();
    let mut circles = BTreeSet::new();
    for (file, reach) in &reached {
        let circle: Vec<_> = reach.iter().filter(|other| reached[other].contains(*file)).cloned().collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn reached_from(file: &str, uses: &Uses) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<_> = uses[file].iter().cloned().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file.clone()) {
            next.extend(uses[&file].iter().cloned());
        }
    }
    reached
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `use a::b;`
    Import,
    /// `pub use a::b;`
    PassedOn,
    /// `a::b` in the code.
    Inline,
}

struct Path {
    kind: Kind,
    names: Vec<String>,
    alias: Option<String>,
}

/// The modules of the crate.
struct Tree {
    files: BTreeMap<Vec<String>, String>,
    /// Names that a module passes on, with the path by which it does.
    passed_on: BTreeMap<(Vec<String>, String), Vec<String>>,
}

impl Tree {
    fn of(sources: &[Source]) -> Self {
        let mut tree = Self { files: BTreeMap::new(), passed_on: BTreeMap::new() };
        for source in sources {
            let module = module_path(&source.path);
            for path in paths(source.code()).into_iter().filter(|path| path.kind == Kind::PassedOn) {
                if let Some(name) = path.alias.or_else(|| path.names.last().cloned()) {
                    tree.passed_on.insert((module.clone(), name), path.names);
                }
            }
            tree.files.insert(module, source.path.clone());
        }
        tree
    }

    /// The name and the path of the module that `path` imports, if it imports a whole one.
    fn imported(&self, here: &[String], path: &Path) -> Option<(String, Vec<String>)> {
        let (module, rest) = self.module_of(here, &path.names, &BTreeMap::new())?;
        let name = path.alias.clone().or_else(|| path.names.last().cloned())?;
        (path.kind == Kind::Import && rest.is_empty() && name != "self").then_some((name, module))
    }

    /// The module where a path leads, and what of the path is left then.
    fn module_of<'a>(
        &self,
        here: &[String],
        names: &'a [String],
        imported: &BTreeMap<String, Vec<String>>,
    ) -> Option<(Vec<String>, &'a [String])> {
        let (first, mut rest) = names.split_first()?;
        let mut module = match first.as_str() {
            "crate" => Vec::new(),
            "self" => here.to_vec(),
            "super" => here.split_last()?.1.to_vec(),
            name => match imported.get(name) {
                Some(module) => module.clone(),
                None => self.child(here, name)?,
            },
        };
        while let Some((name, after)) = rest.split_first() {
            module = match name.as_str() {
                "super" => module.split_last()?.1.to_vec(),
                "self" => module,
                name => match self.child(&module, name) {
                    Some(child) => child,
                    None => break,
                },
            };
            rest = after;
        }
        Some((module, rest))
    }

    fn child(&self, module: &[String], name: &str) -> Option<Vec<String>> {
        let child: Vec<_> = module.iter().cloned().chain([name.to_owned()]).collect();
        self.files.contains_key(&child).then_some(child)
    }

    /// The file that declares what the path names.
    fn file_of(
        &self,
        here: &[String],
        names: &[String],
        imported: &BTreeMap<String, Vec<String>>,
    ) -> impl Iterator<Item = String> + use<> {
        let found = self.module_of(here, names, imported).and_then(|(module, rest)| {
            let passed_on = rest.first().and_then(|name| self.passed_on.get(&(module.clone(), name.clone())));
            match passed_on {
                Some(path) => self.file_of(&module, path, &BTreeMap::new()).next(),
                None => self.files.get(&module).cloned(),
            }
        });
        found.into_iter()
    }
}

/// `media/link.rs` is the module `media::link`, `media/mod.rs` is `media`, and `lib.rs` the root.
fn module_path(file: &str) -> Vec<String> {
    let names = file.trim_end_matches(".rs").split('/');
    names.filter(|name| !matches!(*name, "mod" | "lib")).map(str::to_owned).collect()
}

/// Every path of the code, groups in braces taken apart.
fn paths(code: &str) -> Vec<Path> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let token = tokens[at];
        if token == "use" {
            let public = tokens[..at].iter().rev().take(4).take_while(|token| !matches!(**token, ";" | "}" | "{"));
            let kind = if public.clone().any(|token| *token == "pub") { Kind::PassedOn } else { Kind::Import };
            at = tree(&tokens, at + 1, &[], kind, &mut found);
        } else if is_name(token) && tokens.get(at + 1) == Some(&"::") && (at == 0 || tokens[at - 1] != "::") {
            at = tree(&tokens, at, &[], Kind::Inline, &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path, or one entry of a group, from `at` on; returns where it ends.
fn tree(tokens: &[&str], mut at: usize, before: &[String], kind: Kind, found: &mut Vec<Path>) -> usize {
    let mut names = before.to_vec();
    loop {
        match tokens.get(at) {
            Some(&"{") if kind != Kind::Inline => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at = tree(tokens, at, &names, kind, found);
                    if tokens.get(at) == Some(&",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            Some(name) if is_name(name) => {
                names.push((*name).to_owned());
                at += 1;
            }
            _ => break,
        }
        match tokens.get(at) {
            Some(&"::") if tokens.get(at + 1).is_some_and(|next| is_name(next) || *next == "{") => at += 1,
            Some(&"::") => {
                at += 2;
                break;
            }
            _ => break,
        }
    }
    let alias = (kind != Kind::Inline && tokens.get(at) == Some(&"as")).then(|| tokens[at + 1].to_owned());
    at += if alias.is_some() { 2 } else { 0 };
    if names.last().is_some_and(|name| name == "self") && names.len() > 1 {
        names.pop();
    }
    if !names.is_empty() {
        found.push(Path { kind, names, alias });
    }
    at.max(1)
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(code: &str) -> Vec<&str> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if part(c) => rest.find(|c| !part(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        found.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    found
}
