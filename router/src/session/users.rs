//! All that the mesh holds of one user: erased, exported.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use hexpop_edge_config::RequestId;
use hexpop_shard::{
    KeyRange, Op, ReadAnswer, ReadOp, Reply, SessionId, SessionOp, SessionOutcome, SessionPage,
    ShardDescriptor, Space,
};
use http::{HeaderValue, Method, Request, header};
use openraft_rt::AsyncRuntime;
use serde::Serialize;
use serde_json::Value;

use super::reply::session_json;
use crate::{
    ask::{Call, Place, ReadTerms, refused},
    breakers::Class,
    cache::full,
    consistency::Level,
    deadline::Deadline,
    error::{Problem, RouteError},
    retry::{Retry, RetryPolicy},
    route::shards_of,
    router::{Context, Router},
};

/// How often what could not be erased is tried again behind the answer: with pauses up to a minute
/// this is about two hours.
const REPEATS: RetryPolicy = RetryPolicy {
    attempts_max: 120,
    backoff_first: Duration::from_secs(1),
    backoff_max: Duration::from_mins(1),
};

/// Bytes of sessions that a shard sends at a time.
const EXPORT_PAGE_BYTES: u64 = 1 << 20;

/// Sessions of an export at most.
const EXPORT_SESSIONS_MAX: usize = 100_000;

/// What stands for the shards that hold more than one territory.
const ELSEWHERE: &str = "*";

/// What became of the sessions of a territory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ErasureState {
    /// Nothing is left, durably.
    Erased,
    /// It could not be reached; it is tried again.
    Pending,
}

/// Whether the origin knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginState {
    /// It was told.
    Told,
    /// It could not be told; it is tried again.
    Pending,
}

/// One territory of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErasedTerritory {
    /// The territory, or `*` for all those that have no shard of their own.
    pub territory: String,
    /// How far it is.
    pub state: ErasureState,
    /// Sessions removed.
    pub sessions: u64,
}

/// What became of a user's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    /// The user.
    pub user_id: String,
    /// By territory.
    pub territories: Vec<ErasedTerritory>,
    /// Whether the origin knows.
    pub origin: OriginState,
}

impl Erasure {
    /// Whether every shard has confirmed: 200, else 202.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.territories.iter().all(|territory| territory.state == ErasureState::Erased)
    }
}

/// Everything that the mesh holds of a user.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserExport {
    /// The user.
    pub user_id: String,
    /// Their sessions, as `GET /api/v1/sessions/{id}` shows them.
    pub sessions: Vec<Value>,
}

/// One shard's part of an erasure.
#[derive(Debug)]
struct Part {
    shard: ShardDescriptor,
    request: RequestId,
    erased: Option<u64>,
}

impl<R: AsyncRuntime> Router<R> {
    /// Erases all sessions of a user in every territory, then tells the origin. What cannot be
    /// reached now is tried again for about two hours, as long as this node runs.
    ///
    /// # Errors
    /// 422 for what is no user id; 503 while the node has no shard map. Anything else is part of
    /// the answer.
    pub async fn erase_user(
        self: &Arc<Self>,
        user: &str,
        context: &Context,
    ) -> Result<Erasure, RouteError> {
        let op = SessionOp::EraseUser { user: user.to_owned() };
        op.check().map_err(|refusal| refused(&refusal))?;
        let call = self.call(context, self.options.write_timeout);
        let mut parts: Vec<Part> = self
            .session_shards()?
            .into_iter()
            .map(|shard| Part { shard, request: self.request_id(), erased: None })
            .collect();
        self.erase_in(&mut parts, user, &call).await;
        let told = self.tell_origin(user, &call).await;
        let erasure = report(user, &parts, told);
        if !(told && erasure.is_complete()) {
            self.erase_later(parts, user.to_owned(), told);
        }
        Ok(erasure)
    }

    /// Everything that the mesh holds of a user, read at `strong`.
    ///
    /// # Errors
    /// 503 when a shard cannot answer: an export is whole or none. 413 beyond 100,000 sessions.
    pub async fn export_user(
        &self,
        user: &str,
        context: &Context,
    ) -> Result<UserExport, RouteError> {
        let call = self.call(context, self.options.write_timeout);
        let mut sessions = Vec::new();
        for shard in self.session_shards()? {
            let mut after = None;
            loop {
                let page = self.sessions_page(&shard, user, after, &call).await?;
                for record in page.sessions {
                    let data = self.open(&record)?;
                    sessions.push(session_json(&record.head, &data));
                }
                if sessions.len() > EXPORT_SESSIONS_MAX {
                    let detail = format!("the user has more than {EXPORT_SESSIONS_MAX} sessions");
                    return Err(RouteError::new(Problem::TooLarge, detail));
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(UserExport { user_id: user.to_owned(), sessions })
    }

    async fn sessions_page(
        &self,
        shard: &ShardDescriptor,
        user: &str,
        after: Option<SessionId>,
        call: &Call<R>,
    ) -> Result<SessionPage, RouteError> {
        let op = ReadOp::SessionsOf { user: user.to_owned(), after, max_bytes: EXPORT_PAGE_BYTES };
        let place = Place::Shard(shard.clone());
        let answered = self.asker.read(&place, ReadTerms::at(Level::Strong), op, call).await?;
        let answered = answered.expect_body(|body| match body {
            ReadAnswer::Sessions(page) => Some(page),
            _ => None,
        })?;
        Ok(answered.body)
    }

    fn session_shards(&self) -> Result<Vec<ShardDescriptor>, RouteError> {
        let map = self.asker.map();
        let shards = shards_of(&map, &[KeyRange::space(Space::Sessions)]);
        if shards.is_empty() { Err(RouteError::no_shard(&map)) } else { Ok(shards) }
    }

    /// Erases where it has not been confirmed yet.
    async fn erase_in(&self, parts: &mut [Part], user: &str, call: &Call<R>) {
        let pending = parts.iter().enumerate().filter(|(_, part)| part.erased.is_none());
        let asked: Vec<BoxFuture<'_, (usize, Option<u64>)>> = pending
            .map(|(at, part)| {
                let place = Place::Shard(part.shard.clone());
                self.erase_in_shard(at, place, part.request, user, call).boxed()
            })
            .collect();
        let erased: Vec<(usize, Option<u64>)> =
            stream::iter(asked).buffer_unordered(self.options.fan_out_max).collect().await;
        for (at, erased) in erased {
            if let Some(part) = parts.get_mut(at) {
                part.erased = erased;
            }
        }
    }

    async fn erase_in_shard(
        &self,
        at: usize,
        place: Place,
        request: RequestId,
        user: &str,
        call: &Call<R>,
    ) -> (usize, Option<u64>) {
        let op = Op::Session(SessionOp::EraseUser { user: user.to_owned() });
        let answered = self.asker.write(&place, Some(request), op, call).await;
        match answered.map(|answered| answered.body) {
            Ok(Reply::Session(SessionOutcome::Erased { sessions })) => {
                (at, Some(u64::from(sessions)))
            }
            _ => (at, None),
        }
    }

    async fn tell_origin(&self, user: &str, call: &Call<R>) -> bool {
        let body = serde_json::json!({ "userId": user }).to_string();
        let mut request = Request::new(full(body.into()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static("/edge/v1/erasures");
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        let deadline = call.deadline.at_most(self.options.cache.origin_timeout);
        self.origin
            .fetch(Class::Fallback, request, deadline)
            .await
            .is_ok_and(|response| response.status().is_success())
    }

    fn erase_later(self: &Arc<Self>, mut parts: Vec<Part>, user: String, mut told: bool) {
        let this = Arc::clone(self);
        drop(R::spawn(async move {
            let mut retry = Retry::new(REPEATS);
            while retry.attempt() {
                let pause = retry.pause(crate::ask::random::<R>());
                R::sleep(pause).await;
                let call = Call::new(Deadline::after(this.options.write_timeout), None);
                this.erase_in(&mut parts, &user, &call).await;
                told = told || this.tell_origin(&user, &call).await;
                if told && parts.iter().all(|part| part.erased.is_some()) {
                    return;
                }
            }
            tracing::error!("an erasure could not be completed; it has to be asked for again");
        }));
    }
}

fn report(user: &str, parts: &[Part], told: bool) -> Erasure {
    let mut territories: BTreeMap<String, (ErasureState, u64)> = BTreeMap::new();
    for part in parts {
        let territory = part.shard.range.single_territory();
        let name =
            territory.map_or_else(|| ELSEWHERE.to_owned(), |territory| territory.to_string());
        let entry = territories.entry(name).or_insert((ErasureState::Erased, 0));
        match part.erased {
            Some(sessions) => entry.1 += sessions,
            None => entry.0 = ErasureState::Pending,
        }
    }
    Erasure {
        user_id: user.to_owned(),
        territories: territories
            .into_iter()
            .map(|(territory, (state, sessions))| ErasedTerritory { territory, state, sessions })
            .collect(),
        origin: if told { OriginState::Told } else { OriginState::Pending },
    }
}
