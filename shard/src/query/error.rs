//! Why a request was refused: one kind, and every single problem with its place.

use std::fmt;

/// The kind of a refusal, named by the slug of its problem type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueryErrorKind {
    /// The body is no JSON object.
    MalformedJson,
    /// Values are wrong, or problems of several kinds came together.
    InvalidSearch,
    /// Only fields that do not exist.
    UnknownFilter,
    /// Only filters that the operator forbids.
    FilterForbidden,
    /// Only an area that is none.
    InvalidGeometry,
    /// Only a cursor that is damaged, or that belongs to another search.
    InvalidCursor,
    /// The cursor is of before a split, merge or move.
    CursorExpired,
}

impl QueryErrorKind {
    /// The last part of `urn:hexpop:problem:…`.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::MalformedJson => "malformed-json",
            Self::InvalidSearch => "invalid-search",
            Self::UnknownFilter => "unknown-filter",
            Self::FilterForbidden => "filter-forbidden",
            Self::InvalidGeometry => "invalid-geometry",
            Self::InvalidCursor => "invalid-cursor",
            Self::CursorExpired => "cursor-expired",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::MalformedJson => 400,
            Self::CursorExpired => 410,
            Self::InvalidSearch
            | Self::UnknownFilter
            | Self::FilterForbidden
            | Self::InvalidGeometry
            | Self::InvalidCursor => 422,
        }
    }
}

/// Where a problem lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemPlace {
    /// A JSON pointer as a URI fragment, such as `#/geoFilter/radiusKm`.
    Pointer(String),
    /// The name of a query parameter, such as `geoFilter.radiusKm`.
    Parameter(String),
}

impl fmt::Display for ProblemPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointer(text) | Self::Parameter(text) => f.write_str(text),
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: ProblemPlace,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// A refused request, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", self.kind.slug(), self.detail())]
pub struct QueryError {
    /// The kind.
    pub kind: QueryErrorKind,
    /// The problems, in the order of the request.
    pub problems: Vec<Problem>,
}

impl QueryError {
    /// One sentence about all of it.
    #[must_use]
    pub fn detail(&self) -> String {
        match self.problems.as_slice() {
            [] => "the request is not valid".to_owned(),
            [only] => format!("{}: {}", only.place, only.detail),
            several => format!("{} fields are wrong", several.len()),
        }
    }
}
