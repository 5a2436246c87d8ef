//! `audio_stream.conf.xml` out of FreeSWITCH's configuration. API threads only: FreeSWITCH may ask a web server for it.

use std::ffi::CStr;
use std::ptr::{self, NonNull};

use super::bindings::{Host, switch_xml_t};
use super::host::text_of;
use crate::control::config::{self, Config, ConfigDoc};
use crate::telemetry;

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
    let mut doc = ConfigDoc::default();
    // At load and `reloadxml` only: code that changes the environment of a running process races with every reader.
    let environment =
        config::environment_variables().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
    doc.environment = environment.collect();
    if !section.is_null() {
        let root = Node { host, xml: section };
        doc.settings = root.children(c"settings").flat_map(Node::params).collect();
        let profiles = root.children(c"profiles").flat_map(|profiles| profiles.children(c"profile"));
        doc.profiles = profiles.map(|profile| (profile.attribute(c"name"), profile.params())).collect();
    }
    if !tree.is_null() {
        // SAFETY: opened above, and nothing of it is kept.
        unsafe { host.switch_xml_free(tree) };
    }
    doc
}
