//! The quantities of the module as types, so that a rate is never taken for a count.
//!
//! Pure values; any thread. Constructors validate, so that a value that exists is in range.

pub mod choice;
#[cfg(not(loom))]
pub(crate) mod fault;
pub mod sound;
pub mod text;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use choice::{Choice as _, choice};

/// Writes types as JSON by the word that their `as_str` gives.
#[cfg(not(loom))]
macro_rules! serialize_as_str {
    ($($type:ty),+) => {
        $(impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        })+
    };
}
#[cfg(not(loom))]
pub(crate) use serialize_as_str;

// The models of the media path are built without the crates of the rest.
#[cfg(not(loom))]
serialize_as_str!(CallId, StreamName, Mix);

/// `value` rounded to two decimals, for percentages, levels and times that operators read.
pub fn two_decimals(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The least of the values that there are: the earliest of some deadlines. A loop, since an iterator over options costs some hundred
/// instructions at each wake of a stream.
pub fn least<T: Copy + Ord, const N: usize>(of: [Option<T>; N]) -> Option<T> {
    let mut least: Option<T> = None;
    for &value in &of {
        least = match (least, value) {
            (Some(least), Some(value)) => Some(least.min(value)),
            (one, other) => one.or(other),
        };
    }
    least
}

/// A sampling rate in Hz, 8 000 to 64 000: what FreeSWITCH's codecs and the streamed formats use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(not(loom), derive(serde::Serialize))]
pub struct SampleRate(u32);

/// The text or number is no rate this module handles.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bad sampling rate '{0}': give 8k, 16k, 24k, 32k, 48k or the same in Hz")]
pub struct BadRate(pub String);

impl SampleRate {
    /// 8 kHz, the rate of G.711.
    pub const HZ_8000: Self = Self(8_000);
    /// 16 kHz, the rate of G.722 and of most recognisers.
    pub const HZ_16000: Self = Self(16_000);
    /// 24 kHz, the rate of the conversation APIs.
    pub const HZ_24000: Self = Self(24_000);
    /// 48 kHz, the rate of Opus.
    pub const HZ_48000: Self = Self(48_000);

    /// `hz` as a rate; an error, which allocates its text, below 8 000 or above 64 000.
    pub fn new(hz: u32) -> Result<Self, BadRate> {
        Self::from_hz(hz).ok_or_else(|| BadRate(hz.to_string()))
    }

    /// `hz` as a rate; `None` below 8 000 or above 64 000. For the media thread: allocates nothing.
    pub const fn from_hz(hz: u32) -> Option<Self> {
        if hz >= 8_000 && hz <= 64_000 { Some(Self(hz)) } else { None }
    }

    /// The rate in Hz.
    pub const fn hz(self) -> u32 {
        self.0
    }

    /// Samples of one channel in `ms` milliseconds, rounded down.
    pub const fn samples_in_ms(self, ms: u32) -> usize {
        (self.0 as u64 * ms as u64 / 1_000) as usize
    }

    /// Samples of one channel in `duration`, rounded down.
    pub fn samples_in(self, duration: Duration) -> u64 {
        duration
            .as_secs()
            .saturating_mul(self.0.into())
            .saturating_add(u64::from(duration.subsec_nanos()) * u64::from(self.0) / 1_000_000_000)
    }

    /// How long `samples` of one channel last.
    pub fn duration_of(self, samples: u64) -> Duration {
        // A division of 128 bits is a call of some hundred instructions; none is needed below four days at 48 kHz.
        let nanos = match samples.checked_mul(1_000_000_000) {
            Some(product) => product / u64::from(self.0),
            None => (u128::from(samples) * 1_000_000_000 / u128::from(self.0)) as u64,
        };
        Duration::from_nanos(nanos)
    }

    /// Whether captured audio may be streamed at this rate (8, 16, 24, 32 or 48 kHz).
    pub const fn is_wire_rate(self) -> bool {
        matches!(self.0, 8_000 | 16_000 | 24_000 | 32_000 | 48_000)
    }
}

impl FromStr for SampleRate {
    type Err = BadRate;

    /// The forms of the command line: `8k`, `16k`, `24k`, `32k`, `48k`, or one of these in Hz.
    fn from_str(text: &str) -> Result<Self, BadRate> {
        let bad = || BadRate(text.to_owned());
        let hz = match text.strip_suffix(['k', 'K']) {
            Some(kilo) => kilo.parse::<u32>().ok().and_then(|kilo| kilo.checked_mul(1_000)),
            None => text.parse().ok(),
        };
        let rate = hz.and_then(|hz| Self::new(hz).ok()).ok_or_else(bad)?;
        if rate.is_wire_rate() { Ok(rate) } else { Err(bad()) }
    }
}

impl Default for SampleRate {
    /// That of the telephone.
    fn default() -> Self {
        Self::HZ_8000
    }
}

impl fmt::Display for SampleRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

choice! {
    /// Which legs a stream captures.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub enum Mix {
        /// The caller alone, one channel.
        #[default]
        Mono = "mono",
        /// The caller and the other leg summed, one channel.
        Mixed = "mixed",
        /// Left the caller, right the other leg.
        Stereo = "stereo",
    }
}

/// The word is none of `mono`, `mixed`, `stereo`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bad mix type '{0}': give mono, mixed or stereo")]
pub struct BadMix(pub String);

impl Mix {
    /// Channels on the wire.
    pub const fn channels(self) -> u16 {
        match self {
            Self::Mono | Self::Mixed => 1,
            Self::Stereo => 2,
        }
    }
}

impl FromStr for Mix {
    type Err = BadMix;

    /// The word in capitals or not.
    fn from_str(text: &str) -> Result<Self, BadMix> {
        Self::named(text).ok_or_else(|| BadMix(text.to_owned()))
    }
}

/// The format of samples on the wire: S16LE, interleaved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PcmFormat {
    /// Samples a second of each channel.
    pub rate: SampleRate,
    /// Interleaved channels, 1 or 2.
    pub channels: u16,
}

impl PcmFormat {
    /// Samples, all channels counted, in `ms` milliseconds.
    pub const fn samples_in_ms(self, ms: u32) -> usize {
        self.rate.samples_in_ms(ms) * self.channels as usize
    }
}

/// A companding law of G.711.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Law {
    /// µ-law, PCMU: North America and Japan.
    Mu,
    /// A-law, PCMA: everywhere else.
    A,
}

/// How samples are written as bytes on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Encoding {
    /// Signed 16 bit, little-endian.
    S16Le,
    /// Signed 16 bit, big-endian: L16 as RTP has it.
    S16Be,
    /// G.711.
    G711(Law),
}

impl Encoding {
    /// Bytes of one sample.
    pub const fn sample_bytes(self) -> usize {
        match self {
            Self::S16Le | Self::S16Be => 2,
            Self::G711(_) => 1,
        }
    }
}

/// The uuid of a call's channel in FreeSWITCH. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(Arc<str>);

impl CallId {
    /// Takes the text as it is: FreeSWITCH lets an operator choose a channel's uuid freely.
    pub fn new(uuid: &str) -> Self {
        Self(uuid.into())
    }

    /// The uuid.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a stream on its call: 1 to 64 of `A-Z a-z 0-9 _ . -`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(Arc<str>);

/// The name is empty, too long, or has a character that is not allowed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bad stream name '{0}': give 1 to 64 of A-Z a-z 0-9 _ . -")]
pub struct BadName(pub String);

impl StreamName {
    /// The name used where none is given.
    pub const DEFAULT: &'static str = "default";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for StreamName {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl FromStr for StreamName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if (1..=64).contains(&text.len()) && text.chars().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(BadName(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value that must not be seen: printing it in any way gives `***`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_and_durations_agree_at_any_length() {
        for hz in [8_000, 11_025, 44_100, 48_000, 63_997] {
            let rate = SampleRate::from_hz(hz).unwrap_or_default();
            for samples in [0, 1, 159, u64::from(hz), 3 * u64::from(hz) - 1, 18_446_744_073, 18_446_744_074, 1 << 40] {
                let exact = u128::from(samples) * 1_000_000_000 / u128::from(hz);
                let duration = rate.duration_of(samples);
                assert_eq!(duration.as_nanos(), exact, "{samples} at {hz} Hz");
                assert_eq!(u128::from(rate.samples_in(duration)), exact * u128::from(hz) / 1_000_000_000);
            }
            assert_eq!(rate.samples_in(Duration::MAX), u64::MAX);
        }
    }

    #[test]
    fn the_least_of_what_there_is() {
        assert_eq!(least::<u8, 0>([]), None);
        assert_eq!(least([None::<u8>, None]), None);
        for of in [[Some(2), Some(3), None], [None, Some(3), Some(2)], [None, None, Some(2)], [Some(2), None, Some(2)]]
        {
            assert_eq!(least(of), Some(2));
        }
    }

    #[test]
    fn a_rate_is_read_in_both_forms_and_refused_by_name() {
        for (text, hz) in [("8k", 8_000), ("16k", 16_000), ("24K", 24_000), ("32000", 32_000), ("48k", 48_000)] {
            assert_eq!(text.parse::<SampleRate>().map(SampleRate::hz), Ok(hz), "{text}");
        }
        for text in ["", "k", "9k", "44100", "-8k", "8 k", "99999999999k", "4294968k"] {
            assert_eq!(text.parse::<SampleRate>(), Err(BadRate(text.into())), "{text}");
        }
    }

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("sk-live-1234");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
    }

    #[test]
    fn names_are_bounded_and_plain() {
        assert!("bot-1_a.b".parse::<StreamName>().is_ok());
        for text in ["", "a b", "a\n", "é", &"x".repeat(65)] {
            assert!(text.parse::<StreamName>().is_err(), "{text}");
        }
    }
}
