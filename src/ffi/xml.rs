//! `audio_stream.conf.xml` out of FreeSWITCH's configuration. API threads only: FreeSWITCH may ask a web server for it.

use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};

use super::bindings::{Host, switch_xml_t};
use super::host::text_of;
use crate::control::config::{self, Config, ConfigDoc};
use crate::telemetry;
use crate::units::text::shown;

const FILE: &CStr = c"audio_stream.conf";

/// A node of the tree; as long as the tree lives.
#[derive(Clone, Copy)]
struct Node {
    host: &'static Host,
    xml: switch_xml_t,
}

impl Node {
    /// Children of that name, in the order of the file.
    fn children(self, name: &'static CStr) -> impl Iterator<Item = Self> {
        // SAFETY: the node is part of a living tree; a missing child is NULL.
        let first = unsafe { self.host.switch_xml_child(self.xml, name.as_ptr()) };
        std::iter::successors(NonNull::new(first), |node| {
            // SAFETY: as above. `next` is the next tag of the same name.
            NonNull::new(unsafe { node.as_ref() }.next)
        })
        .map(move |node| Self { host: self.host, xml: node.as_ptr() })
    }

    /// All children, whatever their names.
    fn all_children(self) -> impl Iterator<Item = Self> {
        // SAFETY: the node is part of a living tree.
        let first = NonNull::new(self.xml).and_then(|tag| NonNull::new(unsafe { tag.as_ref() }.child));
        // SAFETY: as above. `sibling` is the first of the next name, `next` the next one of the same name.
        let names = std::iter::successors(first, |tag| NonNull::new(unsafe { tag.as_ref() }.sibling));
        // SAFETY: as above.
        names
            .flat_map(|tag| std::iter::successors(Some(tag), |tag| NonNull::new(unsafe { tag.as_ref() }.next)))
            .map(move |tag| Self { host: self.host, xml: tag.as_ptr() })
    }

    fn has_attribute(self, name: &CStr) -> bool {
        // SAFETY: the node is part of a living tree.
        !unsafe { self.host.switch_xml_attr(self.xml, name.as_ptr()) }.is_null()
    }

    fn name(self) -> String {
        // SAFETY: as above.
        let name = NonNull::new(self.xml).map(|tag| unsafe { tag.as_ref() }.name);
        // SAFETY: the name of a tag is a string of the tree, or NULL.
        name.and_then(|name| unsafe { text_of(name) }).unwrap_or_default()
    }

    fn attribute(self, name: &CStr) -> String {
        // SAFETY: as above.
        let value = unsafe { self.host.switch_xml_attr_soft(self.xml, name.as_ptr()) };
        // SAFETY: a string of the tree, or a constant empty one.
        unsafe { text_of(value) }.unwrap_or_default()
    }

    /// The `<param name value>` of this node.
    fn params(self) -> Vec<(String, String)> {
        self.children(c"param").map(|param| (param.attribute(c"name"), param.attribute(c"value"))).collect()
    }
}

/// The configuration as it stands in the file now; what is wrong in it is named in the log and has its default.
pub(super) fn configuration(table: &'static Host) -> Config {
    let (config, warnings) = Config::load(&read(table));
    telemetry::log::set_format(config.module().log_format);
    for warning in warnings {
        tracing::warn!(target: "LIFECYCLE", op = "configuration", outcome = "adjusted", text = %warning);
    }
    config
}

/// Reads the file. Without one everything has its default, which is no error.
fn read(host: &'static Host) -> ConfigDoc {
    let mut section = ptr::null_mut();
    // SAFETY: the file's name is a string, and `section` is where FreeSWITCH puts the node; the tree is freed below.
    let tree = unsafe { host.switch_xml_open_cfg(FILE.as_ptr(), &raw mut section, ptr::null_mut()) };
    if tree.is_null() || section.is_null() {
        tracing::warn!(target: "LIFECYCLE", op = "configuration", outcome = "absent", file = "audio_stream.conf.xml",
            advice = "everything has its default");
    }
    let doc = if section.is_null() { ConfigDoc::default() } else { document(Node { host, xml: section }) };
    if !tree.is_null() {
        // SAFETY: opened above, and nothing of it is kept.
        unsafe { host.switch_xml_free(tree) };
    }
    doc
}

/// What stands in a file on the disk, with FreeSWITCH's own directives carried out: `file`, or the one that FreeSWITCH includes. In
/// words why it cannot be read.
pub(super) fn file(host: &'static Host, file: Option<&str>) -> Result<(String, ConfigDoc), String> {
    let folder = global(host, c"conf_dir").unwrap_or_default();
    let path = match file {
        None => format!("{folder}/autoload_configs/{}.xml", FILE.to_string_lossy()),
        Some(file) if file.starts_with('/') => file.to_owned(),
        Some(file) => format!("{folder}/{file}"),
    };
    let unreadable = |why: &str| format!("{}: {why}", shown(&path));
    let name = CString::new(path.clone()).map_err(|_| unreadable("a path cannot have a zero byte"))?;
    // FreeSWITCH says the reason in its log only.
    std::fs::File::open(&path).map_err(|error| unreadable(&error.to_string()))?;
    // SAFETY: the path is a string; the tree is freed below.
    let tree = unsafe { host.switch_xml_parse_file(name.as_ptr()) };
    if tree.is_null() {
        return Err(unreadable("FreeSWITCH cannot parse it; see its log"));
    }
    // SAFETY: the tree is the root that was parsed.
    let wrong = unsafe { host.switch_xml_error(tree) };
    // SAFETY: a string of the tree, empty where there was no error.
    let wrong = unsafe { text_of(wrong) }.unwrap_or_default();
    let root = Node { host, xml: tree };
    let is_ours = |node: &Node| node.attribute(c"name").as_bytes() == FILE.to_bytes();
    let sections = std::iter::once(root).chain(root.children(c"section"));
    let found = std::iter::once(root)
        .filter(|root| root.name() == "configuration")
        .chain(sections.flat_map(|section| section.children(c"configuration")))
        .find(is_ours);
    let doc = match found {
        _ if !wrong.is_empty() => Err(unreadable(&shown(&wrong))),
        Some(found) => Ok((path.clone(), document(found))),
        None => Err(unreadable("it has no <configuration name=\"audio_stream.conf\">")),
    };
    // SAFETY: parsed above, and nothing of it is kept.
    unsafe { host.switch_xml_free(tree) };
    doc
}

/// A global variable of FreeSWITCH.
fn global(host: &'static Host, name: &CStr) -> Option<String> {
    // SAFETY: the name is a string; the copy is freed below.
    let value = unsafe { host.switch_core_get_variable_dup(name.as_ptr()) };
    // SAFETY: a string, or NULL.
    let text = unsafe { text_of(value) };
    // SAFETY: made by strdup, and NULL is free to be freed.
    unsafe { libc::free(value.cast()) };
    text
}

/// The settings and profiles of a `<configuration>`, and what the environment has besides.
fn document(root: Node) -> ConfigDoc {
    let mut doc = ConfigDoc::default();
    // At load and `reloadxml` only: code that changes the environment of a running process races with every reader.
    let environment =
        config::environment_variables().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
    doc.environment = environment.collect();
    doc.settings = root.children(c"settings").flat_map(Node::params).collect();
    let profiles = root.children(c"profiles").flat_map(|profiles| profiles.children(c"profile"));
    doc.profiles = profiles.map(|profile| (profile.attribute(c"name"), profile.params())).collect();
    strange(root, &STRUCTURE, &mut doc.strange);
    doc
}

/// An element, and what may be in it.
struct Element {
    name: &'static str,
    /// Attributes that it needs.
    needs: &'static [&'static CStr],
    children: &'static [Element],
}

const PARAM: Element = Element { name: "param", needs: &[c"name", c"value"], children: &[] };
const PROFILE: Element = Element { name: "profile", needs: &[c"name"], children: &[PARAM] };

/// What a `<configuration>` may have.
const STRUCTURE: Element = Element {
    name: "configuration",
    needs: &[],
    children: &[
        Element { name: "settings", needs: &[], children: &[PARAM] },
        Element { name: "profiles", needs: &[], children: &[PROFILE] },
    ],
};

/// Finds elements that have no meaning where they are, and those that lack an attribute.
fn strange(node: Node, element: &Element, found: &mut Vec<String>) {
    for child in node.all_children() {
        let name = child.name();
        let Some(known) = element.children.iter().find(|known| known.name == name) else {
            let names: Vec<_> = element.children.iter().map(|known| format!("<{}>", known.name)).collect();
            let takes = if names.is_empty() { "no element".to_owned() } else { names.join(" and ") };
            found.push(format!("<{}> is ignored: <{}> takes {takes}", shown(&name), element.name));
            continue;
        };
        for attribute in known.needs.iter().filter(|attribute| !child.has_attribute(attribute)) {
            let of = child.attribute(c"name");
            let of = if of.is_empty() { String::new() } else { format!(" name=\"{}\"", shown(&of)) };
            found.push(format!("<{name}{of}> in <{}> has no {}=", element.name, attribute.to_string_lossy()));
        }
        strange(child, known, found);
    }
}
