//! The query parameters of `GET /api/orders`.

use orders_domain::{Direction, PageSize, PageSizeError, Position};

use crate::{FieldError, decode_cursor};

/// Which page of the caller's orders to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListParameters {
    /// `limit`
    pub size: PageSize,
    /// `sort`
    pub direction: Direction,
    /// `cursor`
    pub after: Option<Position>,
}

impl ListParameters {
    /// Reads the parameters; those that are absent have their defaults.
    ///
    /// # Errors
    /// Everything that is wrong with them, in words for their sender.
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
    // One way to write a number: no sign, no leading zero.
    if size.to_string() == text { size.try_into() } else { Err(PageSizeError) }
}

fn parse_direction(text: &str) -> Result<Direction, &'static str> {
    [Direction::OldestFirst, Direction::NewestFirst]
        .into_iter()
        .find(|direction| sort_name(*direction) == text)
        .ok_or("must be createdAt or -createdAt")
}

/// The direction's name, in `sort`.
#[must_use]
pub fn sort_name(direction: Direction) -> &'static str {
    match direction {
        Direction::OldestFirst => "createdAt",
        Direction::NewestFirst => "-createdAt",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_parameters_the_first_page_is_oldest_first() {
        let parameters = ListParameters::parse(None, None, None).unwrap();
        assert_eq!(parameters.size, PageSize::DEFAULT);
        assert_eq!(parameters.direction, Direction::OldestFirst);
        assert_eq!(parameters.after, None);
    }

    #[test]
    fn a_page_has_1_to_100_orders() {
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
    fn everything_wrong_is_told_at_once() {
        let errors = ListParameters::parse(Some("0"), Some("x"), Some("price")).unwrap_err();
        let fields: Vec<_> = errors.iter().filter_map(|error| error.field).collect();
        assert_eq!(fields, ["limit", "cursor", "sort"]);
    }
}
