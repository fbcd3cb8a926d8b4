//! Questions to many shards at once: searches, map views, suggestions.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use hexpop_edge_config::{NodeId, ShardId};
use hexpop_shard::{
    ClustersAnswer, Cursor, KeyRange, MapRequest, QueryError, ReadAnswer, ReadOp, SearchAnswer,
    SearchRequest, ShardDescriptor, ShardEpoch, ShardPart, ShardStamp, Space, SuggestRequest,
    SuggestionsAnswer, gather_clusters, gather_search, gather_suggestions, unfinished_clusters,
};
use openraft_rt::AsyncRuntime;

use crate::{
    ask::{Answered, Call, Missed, ReadTerms},
    consistency::{Given, Level, ReadPoint, with_token},
    error::{FieldPlace, Problem, RouteError},
    route::{cover, shards_of},
    router::{Answer, Context, Routed, Router},
};

/// How often one question follows a shard to what holds its keys by now.
const HOPS_MAX: u32 = 16;

/// What the shards answered.
struct Gathered<T> {
    parts: Vec<ShardPart<T>>,
    points: Vec<ReadPoint>,
    nodes: Vec<NodeId>,
    level: Level,
    /// Shards that did not answer; the first error stands for all.
    failed: Option<RouteError>,
    /// A shard does not hold everything of its range yet.
    incomplete: bool,
}

/// What one shard answered.
enum Part<T> {
    Answer(T),
    Incomplete,
}

impl<R: AsyncRuntime> Router<R> {
    /// Answers a search.
    ///
    /// # Errors
    /// 410 when the page before came from other ranges; 503 when no shard answered and the origin
    /// cannot be asked either.
    pub async fn search(
        &self,
        request: &SearchRequest,
        context: &Context,
    ) -> Result<Routed<SearchAnswer>, RouteError> {
        let call = self.call(context, self.options.read_timeout);
        let query = &request.query;
        let shards = self.shards(&query.filters.key_ranges())?;
        check_cursor(request.cursor.as_ref(), &shards)?;
        let op = ReadOp::Search(Box::new(query.clone()));
        let gathered = self
            .gather(shards, op, context, &call, |body| match body {
                ReadAnswer::Search(part) => Some(Part::Answer(*part)),
                ReadAnswer::Incomplete => Some(Part::Incomplete),
                _ => None,
            })
            .await;
        // A page that lacks a shard cannot be continued exactly.
        check_epochs(request.cursor.as_ref(), &gathered)?;
        let make = |parts, partial| Ok(gather_search(query, parts, partial));
        self.conclude(gathered, context, &call, make).await
    }

    /// Answers a map view.
    ///
    /// # Errors
    /// 422 when the answer would have more cells than the request allows; 503 when no shard answered and the origin cannot be asked either.
    pub async fn map_clusters(
        &self,
        request: &MapRequest,
        context: &Context,
    ) -> Result<Routed<ClustersAnswer>, RouteError> {
        let call = self.call(context, self.options.read_timeout);
        let mut query = request.query.clone();
        let gathered = loop {
            let shards = self.shards(&query.filters.key_ranges())?;
            let op = ReadOp::MapClusters(Box::new(query.clone()));
            let gathered = self
                .gather(shards, op, context, &call, |body| match body {
                    ReadAnswer::MapClusters(part) => Some(Part::Answer(part)),
                    ReadAnswer::Incomplete => Some(Part::Incomplete),
                    _ => None,
                })
                .await;
            match unfinished_clusters(&query, &gathered.parts) {
                Some(next) => query = next,
                None => break gathered,
            }
        };
        let make = |parts, partial| Ok(gather_clusters(&query, parts, partial)?);
        self.conclude(gathered, context, &call, make).await
    }

    /// Answers with places by prefix.
    ///
    /// # Errors
    /// 503 when no shard answered and the origin cannot be asked either.
    pub async fn suggest(
        &self,
        request: &SuggestRequest,
        context: &Context,
    ) -> Result<Routed<SuggestionsAnswer>, RouteError> {
        let call = self.call(context, self.options.read_timeout);
        let query = &request.query;
        let shards = self.shards(&[KeyRange::space(Space::Listings)])?;
        let gathered = self
            .gather(shards, ReadOp::Suggest(query.clone()), context, &call, |body| match body {
                ReadAnswer::Suggestions(part) => Some(Part::Answer(part)),
                ReadAnswer::Incomplete => Some(Part::Incomplete),
                _ => None,
            })
            .await;
        let make = |parts, _partial| Ok(gather_suggestions(query, parts));
        self.conclude(gathered, context, &call, make).await
    }

    /// Whether every listings shard says that it holds everything of its range.
    pub(crate) async fn is_complete(&self, call: &Call<R>) -> bool {
        let Ok(shards) = self.shards(&[KeyRange::space(Space::Listings)]) else { return false };
        let context = Context::default();
        let gathered = self
            .gather(shards, ReadOp::Counts, &context, call, |body| match body {
                ReadAnswer::Counts(stats) => Some(Part::Answer(stats)),
                _ => None,
            })
            .await;
        gathered.failed.is_none() && gathered.parts.iter().all(|part| part.answer.complete)
    }

    pub(crate) fn shards(&self, ranges: &[KeyRange]) -> Result<Vec<ShardDescriptor>, RouteError> {
        let map = self.asker.map();
        let shards = shards_of(&map, ranges);
        if shards.is_empty() { Err(RouteError::no_shard(&map)) } else { Ok(shards) }
    }

    /// Asks all shards at once, within one deadline.
    async fn gather<T: Send>(
        &self,
        shards: Vec<ShardDescriptor>,
        op: ReadOp,
        context: &Context,
        call: &Call<R>,
        pick: impl Fn(ReadAnswer) -> Option<Part<T>> + Copy + Send + Sync,
    ) -> Gathered<T> {
        let level = context.level.unwrap_or_default();
        let op = &op;
        let answers: Vec<Vec<Result<Answered<Part<T>>, RouteError>>> = stream::iter(shards)
            .map(|shard| self.ask_all_of(shard, op, context, call, pick))
            .buffer_unordered(self.options.fan_out_max)
            .collect()
            .await;
        let answers = answers.into_iter().flatten();
        let mut gathered = Gathered {
            parts: Vec::new(),
            points: Vec::new(),
            nodes: Vec::new(),
            level,
            failed: None,
            incomplete: false,
        };
        for answer in answers {
            gathered.add(answer);
        }
        gathered.points.sort_by_key(|point| point.shard);
        gathered
    }

    /// Asks a shard, and in its place whatever holds its keys by now.
    async fn ask_all_of<T: Send>(
        &self,
        shard: ShardDescriptor,
        op: &ReadOp,
        context: &Context,
        call: &Call<R>,
        pick: impl Fn(ReadAnswer) -> Option<Part<T>> + Copy + Send + Sync,
    ) -> Vec<Result<Answered<Part<T>>, RouteError>> {
        let (mut to_ask, mut answers, mut hops) = (vec![shard], Vec::new(), 0);
        while let Some(shard) = to_ask.pop() {
            let map = self.asker.map();
            let exists = |other: ShardId| map.get(other).is_some();
            let (token, level) = (context.token.as_ref(), context.level.unwrap_or_default());
            let (level, min_position) = with_token(level, token, shard.id, shard.epoch, exists);
            let terms = ReadTerms { level, min_position };
            match self.asker.read_part(&shard, terms, op, call).await {
                Ok(answered) => answers.push(answered.expect_body(pick)),
                Err(Missed::Error(error)) => answers.push(Err(error)),
                Err(Missed::Moved(newer)) => {
                    hops += 1;
                    match cover(&shard, &newer, &self.asker.map()) {
                        Some(parts) if hops <= HOPS_MAX => to_ask.extend(parts),
                        _ => {
                            let detail = format!("shard {} is changing its range", shard.id);
                            answers.push(Err(RouteError::new(Problem::ShardUnavailable, detail)));
                        }
                    }
                }
            }
        }
        answers
    }

    /// The whole answer, the origin's in its place, or the parts there are.
    async fn conclude<T, A>(
        &self,
        gathered: Gathered<T>,
        context: &Context,
        call: &Call<R>,
        make: impl FnOnce(Vec<ShardPart<T>>, bool) -> Result<A, RouteError>,
    ) -> Result<Routed<A>, RouteError> {
        let Gathered { parts, points, nodes, level, failed, incomplete } = gathered;
        let lacking = match (failed, incomplete) {
            (None, false) => None,
            (Some(error), _) => Some(error),
            (None, true) => Some(RouteError::new(
                Problem::ShardUnavailable,
                "a shard has not been loaded completely yet",
            )),
        };
        let partial = lacking.is_some();
        if let Some(error) = lacking {
            match self.ask_origin(context.fallback.as_ref(), error, call).await {
                // An origin without this interface does not answer in the mesh's place.
                Ok(response) if !matches!(response.status().as_u16(), 404 | 405 | 500..) => {
                    return Ok(Routed::Origin(response));
                }
                Err(error) if parts.is_empty() => return Err(error),
                Ok(_) if parts.is_empty() => {
                    let detail = "neither the shards nor the origin can answer this now";
                    return Err(RouteError::new(Problem::ShardUnavailable, detail));
                }
                Ok(_) | Err(_) => {}
            }
        }
        let given = Given { level, vector: points };
        let cache_status = self.status_of(nodes);
        Ok(Routed::Mesh(Answer { value: make(parts, partial)?, given, cache_status }))
    }
}

impl<T> Gathered<T> {
    fn add(&mut self, answer: Result<Answered<Part<T>>, RouteError>) {
        match answer {
            Ok(Answered { body: Part::Answer(answer), by, point, .. }) => {
                let stamp = ShardStamp {
                    id: point.shard,
                    epoch: point.epoch,
                    as_of: point.position,
                    staleness_ms: point.staleness_ms.unwrap_or_default(),
                };
                self.parts.push(ShardPart { stamp, answer });
                self.points.push(point);
                self.nodes.push(by);
            }
            Ok(Answered { body: Part::Incomplete, .. }) => self.incomplete = true,
            Err(error) => self.failed = Some(error),
        }
    }
}

/// A cursor continues only what is divided as it was.
fn check_cursor(cursor: Option<&Cursor>, shards: &[ShardDescriptor]) -> Result<(), RouteError> {
    let Some(cursor) = cursor else { return Ok(()) };
    let now: BTreeMap<ShardId, ShardEpoch> = shards
        .iter()
        .map(|shard| (shard.id, ShardEpoch { shard: shard.id, epoch: shard.epoch }))
        .collect();
    let same = cursor.same_ranges(&now.into_values().collect::<Vec<_>>());
    if same { Ok(()) } else { Err(RouteError::from(Cursor::expired())) }
}

/// The same of what the shards said themselves, whose epochs may be newer than the map's.
fn check_epochs<T>(cursor: Option<&Cursor>, gathered: &Gathered<T>) -> Result<(), RouteError> {
    let Some(cursor) = cursor else { return Ok(()) };
    let changed = gathered.points.iter().any(|point| {
        cursor
            .shards
            .iter()
            .any(|then| then.shard == point.shard && then.epoch.version != point.epoch.version)
    });
    if changed { Err(RouteError::from(Cursor::expired())) } else { Ok(()) }
}

impl From<QueryError> for RouteError {
    fn from(error: QueryError) -> Self {
        use hexpop_shard::{ProblemPlace, QueryErrorKind};
        let problem = match error.kind {
            QueryErrorKind::MalformedJson => Problem::MalformedJson,
            QueryErrorKind::InvalidSearch => Problem::InvalidSearch,
            QueryErrorKind::UnknownFilter => Problem::UnknownFilter,
            QueryErrorKind::FilterForbidden => Problem::FilterForbidden,
            QueryErrorKind::InvalidGeometry => Problem::InvalidGeometry,
            QueryErrorKind::InvalidCursor => Problem::InvalidCursor,
            QueryErrorKind::CursorExpired => Problem::CursorExpired,
        };
        let mut route = Self::new(problem, error.detail()).with_status(error.kind.status());
        for found in error.problems {
            let place = match found.place {
                ProblemPlace::Pointer(at) => FieldPlace::Pointer(at),
                ProblemPlace::Parameter(at) => FieldPlace::Parameter(at),
            };
            route = route.with_field(place, found.detail);
        }
        route
    }
}
