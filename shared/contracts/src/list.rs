//! The query parameters of `GET /api/orders`.

use std::fmt;

use orders_domain::{Direction, PageSize, PageSizeError, Position};
use serde::{Deserialize, Serialize, de::IntoDeserializer, de::value::Error as ValueError};

use crate::{FieldError, decode_cursor};

/// Parameters of the list of the caller's orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListParameters {
    /// `limit`: page size.
    pub size: PageSize,
    /// `sort`: sort order.
    pub direction: Direction,
    /// `cursor`: end of the page before, if any.
    pub after: Option<Position>,
}

impl ListParameters {
    /// Parses the parameters. A missing parameter has its default.
    ///
    /// # Errors
    /// One error for each invalid parameter, for the client.
    pub fn parse(
        limit: Option<&str>,
        cursor: Option<&str>,
        sort: Option<&str>,
    ) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let size = limit.map_or(Ok(PageSize::DEFAULT), parse_size);
        let after = cursor.map(decode_cursor).transpose();
        let direction = sort.map_or(Ok(Direction::OldestFirst), parse_direction);
        errors.extend(size.err().map(|error| FieldError::for_field("limit", error)));
        errors.extend(after.err().map(|error| FieldError::for_field("cursor", error)));
        errors.extend(direction.err().map(|error| FieldError::for_field("sort", error)));
        match (size, after, direction) {
            (Ok(size), Ok(after), Ok(direction)) => Ok(Self { size, direction, after }),
            _ => Err(errors),
        }
    }
}

fn parse_size(text: &str) -> Result<PageSize, PageSizeError> {
    let size = text.parse::<u8>().map_err(|_| PageSizeError)?;
    // A number has one spelling: no sign, no leading zero.
    if size.to_string() == text { size.try_into() } else { Err(PageSizeError) }
}

fn parse_direction(text: &str) -> Result<Direction, &'static str> {
    let sort = Sort::deserialize(text.into_deserializer());
    sort.map(Direction::from).map_err(|_: ValueError| "must be createdAt or -createdAt")
}

/// Value of `sort` for a sort order.
#[must_use]
pub fn sort_name(direction: Direction) -> String {
    Sort::from(direction).to_string()
}

/// Values of `sort`: the one list of their names, for both directions.
#[derive(Clone, Copy, Deserialize, Serialize)]
enum Sort {
    #[serde(rename = "createdAt")]
    OldestFirst,
    #[serde(rename = "-createdAt")]
    NewestFirst,
}

impl From<Sort> for Direction {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::OldestFirst => Self::OldestFirst,
            Sort::NewestFirst => Self::NewestFirst,
        }
    }
}

impl From<Direction> for Sort {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::OldestFirst => Self::OldestFirst,
            Direction::NewestFirst => Self::NewestFirst,
        }
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_defaults_to_the_first_page_oldest_first() {
        let parameters = ListParameters::parse(None, None, None).unwrap();
        assert_eq!(parameters.size, PageSize::DEFAULT);
        assert_eq!(parameters.direction, Direction::OldestFirst);
        assert_eq!(parameters.after, None);
    }

    #[test]
    fn list_sort_has_a_name_for_each_direction() {
        for (name, direction) in
            [("createdAt", Direction::OldestFirst), ("-createdAt", Direction::NewestFirst)]
        {
            let parameters = ListParameters::parse(None, None, Some(name)).unwrap();
            assert_eq!(parameters.direction, direction);
            assert_eq!(sort_name(direction), name);
        }
    }

    #[test]
    fn list_limit_is_1_to_100() {
        for limit in ["1", "100"] {
            assert!(ListParameters::parse(Some(limit), None, None).is_ok());
        }
        for limit in
            ["0", "101", "1000000000", "-1", "+1", "01", "1.5", "", "ten", "99999999999999999999"]
        {
            let errors = ListParameters::parse(Some(limit), None, None).unwrap_err();
            assert_eq!(
                errors,
                [FieldError::for_field("limit", "must be a whole number from 1 to 100")]
            );
        }
    }

    #[test]
    fn list_reports_every_invalid_parameter() {
        let errors = ListParameters::parse(Some("0"), Some("x"), Some("price")).unwrap_err();
        let fields: Vec<_> = errors.iter().filter_map(|error| error.field).collect();
        assert_eq!(fields, ["limit", "cursor", "sort"]);
    }
}
