//! Money, in whole minor units. Never a float.

use std::fmt;

/// A price in minor units (cents), from 0 to [`Price::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(u64);

/// The price is above [`Price::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be at most {}", Price::MAX)]
pub struct PriceTooLarge;

impl Price {
    /// 9,999,999,999.99: its twelve digits survive every reader that uses a float.
    pub const MAX: Self = Self(999_999_999_999);

    /// Minor units in one major unit.
    const MINOR_PER_MAJOR: u64 = 100;

    /// The price of this many minor units.
    ///
    /// # Errors
    /// [`PriceTooLarge`] above [`Price::MAX`].
    ///
    /// # Examples
    /// ```
    /// use orders_domain::Price;
    ///
    /// let price = Price::from_minor(1_990).unwrap();
    /// assert_eq!(price.to_string(), "19.90");
    /// assert!(Price::from_minor(Price::MAX.minor() + 1).is_err());
    /// ```
    pub fn from_minor(minor: u64) -> Result<Self, PriceTooLarge> {
        if minor <= Self::MAX.0 { Ok(Self(minor)) } else { Err(PriceTooLarge) }
    }

    /// Whether the ticket costs nothing.
    #[must_use]
    pub fn is_free(self) -> bool {
        self.0 == 0
    }

    /// The price in minor units.
    #[must_use]
    pub fn minor(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Price {
    /// Writes `20`, or `19.90`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = (self.0 / Self::MINOR_PER_MAJOR, self.0 % Self::MINOR_PER_MAJOR);
        if minor == 0 { write!(f, "{major}") } else { write!(f, "{major}.{minor:02}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn price_has_a_maximum() {
        let max = Price::MAX.minor();
        assert_eq!(Price::from_minor(max).map(Price::minor), Ok(max));
        assert_eq!(Price::from_minor(max + 1), Err(PriceTooLarge));
    }

    #[test]
    fn price_is_written_with_no_or_two_decimals() {
        for (minor, text) in [(0, "0"), (5, "0.05"), (1_990, "19.90"), (2_000, "20")] {
            assert_eq!(Price::from_minor(minor).unwrap().to_string(), text);
        }
    }
}
