//! Prices as JSON numbers, digit by digit.

use orders_domain::Price;
use serde::{Serialize, Serializer, ser::Error};
use serde_json::value::RawValue;

/// Writes a price as a number with at most two decimals; no float comes near it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
pub(crate) fn serialize_price<S: Serializer>(
    price: &Price,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    RawValue::from_string(price.to_string()).map_err(S::Error::custom)?.serialize(serializer)
}
