//! Speech that was made once: bounded in bytes and in age, the longest unused first to go.
//!
//! Pure: the time is a parameter. One for the module, behind a lock that is held for a look-up. What is in it is never changed, so
//! a hit is the same samples as the first time. Bytes are those of the samples, the key and the bookkeeping.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::units::SampleRate;

/// What an entry costs besides samples and key: about what maps and pointers take.
const OVERHEAD: usize = 256;

/// How much and how long the cache keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheLimits {
    /// All bytes together; 0: nothing is kept.
    pub bytes: usize,
    /// Since it was made.
    pub age: Duration,
}

impl Default for CacheLimits {
    /// 64 MiB, an hour.
    fn default() -> Self {
        Self { bytes: 64 << 20, age: Duration::from_secs(3_600) }
    }
}

/// Counts since the module was loaded, and what is there now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CacheStats {
    /// Sentences that were there.
    pub hits: u64,
    /// Sentences that somebody else was having made, and that came from there.
    pub joined: u64,
    /// Sentences that had to be made.
    pub misses: u64,
    /// Entries dropped for room.
    pub evicted: u64,
    /// Entries dropped for their age.
    pub expired: u64,
    /// Entries.
    pub entries: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl CacheStats {
    /// The share of sentences that nobody had to make, 0 to 100; 0 before the first.
    pub fn hit_pct(&self) -> f64 {
        let all = self.hits + self.joined + self.misses;
        if all == 0 { 0.0 } else { (self.hits + self.joined) as f64 * 100.0 / all as f64 }
    }
}

/// A sentence, spoken. Never changed.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Spoken {
    pub(super) samples: Vec<i16>,
    pub(super) rate: SampleRate,
}

#[derive(Debug)]
struct Entry {
    spoken: Arc<Spoken>,
    made: Instant,
    /// Its place in the order of use.
    turn: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Cache {
    limits: CacheLimits,
    entries: HashMap<Arc<str>, Entry>,
    /// By the time of last use.
    order: BTreeMap<u64, Arc<str>>,
    turn: u64,
    stats: CacheStats,
}

impl Cache {
    pub(super) fn new(limits: CacheLimits) -> Self {
        Self { limits, entries: HashMap::new(), order: BTreeMap::new(), turn: 0, stats: CacheStats::default() }
    }

    /// What was made for `key`, counted as a hit.
    pub(super) fn get(&mut self, now: Instant, key: &str) -> Option<Arc<Spoken>> {
        let entry = self.entries.get_mut(key)?;
        if now.saturating_duration_since(entry.made) > self.limits.age {
            self.stats.expired += 1;
            self.remove(&Arc::from(key));
            return None;
        }
        self.turn += 1;
        let name = self.order.remove(&entry.turn).unwrap_or_else(|| Arc::from(key));
        entry.turn = self.turn;
        self.order.insert(self.turn, name);
        self.stats.hits += 1;
        Some(Arc::clone(&entry.spoken))
    }

    /// Keeps what was made, and drops the oldest to make room; audio larger than the whole cache is not kept.
    pub(super) fn put(&mut self, now: Instant, key: &Arc<str>, spoken: Arc<Spoken>) {
        let weight = weight(key, &spoken);
        if weight > self.limits.bytes {
            return;
        }
        self.remove(key);
        while self.stats.bytes + weight > self.limits.bytes
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            let oldest = Arc::clone(oldest);
            self.stats.evicted += 1;
            self.remove(&oldest);
        }
        self.turn += 1;
        self.order.insert(self.turn, Arc::clone(key));
        self.entries.insert(Arc::clone(key), Entry { spoken, made: now, turn: self.turn });
        self.stats.bytes += weight;
        self.stats.entries = self.entries.len();
    }

    fn remove(&mut self, key: &Arc<str>) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.turn);
            self.stats.bytes -= weight(key, &entry.spoken);
            self.stats.entries = self.entries.len();
        }
    }

    pub(super) const fn joined(&mut self) {
        self.stats.joined += 1;
    }

    pub(super) const fn missed(&mut self) {
        self.stats.misses += 1;
    }

    pub(super) const fn stats(&self) -> CacheStats {
        self.stats
    }
}

fn weight(key: &str, spoken: &Spoken) -> usize {
    spoken.samples.len() * 2 + key.len() * 2 + OVERHEAD
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn spoken(samples: usize) -> Arc<Spoken> {
        Arc::new(Spoken { samples: vec![samples as i16; samples], rate: SampleRate::HZ_8000 })
    }

    fn cache(bytes: usize) -> Cache {
        Cache::new(CacheLimits { bytes, age: Duration::from_secs(3_600) })
    }

    #[test]
    fn finding_013_the_cache_of_speech_is_bounded_in_bytes() {
        let now = Instant::now();
        let mut cache = cache(10_000);
        for n in 0..100 {
            cache.put(now, &Arc::from(format!("{n:02}")), spoken(1_000));
            assert!(cache.stats().bytes <= 10_000);
        }
        assert_eq!((cache.stats().entries, cache.stats().evicted), (4, 96));
        assert_eq!(cache.get(now, "99"), Some(spoken(1_000)));
        assert!(cache.get(now, "95").is_none());
        cache.put(now, &Arc::from("whole"), spoken(6_000));
        assert!(cache.get(now, "whole").is_none(), "larger than all there is");
        assert_eq!(cache.stats().entries, 4, "nothing was dropped for it");
    }

    #[test]
    fn what_is_used_stays_and_what_is_old_goes() {
        let now = Instant::now();
        let mut cache = cache(3 * (2_000 + 2 + OVERHEAD));
        for name in ["a", "b", "c"] {
            cache.put(now, &Arc::from(name), spoken(1_000));
        }
        assert!(cache.get(now, "a").is_some());
        cache.put(now, &Arc::from("d"), spoken(1_000));
        assert!(cache.get(now, "b").is_none() && cache.get(now, "a").is_some());
        let later = now + Duration::from_secs(3_601);
        assert!(cache.get(later, "a").is_none());
        assert_eq!(cache.stats().expired, 1);
        assert_eq!((cache.stats().hits, cache.stats().entries), (2, 2));
    }

    #[test]
    fn the_hit_rate_counts_what_nobody_had_to_make() {
        let mut stats = CacheStats::default();
        assert!(stats.hit_pct().abs() < 1e-9);
        (stats.hits, stats.joined, stats.misses) = (2, 1, 1);
        assert!((stats.hit_pct() - 75.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn the_books_are_right_after_any_use(
            steps in prop::collection::vec((0_u8..12, 0_usize..900, any::<bool>(), 0_u64..2_000), 1..200),
        ) {
            let (mut cache, mut now) = (cache(6_000), Instant::now());
            for (name, size, put, wait) in steps {
                now += Duration::from_secs(wait);
                let key: Arc<str> = Arc::from(name.to_string());
                if put {
                    cache.put(now, &key, spoken(size));
                    prop_assert_eq!(cache.get(now, &key).unwrap().samples.len(), size);
                } else {
                    let _ = cache.get(now, &key);
                }
                let bytes: usize = cache.entries.iter().map(|(key, entry)| weight(key, &entry.spoken)).sum();
                prop_assert_eq!(bytes, cache.stats().bytes);
                prop_assert_eq!(cache.order.len(), cache.entries.len());
                prop_assert!(bytes <= 6_000);
            }
        }
    }
}
