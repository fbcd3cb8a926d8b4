//! Suggested places as clients see them.

use std::collections::BTreeMap;

use hexpop_edge_config::Territory;
use serde::{Serialize, Serializer};

use super::ShardPart;
use crate::{
    geo::LatLng,
    index::{PartialPlace, PartialSuggestions, PlaceKind},
    listing::Word,
    query::SuggestQuery,
};

/// The answer to a question for places.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SuggestionsAnswer {
    /// Most listings first, then by text.
    pub suggestions: Vec<Suggestion>,
}

/// One place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suggestion {
    /// Its name as listings write it.
    pub text: String,
    /// What it is.
    #[serde(serialize_with = "as_word")]
    pub kind: PlaceKind,
    /// Where it is.
    pub territory: Territory,
    /// The mean of the coordinates of its listings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub center: Option<LatLng>,
    /// Listings there that searches find.
    pub count: u64,
}

fn as_word<S: Serializer>(kind: &PlaceKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

/// Merges the shards' answers to one question for places.
#[must_use]
pub fn gather_suggestions(
    query: &SuggestQuery,
    parts: Vec<ShardPart<PartialSuggestions>>,
) -> SuggestionsAnswer {
    let mut merged: BTreeMap<(String, PlaceKind, Territory), PartialPlace> = BTreeMap::new();
    for place in parts.into_iter().flat_map(|part| part.answer.places) {
        let key = (place.text.clone(), place.kind, place.territory.clone());
        match merged.get_mut(&key) {
            Some(sum) => {
                sum.count += place.count;
                sum.located += place.located;
                sum.lat_sum += place.lat_sum;
                sum.lng_sum += place.lng_sum;
            }
            None => {
                merged.insert(key, place);
            }
        }
    }
    let mut places: Vec<PartialPlace> = merged.into_values().collect();
    // Stable: ties stay in the order of text, kind and territory.
    places.sort_by_key(|place| std::cmp::Reverse(place.count));
    places.truncate(query.limit as usize);
    let suggestions = places
        .into_iter()
        .map(|place| Suggestion {
            center: place.center(),
            text: place.text,
            kind: place.kind,
            territory: place.territory,
            count: place.count,
        })
        .collect();
    SuggestionsAnswer { suggestions }
}
