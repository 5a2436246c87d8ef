//! Which code an input has run: the counters that the compiler puts at every branch in a build for fuzzing.
//!
//! In any other build there are none, and no input is more interesting than another.
#![allow(unsafe_code)]

use std::sync::{Mutex, PoisonError};

/// The counters of each object file: address and length.
static COUNTERS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Called by the code of each object file before `main`.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    let length = (stop as usize).saturating_sub(start as usize);
    COUNTERS.lock().unwrap_or_else(PoisonError::into_inner).push((start as usize, length));
}

/// What all inputs so far have run.
pub struct Seen(Vec<u8>);

impl Seen {
    pub fn new() -> Self {
        let counters = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
        Self(vec![0; counters.iter().map(|(_, length)| length).sum()])
    }

    /// Counts from 0 again.
    pub fn forget_run(&self) {
        each(|_, counter| *counter = 0);
    }

    /// Whether the run since [`forget_run`](Self::forget_run) did something that none did before: a branch, or one more often by
    /// a power of two.
    pub fn adds(&mut self) -> bool {
        let mut new = false;
        each(|index, counter| {
            let bucket = 1_u8.checked_shl(8 - counter.leading_zeros()).unwrap_or(0x80);
            if *counter > 0 && self.0[index] & bucket == 0 {
                self.0[index] |= bucket;
                new = true;
            }
        });
        new
    }

    /// Branches seen.
    pub fn branches(&self) -> usize {
        self.0.iter().filter(|buckets| **buckets != 0).count()
    }
}

fn each(mut with: impl FnMut(usize, &mut u8)) {
    let counters = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut index = 0;
    for &(start, length) in counters.iter() {
        // SAFETY: the compiler's array of this object file, which lives as long as the program. Other threads add to it without a
        // lock while they run instrumented code; a fuzzing build runs one test at a time.
        let counters = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, length) };
        for counter in counters {
            with(index, counter);
            index += 1;
        }
    }
}
