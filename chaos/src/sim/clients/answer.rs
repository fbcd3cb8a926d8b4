//! Asks the router of a node, as its HTTP server would, and says what it answered.

use std::{sync::Arc, time::Duration};

use hexpop_router::{
    Context, NewSession, OriginState, Problem, RouteError, Routed, Router, SessionOrigin,
    SessionReply, Token, WriteOutcome, full,
};
use hexpop_shard::{SearchRequest, SearchRules};
use openraft_rt::AsyncRuntime;

use super::{Begun, Clients, ask::What, now_us};
use crate::{
    history::{Answer, Outcome, Position},
    sim::{node::WALL_BEGIN_MS, runtime::SimRuntime},
};

/// A session that lives for less than this ends soon, milliseconds.
const SOON_MS: u64 = 10_000;

/// The longest line of an ingest.
const LINE_BYTES_MAX: usize = 1 << 16;

/// What the node that was asked told.
pub(super) struct Told {
    pub(super) outcome: Outcome,
    pub(super) answer: Answer,
    pub(super) token: Option<Token>,
    /// The id of a session that the mesh named.
    pub(super) key: Option<String>,
}

impl Told {
    pub(super) fn of(outcome: Outcome) -> Self {
        Self { outcome, answer: Answer::default(), token: None, key: None }
    }
}

/// Asks the router of a node, as its HTTP server would.
pub(super) async fn carry_out(
    clients: &Clients,
    router: &Arc<Router<SimRuntime>>,
    what: What,
    context: Context,
) -> Told {
    match what {
        What::Create(territory, body, key) => {
            let new = NewSession { territory, body, idempotency_key: key.clone() };
            let reply = router.session_create(new, &context).await;
            if let (Some(key), Ok(reply)) = (&key, &reply) {
                let once = clients.checks.state.lock().once.answered(key, reply.head.version);
                clients.checks.take("one key makes one session", once);
                if reply.origin == SessionOrigin::Repeated {
                    clients.trace.count("creates-repeated", 1);
                }
            }
            session(reply, true)
        }
        What::Touch(key, from_ms) => touch(clients, router, &key, from_ms, &context).await,
        What::Put(key, body, condition) => {
            let (sliding, ttl_ms) = (body.sliding, body.ttl_ms);
            let reply = router.session_put(&key, body, condition, &context).await;
            if let Ok(reply) = &reply
                && sliding
                && ttl_ms < SOON_MS
            {
                clients.note_fading(&key, reply.head.expires_ms);
            }
            session(reply, true)
        }
        What::Read(key) => session(router.session_get(&key, &context).await, false),
        What::Delete(key, condition) => {
            match router.session_delete(&key, condition, &context).await {
                // A repeat is answered from a later entry than the one that deleted.
                Ok(token) => {
                    let told = answered(token);
                    Told { answer: Answer { position: None, ..told.answer }, ..told }
                }
                Err(error) => Told::of(outcome_of(&error, true)),
            }
        }
        What::Erase(user) => erase(clients, router, user, &context).await,
        What::Ingest(line) => {
            match router.ingest(full(line.into()), LINE_BYTES_MAX, &context).await {
                Ok(report) if report.accepted > 0 => Told::of(Outcome::Ok),
                // It may have been begun; and one that is ignored may have given way to a newer one
                // that was begun, and whose client has to repeat it.
                Ok(_) => Told::of(Outcome::Unknown),
                Err(error) => Told::of(outcome_of(&error, true)),
            }
        }
        What::ListingRead(key) => match router.get_listing(&key, &context).await {
            Ok(Routed::Mesh(found)) => {
                let json: serde_json::Value =
                    serde_json::from_slice(&found.value.json).unwrap_or_default();
                let text =
                    |name: &str| json.get(name).and_then(|it| it.as_str()).map(str::to_owned);
                let version = json.get("version").and_then(serde_json::Value::as_u64);
                let answer = Answer {
                    value: text("title"),
                    version: version.map(|version| version.to_string()),
                    ..Answer::default()
                };
                Told { answer, ..Told::of(Outcome::Ok) }
            }
            Ok(Routed::Origin(_)) => Told::of(Outcome::Refused),
            Err(error) => Told::of(outcome_of(&error, false)),
        },
        What::Search => search(clients, router, &context).await,
    }
}

async fn touch(
    clients: &Clients,
    router: &Arc<Router<SimRuntime>>,
    key: &str,
    from_ms: u64,
    context: &Context,
) -> Told {
    let now_ms = WALL_BEGIN_MS + now_us() / 1_000;
    SimRuntime::sleep(Duration::from_millis(from_ms.saturating_sub(now_ms).min(SOON_MS))).await;
    match router.session_touch(key, context).await {
        // A repeat is answered from a later entry than the one that renewed.
        Ok(token) => {
            clients.trace.count("sessions-renewed", 1);
            let told = answered(token);
            Told { answer: Answer { position: None, ..told.answer }, ..told }
        }
        Err(error) => Told::of(outcome_of(&error, true)),
    }
}

async fn erase(
    clients: &Clients,
    router: &Arc<Router<SimRuntime>>,
    user: String,
    context: &Context,
) -> Told {
    let start_us = now_us();
    match router.erase_user(&user, context).await {
        Ok(erasure) => {
            let is_complete = erasure.is_complete();
            if !is_complete || erasure.origin != OriginState::Told {
                clients.trace.count("erasures-left-open", 1);
            }
            let id = erasure.erasure_id.to_string();
            clients.erasures.lock().push(Begun { user, id, start_us });
            // What is pending is tried again for hours.
            Told::of(if is_complete { Outcome::Ok } else { Outcome::Unknown })
        }
        Err(error) => Told::of(outcome_of(&error, true)),
    }
}

async fn search(clients: &Clients, router: &Arc<Router<SimRuntime>>, context: &Context) -> Told {
    let json = br#"{"listingType":"sale","facets":["propertyTypes"]}"#;
    let Ok(request) = SearchRequest::from_json(json, &SearchRules::default()) else {
        return Told::of(Outcome::Refused);
    };
    match router.search(&request, context).await {
        Ok(Routed::Mesh(answer)) if !answer.value.partial => {
            let checked = clients.checks.state.lock().searches.answered(&answer.value);
            clients.checks.take("searches agree with their position", checked);
            clients.trace.count("searches-checked", 1);
            Told::of(Outcome::Ok)
        }
        Ok(_) => Told::of(Outcome::Refused),
        Err(error) => Told::of(outcome_of(&error, false)),
    }
}

fn answered(token: Token) -> Told {
    let answer = Answer {
        token: Some(token.encode()),
        position: Some(Position { shard: token.shard.0, index: token.position.index }),
        ..Answer::default()
    };
    Told { answer, token: Some(token), ..Told::of(Outcome::Ok) }
}

fn session(reply: Result<SessionReply, RouteError>, is_write: bool) -> Told {
    match reply {
        Ok(reply) => {
            let told = answered(reply.token);
            // The answer to a repeat names a later entry; the version is that of the one that wrote.
            let version = reply.head.version;
            let wrote = Position { shard: version.shard.0, index: version.index };
            let answer = Answer {
                position: if is_write { Some(wrote) } else { told.answer.position },
                value: (!is_write).then(|| reply.data.get().to_owned()),
                version: Some(reply.head.version.to_string()),
                created: is_write.then_some(reply.origin == SessionOrigin::Created),
                staleness_ms: reply.given.as_ref().and_then(|given| given.staleness_ms()),
                ..told.answer
            };
            Told { answer, key: Some(reply.head.id.as_str().to_owned()), ..told }
        }
        Err(error) => Told::of(outcome_of(&error, is_write)),
    }
}

/// What an error says about a request.
fn outcome_of(error: &RouteError, is_write: bool) -> Outcome {
    match (error.problem, error.outcome) {
        (Problem::NotFound | Problem::SessionExpired, _) => Outcome::NotFound,
        (Problem::PreconditionFailed, _) => Outcome::Conflict,
        (_, Some(WriteOutcome::NotApplied)) => Outcome::Refused,
        (_, Some(WriteOutcome::Unknown)) => Outcome::Unknown,
        (_, None) if is_write && error.status >= 500 => Outcome::Unknown,
        (_, None) => Outcome::Refused,
    }
}
