//! Questions for places by prefix, as clients write them.

use super::{
    QueryError, SUGGEST_LIMIT_DEFAULT, SUGGEST_LIMIT_MAX, SuggestQuery,
    reader::{Fields, Form, Reader},
    request::{flat, json, read},
};
use crate::index::fold_words;

const PREFIX_CHARS_MAX: usize = 100;

/// A question that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuggestRequest {
    /// What to ask the shards.
    pub query: SuggestQuery,
}

impl SuggestRequest {
    /// Understands a JSON body.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn from_json(body: &[u8]) -> Result<Self, QueryError> {
        read(Form::Json, json(body)?, suggestion)
    }

    /// Understands a query string (without `?`).
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn from_query_string(query: &str) -> Result<Self, QueryError> {
        read(Form::QueryString, flat(query)?, suggestion)
    }
}

fn suggestion(reader: &mut Reader, fields: &mut Fields) -> Option<SuggestRequest> {
    reader.require(fields, "q");
    let text = reader.text(fields, "q", PREFIX_CHARS_MAX);
    let limit = reader.whole(fields, "limit", (1, SUGGEST_LIMIT_MAX));
    let prefix = fold_words(&text?).join(" ");
    if prefix.is_empty() {
        reader.invalid(&fields.path.child("q"), "must have a letter or a digit");
    }
    let limit = limit.unwrap_or(SUGGEST_LIMIT_DEFAULT);
    Some(SuggestRequest { query: SuggestQuery { prefix, limit } })
}
