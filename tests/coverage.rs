//! Two lists, the requirements (`tests/COVERAGE.md`) and the hazards (`docs/hazards.md`), are complete and name tests that exist.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

use std::collections::BTreeSet;
use std::fs;

/// A line of a table: its first cell and its last.
struct Row {
    id: String,
    says: String,
}

fn rows(document: &str) -> Vec<Row> {
    let text = fs::read_to_string(source::root().join(document)).unwrap();
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    cells
        .map(|line| line.split(" | ").map(str::to_owned).collect::<Vec<_>>())
        .filter(|cells| cells.len() == 3 && cells[0].contains('-'))
        .map(|cells| Row { id: cells[0].clone(), says: cells[2].clone() })
        .collect()
}

/// Every function of a test in the repository, every conversation that tests run in several places, and every golden transcript,
/// which is one by its file.
fn tests() -> BTreeSet<String> {
    let transcripts = source::files("tests/golden", ".txt");
    let mut names: BTreeSet<_> =
        transcripts.iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    for file in source::files("src", ".rs").into_iter().chain(source::files("tests", ".rs")) {
        let text = fs::read_to_string(&file).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let function = line.trim_start_matches("pub ").trim_start_matches("async ").strip_prefix("fn ");
            match function.and_then(|rest| rest.split_once(['(', '<'])) {
                Some((name, arguments)) => {
                    if std::mem::take(&mut is_test) || arguments.starts_with("start: Start<") {
                        names.insert(name.to_owned());
                    }
                }
                None => is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test"),
            }
        }
    }
    names
}

fn named(says: &str) -> Vec<&str> {
    let quoted = says.split('`').skip(1).step_by(2);
    quoted
        .filter(|text| {
            text.contains('_') && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
        .collect()
}

fn check(document: &str, expected: &[String], excuse: &str) {
    let (rows, tests) = (rows(document), tests());
    assert!(tests.len() > 300, "the reader of tests is blind: {}", tests.len());
    let ids: Vec<_> = rows.iter().map(|row| row.id.clone()).collect();
    for id in expected {
        assert_eq!(ids.iter().filter(|other| *other == id).count(), 1, "{document}: {id}");
    }
    for row in &rows {
        let names = named(&row.says);
        for name in &names {
            assert!(tests.contains(*name), "{document}: {}: there is no test {name}", row.id);
        }
        let excused = row.says.starts_with("not yet") || (!excuse.is_empty() && row.says.starts_with(excuse));
        assert!(excused || !names.is_empty(), "{document}: {} names no test", row.id);
    }
}

fn numbered(prefix: &str, last: u32) -> impl Iterator<Item = String> {
    (1..=last).map(move |number| format!("{prefix}-{number}"))
}

#[test]
fn every_requirement_names_its_tests() {
    let groups = [("API", 14), ("CAP", 5), ("INJ", 11), ("AI", 12), ("REL", 10), ("OPS", 8), ("SEC", 4)];
    let expected: Vec<_> = groups.iter().flat_map(|(prefix, last)| numbered(prefix, *last)).collect();
    check("tests/COVERAGE.md", &expected, "");
}

#[test]
fn every_hazard_has_its_test_or_its_reason() {
    let expected: Vec<_> = numbered("audit", 20).chain(numbered("mixer", 22)).chain(numbered("recorder", 4)).collect();
    check("docs/hazards.md", &expected, "By construction");
}

#[test]
fn a_test_named_for_a_hazard_is_in_the_list_of_hazards() {
    let listed: String = rows("docs/hazards.md").into_iter().map(|row| row.says).collect();
    for name in tests().iter().filter(|name| ["finding_", "mixer_", "recorder_"].iter().any(|of| name.starts_with(of)))
    {
        assert!(listed.contains(&format!("`{name}`")), "docs/hazards.md does not name {name}");
    }
}

#[test]
fn each_test_left_out_of_a_sanitizer_exists_and_has_a_reason() {
    let (tests, text) = (tests(), fs::read_to_string(source::root().join("tests/sanitize/left-out")).unwrap());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace().skip(1);
        let name = words.next().and_then(|path| path.rsplit("::").next());
        assert!(name.is_some_and(|name| tests.contains(name)), "tests/sanitize/left-out: no such test: {line}");
        assert!(words.next().is_some(), "tests/sanitize/left-out: no reason: {line}");
    }
}
