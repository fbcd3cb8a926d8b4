//! Searches over a shard's state: the index answers, documents turn hits into summaries.

use serde::{Deserialize, Serialize};

use super::{DocRef, DocumentStore, ListingsView};
use crate::{
    index::{PartialClusters, PartialFacets, PartialSuggestions},
    listing::{Shown, summary},
    query::{HitOrder, MapQuery, Query, SuggestQuery},
    read::{Found, Question},
};

/// What one shard answers to a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartialSearch {
    /// The best hits behind the cursor: one more than the page has, if there are as many.
    pub hits: Vec<PartialHit>,
    /// All listings that match, wherever the page begins.
    pub total: u64,
    /// The facets asked for.
    pub facets: PartialFacets,
    /// Documents of hits that the store does not have, and whose summary is therefore absent.
    pub missing: Vec<DocRef>,
}

/// One hit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartialHit {
    /// Its place in the order.
    pub order: HitOrder,
    /// Its summary as JSON text, as [`summary`](crate::summary) makes it.
    pub summary: Option<String>,
}

impl ListingsView {
    /// Answers a search from this state as it is.
    #[must_use]
    pub fn search(&self, query: &Query, documents: &dyn DocumentStore) -> PartialSearch {
        let answer = self.index.search(query);
        let mut wanted = Vec::with_capacity(answer.hits.len());
        let mut hits = Vec::with_capacity(answer.hits.len());
        for hit in answer.hits {
            let Some(stored) = self.stored_row(hit.row) else {
                continue;
            };
            wanted.push(DocRef { id: hit.id.to_string(), position: stored.position });
            hits.push(hit);
        }
        let found = documents.get_many(&wanted);
        let mut missing = Vec::new();
        let hits = hits
            .into_iter()
            .zip(wanted)
            .zip(found.into_iter().chain(std::iter::repeat(None)))
            .map(|((hit, document), bytes)| {
                let shown = Shown {
                    languages: &query.languages,
                    distance_km: hit.distance_km,
                    score: query.score(hit.key),
                };
                let summary = bytes.and_then(|bytes| summary(&bytes, &shown));
                let order = HitOrder { key: hit.key, id: document.id.clone() };
                if summary.is_none() {
                    missing.push(document);
                }
                PartialHit { order, summary }
            })
            .collect();
        PartialSearch { hits, total: answer.total, facets: answer.facets, missing }
    }

    /// Answers any question from this state as it is.
    #[must_use]
    pub fn answer(&self, question: &Question, documents: &dyn DocumentStore) -> Found {
        match question {
            Question::Search(query) => Found::Search(Box::new(self.search(query, documents))),
            Question::MapClusters(query) => Found::MapClusters(self.clusters(query)),
            Question::Suggest(query) => Found::Suggestions(self.suggest(query)),
        }
    }

    /// Answers a map view.
    #[must_use]
    pub fn clusters(&self, query: &MapQuery) -> PartialClusters {
        self.index.clusters(query)
    }

    /// Answers a question for places.
    #[must_use]
    pub fn suggest(&self, query: &SuggestQuery) -> PartialSuggestions {
        self.index.suggest(query)
    }
}
