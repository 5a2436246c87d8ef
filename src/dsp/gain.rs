//! A gain as an operator gives it: in decibels, in range.
//!
//! Pure values; any thread. Constructors validate, so that a gain that exists is in range; reading a text allocates where it
//! refuses.

use std::fmt;
use std::str::FromStr;

/// Range of a [`Gain`] in dB: below is silence, which is what muting is for; above, noise.
const RANGE_DB: (f32, f32) = (-60.0, 20.0);

/// An amplification or attenuation, -60 to 20 dB.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Gain(f32);

/// No number of decibels in range.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bad gain '{0}': give -60 to 20 dB")]
pub struct BadGain(pub String);

impl Gain {
    /// As it is, bit for bit.
    pub const UNITY: Self = Self(1.0);

    /// `db` decibels; an error, which allocates its text, outside of -60 to 20.
    pub fn from_db(db: f32) -> Result<Self, BadGain> {
        if !(RANGE_DB.0..=RANGE_DB.1).contains(&db) {
            return Err(BadGain(db.to_string()));
        }
        Ok(if db == 0.0 { Self::UNITY } else { Self(10_f32.powf(db / 20.0)) })
    }

    /// In decibels.
    pub fn db(self) -> f32 {
        20.0 * self.0.log10()
    }

    pub(crate) const fn from_linear(factor: f32) -> Self {
        Self(factor)
    }

    /// As a factor.
    pub const fn linear(self) -> f32 {
        self.0
    }
}

impl Default for Gain {
    fn default() -> Self {
        Self::UNITY
    }
}

impl FromStr for Gain {
    type Err = BadGain;

    /// Decibels with or without `dB` behind the number.
    fn from_str(text: &str) -> Result<Self, BadGain> {
        let bad = || BadGain(text.chars().take(16).collect());
        let number = text.strip_suffix("dB").or_else(|| text.strip_suffix("db")).unwrap_or(text);
        number.trim().parse().ok().and_then(|db: f32| Self::from_db(db).ok()).ok_or_else(bad)
    }
}

impl fmt::Display for Gain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} dB", self.db())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_gain_is_read_and_refused_by_name() {
        for (text, db) in [("0", 0.0), ("-6", -6.0), ("3.5dB", 3.5), ("-60 dB", -60.0), ("20", 20.0)] {
            assert!((text.parse::<Gain>().unwrap().db() - db).abs() < 0.01, "{text}");
        }
        for text in ["", "x", "21", "-61", "NaN", "inf", "1e9", "dB"] {
            assert_eq!(text.parse::<Gain>(), Err(BadGain(text.into())));
        }
        assert_eq!("0".parse::<Gain>().unwrap(), Gain::UNITY);
    }
}
