//! Money, in whole minor units. Never a float.

use std::{fmt, str::FromStr};

/// A price in minor units (cents): 0 up to [`Price::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(u64);

/// Why a number is not a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The text is not a number as JSON writes it (RFC 8259, section 6).
    #[error("must be a number")]
    NotANumber,
    /// The number is below zero.
    #[error("must not be negative")]
    Negative,
    /// The number has a third decimal that is not zero.
    #[error("must have at most two decimals")]
    TooPrecise,
    /// The number is above [`Price::MAX`].
    #[error("must be at most {}", Price::MAX)]
    TooLarge,
}

impl Price {
    /// 9,999,999,999.99: so that its twelve digits survive any reader that uses a float.
    pub const MAX: Self = Self(999_999_999_999);

    /// Minor units in one major unit.
    const MINOR_PER_MAJOR: u64 = 100;

    /// The price of this many minor units.
    ///
    /// # Errors
    /// [`PriceError::TooLarge`] above [`Price::MAX`].
    pub fn from_minor(minor: u64) -> Result<Self, PriceError> {
        if minor <= Self::MAX.0 { Ok(Self(minor)) } else { Err(PriceError::TooLarge) }
    }

    /// The price in minor units.
    #[must_use]
    pub fn minor(self) -> u64 {
        self.0
    }
}

impl FromStr for Price {
    type Err = PriceError;

    /// Reads a JSON number (RFC 8259, section 6) digit by digit, so nothing is rounded.
    fn from_str(text: &str) -> Result<Self, PriceError> {
        let number = Decimal::parse(text).ok_or(PriceError::NotANumber)?;
        let significant = number.digits.trim_start_matches('0');
        let digits = significant.trim_end_matches('0');
        if digits.is_empty() {
            return Ok(Self(0));
        }
        if number.negative {
            return Err(PriceError::Negative);
        }
        // The value is `digits` times ten to this power, in minor units.
        let dropped = i64::try_from(significant.len() - digits.len()).unwrap_or(i64::MAX);
        let power = number.exponent.saturating_add(dropped).saturating_add(2);
        if power < 0 {
            return Err(PriceError::TooPrecise);
        }
        let scale = u32::try_from(power).ok().and_then(|power| 10_u64.checked_pow(power));
        let minor = digits
            .parse::<u64>()
            .ok()
            .zip(scale)
            .and_then(|(digits, scale)| digits.checked_mul(scale));
        Self::from_minor(minor.ok_or(PriceError::TooLarge)?)
    }
}

impl fmt::Display for Price {
    /// A JSON number: `20`, or `19.90`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = (self.0 / Self::MINOR_PER_MAJOR, self.0 % Self::MINOR_PER_MAJOR);
        if minor == 0 { write!(f, "{major}") } else { write!(f, "{major}.{minor:02}") }
    }
}

/// A JSON number taken apart: `digits` times ten to the power of `exponent`.
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Self::parse_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some((whole, fraction)) => (whole, fraction),
            None => (mantissa, ""),
        };
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        let digits = format!("{whole}{fraction}");
        if whole.is_empty() || leading_zero || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let exponent = exponent.saturating_sub(i64::try_from(fraction.len()).ok()?);
        Some(Self { negative, digits, exponent })
    }

    /// Saturates: an exponent too long to count is far out of a price's range either way.
    fn parse_exponent(text: &str) -> Option<i64> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let size = digits.parse().unwrap_or(i64::MAX);
        Some(if negative { -size } else { size })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minor(text: &str) -> Result<u64, PriceError> {
        text.parse().map(Price::minor)
    }

    #[test]
    fn a_price_is_read_to_the_cent() {
        for (text, expected) in [
            ("0", 0),
            ("-0.0", 0),
            ("20", 2_000),
            ("19.9", 1_990),
            ("19.90", 1_990),
            ("19.99", 1_999),
            ("0.01", 1),
            ("0.010000", 1),
            ("1e2", 10_000),
            ("1.0E7", 1_000_000_000),
            ("1250e-2", 1_250),
            ("0e99999999999999999999", 0),
            ("9999999999.99", 999_999_999_999),
        ] {
            assert_eq!(minor(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_exact_price_is_refused() {
        for (text, expected) in [
            ("-1", PriceError::Negative),
            ("0.001", PriceError::TooPrecise),
            ("10.000000000000000001", PriceError::TooPrecise),
            ("1e-99999999999999999999", PriceError::TooPrecise),
            ("10000000000", PriceError::TooLarge),
            ("1e99999999999999999999", PriceError::TooLarge),
            ("18446744073709551617", PriceError::TooLarge),
        ] {
            assert_eq!(minor(text), Err(expected), "{text}");
        }
        for text in [
            "", "-", ".5", "5.", "05", "1e", "1e+", "1,5", " 1", "0x1", "NaN", "\"20\"", "null",
            "1e1.5", "１",
        ] {
            assert_eq!(minor(text), Err(PriceError::NotANumber), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_price_reads_back_as_it_was_written(cents in 0..=Price::MAX.0) {
            let price = Price::from_minor(cents).unwrap();
            prop_assert_eq!(price.to_string().parse(), Ok(price));
        }

        #[test]
        fn a_text_is_a_price_or_an_error_and_never_a_panic(text in "[-+0-9.eE]{0,40}") {
            if let Ok(price) = text.parse::<Price>() {
                prop_assert!(price <= Price::MAX);
            }
        }
    }
}
