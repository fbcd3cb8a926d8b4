//! Searches, in the shapes of the mesh and by the same index, so that a client cannot tell an
//! answer of the origin from one of the mesh but for `shards`, which is empty: the origin has none.

use std::sync::Arc;

use hexpop_edge_config::{Epoch, ShardId};
use hexpop_router::{FieldPlace as Place, Problem as ProblemType};
use hexpop_shard::{
    HitOrder, IndexHit, Listing, LogPosition, MapQuery, MapRequest, PartialHit, PartialSearch,
    ProblemPlace, Query, QueryError, SearchAnswer, SearchRequest, SearchRules, ShardPart,
    ShardStamp, Shown, SuggestRequest, gather_clusters, gather_search, gather_suggestions, summary,
};

use super::{platform::Platform, reply, request::Request, routes::Outcome, store::Store};
use crate::http::{
    language::{accepted_languages, describe_language},
    problem::Problem,
};

/// `GET /api/v1/listings?…`
pub(super) async fn by_query(platform: &Arc<Platform>, request: Request) -> Outcome {
    let query = request.uri().query().unwrap_or_default();
    let understood = SearchRequest::from_query_string(query, &SearchRules::default());
    let languages = accepted_languages(request.headers());
    search(platform, understood.map_err(refused)?, &languages).await
}

/// `POST /api/v1/search`
pub(super) async fn by_body(platform: &Arc<Platform>, request: Request) -> Outcome {
    request.check_json()?;
    let languages = accepted_languages(request.headers());
    let body = request.into_body().await?;
    let understood = SearchRequest::from_json(&body, &SearchRules::default());
    search(platform, understood.map_err(refused)?, &languages).await
}

async fn search(platform: &Arc<Platform>, mut request: SearchRequest, wanted: &str) -> Outcome {
    request.accept_language(wanted, &SearchRules::default());
    let mut query = request.query;
    let languages = query.languages.clone();
    // Hits are ordered by key and id, whoever gave the page before.
    query.after = request.cursor.map(|cursor| cursor.after).or(query.after);
    let answer: SearchAnswer = read(platform, move |store| {
        let part = ShardPart { stamp: stamp(), answer: matching(store, &query) };
        let gathered = gather_search(&query, vec![part], false);
        SearchAnswer { shards: Vec::new(), ..gathered }
    })
    .await?;
    let mut response = reply::serialized(&answer)?;
    describe_language(response.headers_mut(), &languages);
    Ok(response)
}

fn matching(store: &Store, query: &Query) -> PartialSearch {
    let found = store.index().search(query);
    PartialSearch {
        hits: found.hits.into_iter().filter_map(|hit| show(store, query, hit)).collect(),
        total: found.total,
        facets: found.facets,
        missing: Vec::new(),
    }
}

fn show(store: &Store, query: &Query, hit: IndexHit) -> Option<PartialHit> {
    let listing = Listing::parse(store.get(&hit.id)?.body()).ok()?;
    let order = HitOrder { key: hit.key, id: hit.id.to_string() };
    let shown = Shown {
        languages: &query.languages,
        distance_km: hit.distance_km,
        score: query.score(hit.key),
    };
    Some(PartialHit { order, summary: summary(listing.document.as_bytes(), &shown) })
}

/// `POST /api/v1/search/map`
pub(super) async fn clusters(platform: &Arc<Platform>, request: Request) -> Outcome {
    request.check_json()?;
    let body = request.into_body().await?;
    let understood = MapRequest::from_json(&body, &SearchRules::default()).map_err(refused)?;
    let query: MapQuery = understood.query;
    let mut answer = read(platform, move |store| {
        let part = ShardPart { stamp: stamp(), answer: store.index().clusters(&query) };
        gather_clusters(&query, vec![part], false)
    })
    .await?
    .map_err(refused)?;
    answer.shards.clear();
    reply::serialized(&answer)
}

/// `GET /api/v1/search/suggest?q=&limit=`
pub(super) async fn suggest(platform: &Arc<Platform>, request: &Request) -> Outcome {
    let query = request.uri().query().unwrap_or_default();
    let query = SuggestRequest::from_query_string(query).map_err(refused)?.query;
    let answer = read(platform, move |store| {
        let part = ShardPart { stamp: stamp(), answer: store.index().suggest(&query) };
        gather_suggestions(&query, vec![part])
    })
    .await?;
    reply::serialized(&answer)
}

/// Reads the store where waiting and computing holds nobody up.
async fn read<T: Send + 'static>(
    platform: &Arc<Platform>,
    question: impl FnOnce(&Store) -> T + Send + 'static,
) -> Result<T, Problem> {
    let platform = Arc::clone(platform);
    tokio::task::spawn_blocking(move || question(&platform.store.read()))
        .await
        .map_err(|error| Problem::new(ProblemType::Internal, error.to_string()))
}

/// The whole platform as if it were one shard.
const fn stamp() -> ShardStamp {
    let as_of = LogPosition { term: 0, index: 0 };
    ShardStamp { id: ShardId::META, epoch: Epoch::FIRST, as_of, staleness_ms: 0 }
}

fn refused(error: QueryError) -> Problem {
    let slug = error.kind.slug();
    let kind = ProblemType::from_slug(slug).unwrap_or(ProblemType::InvalidSearch);
    let problem = Problem::new(kind, error.detail());
    error.problems.into_iter().fold(problem, |problem, wrong| {
        let place = match wrong.place {
            ProblemPlace::Pointer(pointer) => Place::Pointer(pointer),
            ProblemPlace::Parameter(name) => Place::Parameter(name),
        };
        problem.at(place, wrong.detail)
    })
}
