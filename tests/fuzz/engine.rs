//! Runs one target on its seeds and on what mutations make of them.
//!
//! `cargo test` runs the seeds and the same few mutations of each every time. With `FUZZ_SECONDS` a target runs for so long; in a
//! build for fuzzing (`make fuzz`) an input that reaches new code becomes a seed itself. An input that breaks something is kept in
//! a file, whose name the failure shows; put into `tests/fuzz/seeds/<target>/`, it always runs from then on.

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::coverage::Seen;

/// Mutations that every run of the tests tries.
const MUTATIONS: usize = 400;
/// Longest input, bytes.
const LONGEST: usize = 16 << 10;
/// Values at which counts and lengths turn over.
const EDGES: [u32; 10] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0xffff_ffff];

/// Inputs that the target's author knows to be interesting.
pub struct Seeds(Vec<Vec<u8>>);

impl Seeds {
    /// The committed ones: `tests/fuzz/seeds/<target>/`.
    pub fn of(target: &str) -> Self {
        Self(read_all(&folder("tests/fuzz/seeds").join(target)))
    }

    /// And these.
    pub fn and(mut self, more: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.0.extend(more);
        self
    }
}

pub fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The contents of all files below `folder`, in the order of their names.
pub fn read_all(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder of ours").path()).collect();
    paths.sort();
    paths
        .into_iter()
        .flat_map(|path| if path.is_dir() { read_all(&path) } else { vec![fs::read(path).expect("a file of ours")] })
        .collect()
}

/// Runs `target` on the seeds and on mutations of them.
///
/// # Panics
/// When the target does, with the name of the file that has the input.
pub fn run(name: &str, seeds: Seeds, target: impl Fn(&[u8])) {
    let mut corpus = seeds.0;
    assert!(!corpus.is_empty(), "{name} has no seeds");
    let ours = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(name);
    let found = ours.join("corpus");
    let until = std::env::var("FUZZ_SECONDS").ok().map(|seconds| {
        let seconds = seconds.parse().expect("FUZZ_SECONDS is a number of seconds");
        corpus.extend(read_all(&found));
        Instant::now() + Duration::from_secs(seconds)
    });
    let mut seen = Seen::new();
    let mut attempt = |input: &[u8]| {
        seen.forget_run();
        if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
            fs::create_dir_all(&ours).expect("cargo's folder for tests is ours");
            let file = ours.join(format!("failed-{:016x}", hash(input)));
            fs::write(&file, input).expect("cargo's folder for tests is ours");
            panic!("{name} fails on the input in {}", file.display());
        }
        (seen.adds(), seen.branches())
    };
    for seed in &corpus {
        attempt(seed);
    }
    let mut chance = Chance(until.map_or(0x9e37_79b9, |_| seed_of_this_run()));
    let (mut runs, mut told) = (0_u64, Instant::now());
    loop {
        match until {
            None if runs as usize >= MUTATIONS => return,
            Some(until) if Instant::now() >= until => break,
            _ => {}
        }
        let input = mutated(&corpus, &mut chance);
        let (new, branches) = attempt(&input);
        runs += 1;
        if new && until.is_some() {
            fs::create_dir_all(&found).expect("cargo's folder for tests is ours");
            fs::write(found.join(format!("{:016x}", hash(&input))), &input).expect("cargo's folder for tests is ours");
            corpus.push(input);
        }
        if until.is_some() && told.elapsed() >= Duration::from_secs(5) {
            told = Instant::now();
            let (inputs, mut out) = (corpus.len(), std::io::stderr());
            let _ = writeln!(out, "{name}: {runs} inputs tried, {inputs} kept, {branches} branches");
        }
    }
    let _ = writeln!(std::io::stderr(), "{name}: {runs} inputs tried, {} kept, no failure", corpus.len());
}

fn hash(input: &[u8]) -> u64 {
    // FNV-1a.
    input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn seed_of_this_run() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64)
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// A seed with one to eight changes.
fn mutated(corpus: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut input = corpus[chance.below(corpus.len())].clone();
    for _ in 0..=chance.below(8) {
        change(&mut input, corpus, chance);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], chance: &mut Chance) {
    let length = input.len();
    let at = chance.below(length + 1);
    let piece = at..(at + 1 + chance.below(32)).min(length);
    match chance.below(9) {
        0 => input.insert(at, chance.next() as u8),
        1 if at < length => input[at] = chance.next() as u8,
        2 if at < length => input[at] ^= 1 << chance.below(8),
        3 if piece.start < piece.end => drop(input.drain(piece)),
        4 if piece.start < piece.end => {
            let copy = input[piece].to_vec();
            let to = chance.below(length);
            input.splice(to..to, copy);
        }
        5 => {
            // The other seeds are the dictionary.
            let other = &corpus[chance.below(corpus.len())];
            let from = chance.below(other.len() + 1);
            let to = (from + chance.below(256)).min(other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
        6 if at + 4 <= length => {
            let edge = EDGES[chance.below(EDGES.len())];
            let bytes = if chance.next().is_multiple_of(2) { edge.to_le_bytes() } else { edge.to_be_bytes() };
            input[at..at + 4].copy_from_slice(&bytes);
        }
        7 => {
            // A number as text.
            let number = EDGES[chance.below(EDGES.len())].to_string();
            let digits = input[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            input.splice(at..at + digits, number.into_bytes());
        }
        _ => input.truncate(at),
    }
}
