//! Questions to many shards at once: searches, map views, suggestions.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use hexpop_edge_config::{NodeId, ShardId};
use hexpop_shard::{
    ClustersAnswer, Cursor, Found, KeyRange, LogPosition, MapRequest, QueryError, Question,
    ReadAnswer, ReadOp, SearchAnswer, SearchRequest, ShardDescriptor, ShardEpoch, ShardPart,
    ShardStamp, Space, SuggestRequest, SuggestionsAnswer, gather_clusters, gather_search,
    gather_suggestions, hash_point, unfinished_clusters,
};
use openraft_rt::AsyncRuntime;

use crate::{
    ask::{Answered, Call, Missed, ReadTerms, random},
    consistency::{Given, Level, ReadPoint, with_token},
    error::{FieldPlace, Problem, RouteError},
    results::{self, PartKey, is_whole},
    retry::Retry,
    route::{self, cover, shards_of, with_news},
    router::{Answer, Context, Routed, Router, ShardTime},
};

/// How often one question follows a shard to what holds its keys by now.
const HOPS_MAX: u32 = 16;

/// How many shards are told of that the map does not have yet; a merge makes one.
const NEWS_MAX: usize = 64;

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
    /// When what the question looks at changed last, by shard and the version of its epoch.
    changes: Vec<(ShardId, u64, LogPosition)>,
    /// Whether no shard had to search: all said that what was kept of their answers holds.
    kept: bool,
    /// Whether no part lacks what another replica may have.
    whole: bool,
    times: Vec<ShardTime>,
}

/// What one shard answered.
enum Part {
    /// What it found, by what it said or by what was kept.
    Found {
        found: Arc<Found>,
        changed: LogPosition,
        kept: bool,
    },
    Incomplete,
}

/// One shard's answer, and how long it took.
type Asked = (Result<Answered<Part>, RouteError>, Duration);

/// What a shard, and whatever holds its keys by now, answered.
struct AskedAll<T> {
    answers: Vec<T>,
    /// One of them has been merged, or is about to be: the answers are no part of a whole.
    is_outgrown: bool,
    /// What they said holds their keys now, where that is more than was asked.
    news: Vec<ShardDescriptor>,
}

/// A question with the text that equal ones share.
struct Asking {
    question: Question,
    text: Arc<str>,
}

impl Asking {
    fn new(question: Question) -> Self {
        let text = question.canonical().into();
        Self { question, text }
    }
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
        let ranges = query.filters.key_ranges();
        let shards = self.shards(&ranges)?;
        check_cursor(request.cursor.as_ref(), &shards)?;
        let asking = Asking::new(Question::Search(Box::new(query.clone())));
        let gathered = self
            .gather((shards, &ranges), &asking, context, &call, |found| match found {
                Found::Search(part) => Some(part.as_ref().clone()),
                Found::MapClusters(_) | Found::Suggestions(_) => None,
            })
            .await;
        // A page that lacks a shard cannot be continued exactly.
        check_epochs(request.cursor.as_ref(), &gathered)?;
        let make = |parts, partial| Ok(gather_search(query, parts, partial));
        self.conclude(gathered, &asking, context, &call, make).await
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
        let mut asking = Asking::new(Question::MapClusters(Box::new(query.clone())));
        let gathered = loop {
            let ranges = query.filters.key_ranges();
            let shards = self.shards(&ranges)?;
            let gathered = self
                .gather((shards, &ranges), &asking, context, &call, |found| match found {
                    Found::MapClusters(part) => Some(part.clone()),
                    Found::Search(_) | Found::Suggestions(_) => None,
                })
                .await;
            match unfinished_clusters(&query, &gathered.parts) {
                Some(next) => query = next,
                None => break gathered,
            }
            asking = Asking::new(Question::MapClusters(Box::new(query.clone())));
        };
        let make = |parts, partial| Ok(gather_clusters(&query, parts, partial)?);
        self.conclude(gathered, &asking, context, &call, make).await
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
        let ranges = [KeyRange::space(Space::Listings)];
        let shards = self.shards(&ranges)?;
        let asking = Asking::new(Question::Suggest(query.clone()));
        let gathered = self
            .gather((shards, &ranges), &asking, context, &call, |found| match found {
                Found::Suggestions(part) => Some(part.clone()),
                Found::Search(_) | Found::MapClusters(_) => None,
            })
            .await;
        let make = |parts, _partial| Ok(gather_suggestions(query, parts));
        self.conclude(gathered, &asking, context, &call, make).await
    }

    /// Whether every listings shard says that it holds everything of its range.
    pub(crate) async fn is_complete(&self, call: &Call<R>) -> bool {
        let Ok(shards) = self.shards(&[KeyRange::space(Space::Listings)]) else { return false };
        let context = Context::default();
        let counts = stream::iter(shards)
            .map(|shard| self.ask_all_of(shard, |_shard| (ReadOp::Counts, ()), &context, call))
            .buffer_unordered(self.options.fan_out_max)
            .collect::<Vec<_>>()
            .await;
        counts.into_iter().flat_map(|asked| asked.answers).all(|((), answer, _took)| {
            matches!(answer, Ok(Answered { body: ReadAnswer::Counts(stats), .. }) if stats.complete)
        })
    }

    pub(crate) fn shards(&self, ranges: &[KeyRange]) -> Result<Vec<ShardDescriptor>, RouteError> {
        let map = self.asker.map();
        let shards = shards_of(&map, ranges);
        if shards.is_empty() { Err(RouteError::no_shard(&map)) } else { Ok(shards) }
    }

    /// Asks all shards that hold something of the ranges at once, within one deadline. Where one of them
    /// turns out to have been merged, all are asked anew: what the others answered may be part of it. What was said
    /// of it goes before the map, which may have it later.
    async fn gather<T>(
        &self,
        (mut shards, ranges): (Vec<ShardDescriptor>, &[KeyRange]),
        asking: &Asking,
        context: &Context,
        call: &Call<R>,
        pick: impl Fn(&Found) -> Option<T>,
    ) -> Gathered<T> {
        let level = context.level.unwrap_or_default();
        let mut retry = Retry::new(self.options.retry);
        let mut news: Vec<ShardDescriptor> = Vec::new();
        let answers = loop {
            let mut asked: Vec<AskedAll<Asked>> = stream::iter(shards)
                .map(|shard| self.ask_question(shard, asking, context, call))
                .buffer_unordered(self.options.fan_out_max)
                .collect()
                .await;
            let is_outgrown = asked.iter().any(|asked| asked.is_outgrown);
            if is_outgrown
                && retry.attempt()
                && call.deadline.sleep(retry.pause(random::<R>())).await
            {
                let told = asked.iter_mut().flat_map(|asked| std::mem::take(&mut asked.news));
                news.extend(told.take(NEWS_MAX.saturating_sub(news.len())));
                let now = with_news(&self.asker.map(), ranges, &news);
                if !now.is_empty() {
                    shards = now;
                    continue;
                }
            }
            break asked.into_iter().flat_map(|asked| asked.answers);
        };
        let mut gathered = Gathered {
            parts: Vec::new(),
            points: Vec::new(),
            nodes: Vec::new(),
            level,
            failed: None,
            incomplete: false,
            changes: Vec::new(),
            kept: true,
            whole: true,
            times: Vec::new(),
        };
        for answer in answers {
            gathered.add(answer, &pick);
        }
        gathered.points.sort_by_key(|point| point.shard);
        gathered.changes.sort_unstable();
        gathered
    }

    /// Asks a shard, and in its place whatever holds its keys by now, whether what is kept of its answer
    /// holds, and else for its answer.
    async fn ask_question(
        &self,
        shard: ShardDescriptor,
        asking: &Asking,
        context: &Context,
        call: &Call<R>,
    ) -> AskedAll<Asked> {
        let key = |shard, version| PartKey { shard, version, question: Arc::clone(&asking.text) };
        // What is kept goes along: until the shard answers it may be thrown out.
        let unless = |shard: &ShardDescriptor| {
            let version = shard.epoch.version;
            let kept = self.results.get(&key(shard.id, version));
            let unless = kept.as_ref().map(|part| part.changed);
            let op = ReadOp::Ask { question: asking.question.clone(), unless };
            (op, kept.map(|part| (version, part)))
        };
        let asked = self.ask_all_of(shard, unless, context, call).await;
        let part = |point: &ReadPoint, kept: Option<(u64, results::Part)>, body: ReadAnswer| {
            let version = point.epoch.version;
            Some(match body {
                ReadAnswer::Asked { changed, found: Some(found) } => {
                    let found = self.results.put(key(point.shard, version), changed, found);
                    Part::Found { found, changed, kept: false }
                }
                ReadAnswer::Asked { changed, found: None } => {
                    let (of, part) = kept?;
                    if (of, part.changed) != (version, changed) {
                        return None;
                    }
                    self.results.held();
                    Part::Found { found: part.found, changed, kept: true }
                }
                ReadAnswer::Incomplete => Part::Incomplete,
                _ => return None,
            })
        };
        let AskedAll { answers, is_outgrown, news } = asked;
        let answers = answers.into_iter().map(|(kept, answer, took)| {
            let answer = answer.and_then(|answered| {
                let point = answered.point;
                answered.expect_body(|body| part(&point, kept, body))
            });
            (answer, took)
        });
        AskedAll { answers: answers.collect(), is_outgrown, news }
    }

    /// Asks a shard, and in its place whatever holds its keys by now; with what `op` gives besides.
    async fn ask_all_of<K>(
        &self,
        shard: ShardDescriptor,
        op: impl Fn(&ShardDescriptor) -> (ReadOp, K),
        context: &Context,
        call: &Call<R>,
    ) -> AskedAll<(K, Result<Answered<ReadAnswer>, RouteError>, Duration)> {
        let (mut to_ask, mut answers, mut hops) = (vec![shard], Vec::new(), 0);
        let (mut is_outgrown, mut news) = (false, Vec::new());
        let mut retry = Retry::new(self.options.retry);
        while let Some(shard) = to_ask.pop() {
            let map = self.asker.map();
            let (token, level) = (context.token.as_ref(), context.level.unwrap_or_default());
            let (level, min_position) = with_token(level, token, shard.id, shard.epoch, &map);
            let terms = ReadTerms { level, min_position };
            let began = self.uptime.now();
            let (op, with) = op(&shard);
            let answer = self.asker.read_part(&shard, terms, &op, call).await;
            let took = self.uptime.now().saturating_sub(began);
            match answer {
                Ok(answered) => answers.push((with, Ok(answered), took)),
                Err(Missed::Error(error)) => answers.push((with, Err(error), took)),
                Err(Missed::Sealed(error)) => {
                    // It alone: the others need not search again while it waits to be absorbed, or not to be.
                    let is_there = self.asker.map().get(shard.id).is_some();
                    if is_there && self.asker.waits(&mut retry, call).await {
                        to_ask.push(shard);
                        continue;
                    }
                    is_outgrown = true;
                    answers.push((with, Err(error), took));
                }
                Err(Missed::Moved(newer)) => {
                    hops += 1;
                    if route::is_outgrown(&shard, &newer, &self.asker.map()) {
                        is_outgrown = true;
                        news.extend_from_slice(&newer);
                    }
                    match cover(&shard, &newer, &self.asker.map()) {
                        Some(parts) if hops <= HOPS_MAX => to_ask.extend(parts),
                        _ => {
                            let detail = format!("shard {} is changing its range", shard.id);
                            let error = RouteError::new(Problem::ShardUnavailable, detail);
                            answers.push((with, Err(error), took));
                        }
                    }
                }
            }
        }
        AskedAll { answers, is_outgrown, news }
    }

    /// The whole answer, the origin's in its place, or the parts there are.
    async fn conclude<T, A>(
        &self,
        gathered: Gathered<T>,
        asking: &Asking,
        context: &Context,
        call: &Call<R>,
        make: impl FnOnce(Vec<ShardPart<T>>, bool) -> Result<A, RouteError>,
    ) -> Result<Routed<A>, RouteError> {
        let validator = gathered.validator(&asking.text);
        let Gathered { parts, points, nodes, level, failed, incomplete, kept, times, .. } =
            gathered;
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
        let cache_status = self.status_of(nodes, kept);
        let value = make(parts, partial)?;
        let validator = validator.filter(|_| !partial);
        Ok(Routed::Mesh(Answer { value, given, cache_status, validator, times }))
    }
}

impl<T> Gathered<T> {
    fn add(&mut self, (answer, took): Asked, pick: impl Fn(&Found) -> Option<T>) {
        match answer {
            Ok(Answered { body: Part::Found { found, changed, kept }, by, point, .. }) => {
                let Some(answer) = pick(&found) else {
                    let detail = format!("shard {} gave an answer out of place", point.shard);
                    self.failed = Some(RouteError::new(Problem::ShardUnavailable, detail));
                    return;
                };
                let stamp = ShardStamp {
                    id: point.shard,
                    epoch: point.epoch,
                    as_of: point.position,
                    staleness_ms: point.staleness_ms.unwrap_or_default(),
                };
                self.kept &= kept;
                self.whole &= is_whole(&found);
                self.changes.push((point.shard, point.epoch.version, changed));
                self.times.push(ShardTime { shard: point.shard, node: by, took });
                self.parts.push(ShardPart { stamp, answer });
                self.points.push(point);
                self.nodes.push(by);
            }
            Ok(Answered { body: Part::Incomplete, .. }) => self.incomplete = true,
            Err(error) => self.failed = Some(error),
        }
    }

    /// What answers to one question have in common as long as nothing changed that it looks at.
    fn validator(&self, question: &str) -> Option<u64> {
        let mut text = question.to_owned();
        for (shard, version, changed) in &self.changes {
            // Writing into a string cannot fail.
            let _infallible = write!(text, " {shard}.{version}.{changed}");
        }
        self.whole.then(|| hash_point(text.as_bytes()))
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
    let is_same =
        |point: &ReadPoint| cursor.has(ShardEpoch { shard: point.shard, epoch: point.epoch });
    let changed = !gathered.points.iter().all(is_same);
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
