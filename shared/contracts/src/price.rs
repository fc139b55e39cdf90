//! Prices as JSON numbers, digit by digit: no float is involved, so nothing is rounded.

use orders_domain::{Price, PriceTooLarge};
use serde::{Serialize, Serializer, ser::Error};
use serde_json::value::RawValue;

/// Reason why a JSON value is not a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The text is not a JSON number (RFC 8259, section 6).
    #[error("must be a number")]
    NotANumber,
    /// The number is below zero.
    #[error("must not be negative")]
    Negative,
    /// The number is not within a millionth of a cent of whole cents.
    #[error("must have at most two decimals")]
    TooPrecise,
    /// The number is above [`Price::MAX`].
    #[error(transparent)]
    TooLarge(#[from] PriceTooLarge),
}

/// Reads a price from the text of a JSON number. A number within a millionth of a cent of whole cents is
/// rounded to them: services that compute in floats send 59.970000000000006 for 59.97.
///
/// # Errors
/// [`PriceError`] for any other text.
///
/// # Examples
/// ```
/// use orders_contracts::{PriceError, parse_price};
///
/// assert_eq!(parse_price("19.9").unwrap().minor(), 1_990);
/// assert_eq!(parse_price("1.99e1").unwrap().minor(), 1_990);
/// assert_eq!(parse_price("59.970000000000006").unwrap().minor(), 5_997);
/// assert_eq!(parse_price("19.999"), Err(PriceError::TooPrecise));
/// assert_eq!(parse_price("\"20\""), Err(PriceError::NotANumber));
/// ```
pub fn parse_price(text: &str) -> Result<Price, PriceError> {
    let number = Decimal::parse(text).ok_or(PriceError::NotANumber)?;
    let minor = number.minor_units()?;
    if number.negative && minor > 0 {
        return Err(PriceError::Negative);
    }
    Ok(Price::from_minor(minor)?)
}

/// Writes a price as a JSON number with at most two decimals.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde defines the signature")]
pub(crate) fn serialize_price<S: Serializer>(
    price: &Price,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    RawValue::from_string(price.to_string()).map_err(S::Error::custom)?.serialize(serializer)
}

/// A JSON number in its parts: `digits` times ten to the power of `exponent`.
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

    /// The absolute value in minor units, rounded to whole units if a millionth is enough for it.
    fn minor_units(&self) -> Result<u64, PriceError> {
        let digits = self.digits.trim_start_matches('0');
        // The absolute value in minor units is `digits` times ten to this power.
        let power = self.exponent.saturating_add(2);
        let Ok(places) = usize::try_from(power.saturating_neg()) else {
            return scaled(digits, power);
        };
        let split = digits.len().saturating_sub(places);
        let (whole, fraction) = digits.split_at(split);
        // Zeros between the decimal point and the first digit of the fraction.
        let zeros = places - fraction.len();
        let rounded_up = match Fraction::new(zeros, fraction) {
            Fraction::JustAbove => 0,
            Fraction::JustBelow => 1,
            Fraction::Between => return Err(PriceError::TooPrecise),
        };
        Ok(scaled(whole, 0)?.checked_add(rounded_up).ok_or(PriceTooLarge)?)
    }

    /// Saturates: an exponent beyond `i64` is out of a price's range in either direction.
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

/// Position of a decimal fraction between two whole numbers.
enum Fraction {
    /// At most a millionth above the lower.
    JustAbove,
    /// At most a millionth below the upper.
    JustBelow,
    Between,
}

impl Fraction {
    /// The fraction of so many zeros and then these digits.
    fn new(zeros: usize, digits: &str) -> Self {
        let place = |index: usize| match index.checked_sub(zeros) {
            Some(index) => digits.as_bytes().get(index).copied().unwrap_or(b'0'),
            None => b'0',
        };
        let millionths: Vec<u8> = (0..6).map(place).collect();
        let rest_is_zero =
            digits.bytes().skip(6_usize.saturating_sub(zeros)).all(|digit| digit == b'0');
        match millionths.as_slice() {
            b"000000" => Self::JustAbove,
            b"000001" if rest_is_zero => Self::JustAbove,
            b"999999" => Self::JustBelow,
            _ => Self::Between,
        }
    }
}

/// The digits times ten to this power, which is not negative.
fn scaled(digits: &str, power: i64) -> Result<u64, PriceError> {
    if digits.is_empty() {
        return Ok(0);
    }
    let scale = u32::try_from(power).ok().and_then(|power| 10_u64.checked_pow(power));
    let value = digits.parse::<u64>().ok().zip(scale);
    Ok(value.and_then(|(digits, scale)| digits.checked_mul(scale)).ok_or(PriceTooLarge)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minor(text: &str) -> Result<u64, PriceError> {
        parse_price(text).map(Price::minor)
    }

    #[test]
    fn price_is_read_to_the_cent() {
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
            ("59.970000000000006", 5_997),
            ("59.96999999999999", 5_997),
            ("0.00000001", 0),
            ("-0.00000001", 0),
            ("0.01000001", 1),
            ("0.00999999", 1),
            ("9999999999.98999999999", 999_999_999_999),
            ("1e-99999999999999999999", 0),
            ("100e-1", 1_000),
        ] {
            assert_eq!(minor(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn price_rejects_other_numbers_and_other_texts() {
        for (text, expected) in [
            ("-1", PriceError::Negative),
            ("0.001", PriceError::TooPrecise),
            ("0.0100000101", PriceError::TooPrecise),
            ("0.00999998", PriceError::TooPrecise),
            ("-0.005", PriceError::TooPrecise),
            ("9999999999.99999999999", PriceTooLarge.into()),
            ("10000000000", PriceTooLarge.into()),
            ("1e99999999999999999999", PriceTooLarge.into()),
            ("18446744073709551617", PriceTooLarge.into()),
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
        fn price_reads_back_as_written(cents in 0..=Price::MAX.minor()) {
            let price = Price::from_minor(cents).unwrap();
            prop_assert_eq!(parse_price(&price.to_string()), Ok(price));
        }

        #[test]
        fn price_parser_never_panics(text in "[-+0-9.eE]{0,40}") {
            if let Ok(price) = parse_price(&text) {
                prop_assert!(price <= Price::MAX);
            }
        }
    }
}
