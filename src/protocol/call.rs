//! What a protocol may tell its server about the call, and the operator's own parameters for the server.
//!
//! Plain data, made when the stream starts; any thread.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::json::Field;

/// The call, as the first messages of most protocols describe it. A field that is not known is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallInfo {
    /// The uuid of the call's channel.
    pub call_id: String,
    /// The name of the call's channel, such as `sofia/internal/1000@example.com`.
    pub channel: String,
    /// Names this stream among all: what most protocols repeat in every message.
    pub stream_id: String,
    /// Whose call it is.
    pub account_id: String,
    /// The caller's number.
    pub from: String,
    /// The number that was called.
    pub to: String,
    /// The call was placed by this switch; otherwise it came in.
    pub outbound: bool,
}

/// The time of day at one instant, from which that of any other follows: protocols have no clock of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WallClock {
    /// The instant.
    pub at: Instant,
    /// Its time of day, since 1970-01-01 UTC.
    pub since_epoch: Duration,
}

impl WallClock {
    /// Milliseconds since 1970-01-01 UTC.
    pub fn unix_ms(&self, now: Instant) -> u64 {
        (self.since_epoch + now.saturating_duration_since(self.at)).as_millis() as u64
    }

    /// As `2026-11-20T10:05:00.123Z`.
    pub fn iso_8601(&self, now: Instant) -> String {
        let ms = self.unix_ms(now);
        let (year, month, day) = civil(ms / 86_400_000);
        let (hour, minute, second) = (ms / 3_600_000 % 24, ms / 60_000 % 60, ms / 1_000 % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
    }
}

/// The date of a day since 1970-01-01, in the Gregorian calendar: years begin in March, so that the leap day is the last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The operator's metadata as named parameters, each its JSON as it was written. Metadata that is no JSON object is one
/// parameter, `metadata`.
pub(super) fn parameters(metadata: Option<&str>) -> BTreeMap<String, Box<RawValue>> {
    let Some(metadata) = metadata.filter(|text| !text.trim().is_empty()) else { return BTreeMap::new() };
    serde_json::from_str(metadata).unwrap_or_else(|_| {
        let text = serde_json::value::to_raw_value(metadata).ok();
        text.map(|text| ("metadata".to_owned(), text)).into_iter().collect()
    })
}

/// [`parameters`] for the vendors whose parameters are strings: strings as they are, anything else as its JSON.
pub(super) fn text_parameters(metadata: Option<&str>) -> BTreeMap<String, String> {
    let text = |raw: &RawValue| Field::of(Some(raw)).as_str().unwrap_or(raw.get()).to_owned();
    parameters(metadata).into_iter().map(|(name, raw)| (name, text(&raw))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_has_both_forms() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.250Z"),
            (951_782_399, "2000-02-28T23:59:59.250Z"),
            (951_782_400, "2000-02-29T00:00:00.250Z"),
            (1_709_164_800, "2024-02-29T00:00:00.250Z"),
            (1_795_169_100, "2026-11-20T10:05:00.250Z"),
            (4_107_542_400, "2100-03-01T00:00:00.250Z"),
        ] {
            let at = Instant::now();
            let clock = WallClock { at, since_epoch: Duration::from_secs(seconds) };
            let now = at + Duration::from_millis(250);
            assert_eq!(clock.iso_8601(now), text);
            assert_eq!(clock.unix_ms(now), seconds * 1_000 + 250);
        }
    }

    #[test]
    fn metadata_becomes_parameters_with_every_digit_kept() {
        let metadata = r#" {"name":"Zoë \"x\"","id":12345678901234567890123,"deep":{"a": [1.10]},"none":null} "#;
        let parameters = text_parameters(Some(metadata));
        let parameters: Vec<_> = parameters.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(
            parameters,
            [("deep", r#"{"a": [1.10]}"#), ("id", "12345678901234567890123"), ("name", "Zoë \"x\""), ("none", "null")]
        );
        for text in ["hello {", "[1]", "7"] {
            assert_eq!(text_parameters(Some(text)).get("metadata").map(String::as_str), Some(text));
        }
        assert!(text_parameters(None).is_empty() && text_parameters(Some("  ")).is_empty());
    }
}
