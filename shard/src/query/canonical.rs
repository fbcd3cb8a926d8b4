//! One text per question, however it was written: for cache keys, and to bind a cursor to its
//! search.

use serde::Serialize;

use super::{MapQuery, Query, Sort, SuggestQuery};
use crate::key::hash_point;

/// Equal questions have equal texts, different ones different texts: struct fields in their order,
/// sets sorted, numbers in their shortest form that reads back the same.
fn text<T: Serialize>(question: &T) -> String {
    // Serialising plain structs to memory does not fail; an empty text would only cost a miss.
    serde_json::to_string(question).unwrap_or_default()
}

impl Query {
    /// The canonical text of the whole question, page included.
    #[must_use]
    pub fn canonical(&self) -> String {
        text(self)
    }

    /// A number for what all pages of a search have in common: its filters and its order, with
    /// the place that an order by distance begins at.
    #[must_use]
    pub fn pages_hash(&self) -> u64 {
        let from = self.reference().filter(|_| self.sort == Sort::Distance);
        hash_point(text(&(&self.filters, self.sort, from)).as_bytes())
    }
}

impl MapQuery {
    /// The canonical text.
    #[must_use]
    pub fn canonical(&self) -> String {
        text(self)
    }
}

impl SuggestQuery {
    /// The canonical text.
    #[must_use]
    pub fn canonical(&self) -> String {
        text(self)
    }
}
