//! Failures on purpose: how the tests of the built module see what a panic costs.
//!
//! In a build with debug assertions an attachment fails in the place that its name says: a stream named `fails-in-task` panics in its
//! task. A release has nothing of it. Costs a comparison of texts, no memory and no lock.

use super::StreamName;

/// The begin of a name that asks for a failure. Behind it stands the place.
const PREFIX: &str = "fails-in-";

/// A place that can fail: `place` is its word in names.
///
/// # Panics
/// If `name` asks for it, and the build has debug assertions.
pub(crate) fn point(name: &StreamName, place: &str) {
    if cfg!(debug_assertions) {
        assert!(name.as_str().strip_prefix(PREFIX) != Some(place), "on purpose, in {place}");
    }
}
