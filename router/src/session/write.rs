//! Writing sessions.

use hexpop_edge_config::Territory;
use hexpop_shard::{
    Condition, CreateSession, IdempotencyKey, Op, PutSession, RecordVersion, Reply, Sealed,
    SessionHead, SessionId, SessionLimits, SessionOp, SessionOutcome, SessionTouch, WrappedKey,
};
use openraft_rt::AsyncRuntime;
use rand::Rng;
use serde_json::value::RawValue;

use super::{SessionOrigin, SessionReply, parse_id, place_of, seal_at};
use crate::{
    ask::{Answered, Call},
    error::{Problem, RouteError, WriteOutcome},
    router::{Context, Router},
    token::{Token, base64url},
};

/// Random bytes of a session's id: 144 bits.
const ID_BYTES: usize = 18;

/// How often a value is sealed for one request.
const SEAL_ATTEMPTS: u32 = 3;

/// What a client asks for with `POST /api/v1/sessions`.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Where it belongs.
    pub territory: Territory,
    /// What it holds.
    pub body: PutBody,
    /// The value of `Idempotency-Key`: a repeat with the same one gets the first answer.
    pub idempotency_key: Option<String>,
}

/// What a session is to hold.
#[derive(Debug, Clone)]
pub struct PutBody {
    /// Its user.
    pub user: String,
    /// Its life in milliseconds.
    pub ttl_ms: u64,
    /// Whether reads renew it.
    pub sliding: bool,
    /// Its value: JSON text.
    pub data: Box<RawValue>,
    /// The limits it is held to.
    pub limits: SessionLimits,
}

impl<R: AsyncRuntime> Router<R> {
    /// Makes a session with a new id.
    ///
    /// # Errors
    /// 422 when the idempotency key was used with another body, 409 when its session was erased,
    /// 413 and 429 at the limits, 503.
    pub async fn session_create(
        &self,
        new: NewSession,
        context: &Context,
    ) -> Result<SessionReply, RouteError> {
        let call = self.call(context, self.options.write_timeout);
        let NewSession { territory, body, idempotency_key } = new;
        let (token, idempotency) = match &idempotency_key {
            None => (random_token::<R>(), None),
            Some(key) => {
                let digests = self.digests(&territory, &body, key)?;
                (digests.token, Some(digests.key))
            }
        };
        let id = SessionId::new(&territory, &token)
            .map_err(|error| RouteError::field("#/territory", error.to_string()))?;
        let PutBody { user, ttl_ms, sliding, data, limits } = body;
        let written = self.write_value(&id, &user, &data, &call, |sealed, key| {
            let (id, user) = (id.clone(), user.clone());
            let create =
                CreateSession { id, user, ttl_ms, sliding, sealed, key, idempotency, limits };
            SessionOp::Create(create)
        });
        let (outcome, token) = written.await?;
        match outcome {
            SessionOutcome::Created(head) => Ok(reply(SessionOrigin::Created, head, data, token)),
            SessionOutcome::Repeated(head) => Ok(reply(SessionOrigin::Repeated, head, data, token)),
            SessionOutcome::IdempotencyMismatch => Err(RouteError::new(
                Problem::IdempotencyMismatch,
                "this Idempotency-Key was used with another body",
            )),
            SessionOutcome::IdempotencyErased => Err(RouteError::new(
                Problem::IdempotencyConflict,
                "this Idempotency-Key belongs to a session that was erased",
            )),
            SessionOutcome::PreconditionFailed { .. } => Err(RouteError::new(
                Problem::IdempotencyConflict,
                "the id of this Idempotency-Key is taken by a session that was made otherwise",
            )),
            SessionOutcome::UserErased => Err(erased_since()),
            _ => Err(unexpected()),
        }
    }

    /// Replaces a session or makes it under an id that the client chose.
    ///
    /// # Errors
    /// 412 with the current version when the condition does not hold; 422 for what is no id.
    pub async fn session_put(
        &self,
        id: &str,
        body: PutBody,
        condition: Option<Condition>,
        context: &Context,
    ) -> Result<SessionReply, RouteError> {
        let call = self.call(context, self.options.write_timeout);
        let id: SessionId = id.parse().map_err(|error| {
            RouteError::new(Problem::InvalidRequest, format!("the id in the path: {error}"))
        })?;
        let PutBody { user, ttl_ms, sliding, data, limits } = body;
        let written = self.write_value(&id, &user, &data, &call, |sealed, key| {
            let (id, user) = (id.clone(), user.clone());
            SessionOp::Put(PutSession { id, user, ttl_ms, sliding, sealed, key, condition, limits })
        });
        let (outcome, token) = written.await?;
        match outcome {
            SessionOutcome::Created(head) => Ok(reply(SessionOrigin::Created, head, data, token)),
            SessionOutcome::Replaced(head) => Ok(reply(SessionOrigin::Replaced, head, data, token)),
            SessionOutcome::PreconditionFailed { current } => Err(precondition(current)),
            SessionOutcome::UserErased => Err(erased_since()),
            _ => Err(unexpected()),
        }
    }

    /// Removes a session.
    ///
    /// # Errors
    /// 404 when there is none, 412 when the condition does not hold.
    pub async fn session_delete(
        &self,
        id: &str,
        condition: Option<Condition>,
        context: &Context,
    ) -> Result<Token, RouteError> {
        let call = self.call(context, self.options.write_timeout);
        let id = parse_id(id)?;
        let op = SessionOp::Delete { id: id.clone(), condition };
        match self.write_session(&id, op, &call).await? {
            (SessionOutcome::Deleted, token) => Ok(token),
            (SessionOutcome::NotFound, _) => Err(RouteError::not_found("session with this id")),
            (SessionOutcome::PreconditionFailed { current }, _) => Err(precondition(current)),
            _ => Err(unexpected()),
        }
    }

    /// Renews a sliding session; any other is left as it is.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn session_touch(&self, id: &str, context: &Context) -> Result<Token, RouteError> {
        let call = self.call(context, self.options.write_timeout);
        let touch = SessionTouch { id: parse_id(id)?, at_ms: self.ports.clock.wall_ms() };
        match self.send_touch(touch, &call).await? {
            (SessionOutcome::Touched { found: 0 }, _) => {
                Err(RouteError::not_found("session with this id"))
            }
            (SessionOutcome::Touched { .. }, token) => Ok(token),
            _ => Err(unexpected()),
        }
    }

    pub(super) async fn send_touch(
        &self,
        touch: SessionTouch,
        call: &Call<R>,
    ) -> Result<(SessionOutcome, Token), RouteError> {
        let id = touch.id.clone();
        self.write_session(&id, SessionOp::Touch { touches: vec![touch] }, call).await
    }

    async fn write_session(
        &self,
        id: &SessionId,
        op: SessionOp,
        call: &Call<R>,
    ) -> Result<(SessionOutcome, Token), RouteError> {
        op.check().map_err(|refusal| crate::ask::refused(&refusal))?;
        let request = Some(self.request_id());
        let answered = self.asker.write(&place_of(id), request, Op::Session(op), call).await?;
        let token = answered.point.token();
        let Answered { body, .. } = answered;
        match body {
            Reply::Session(outcome) => Ok((outcome, token)),
            _ => Err(unexpected()),
        }
    }

    /// Seals a value and writes it. The key that the shard is believed to have may be gone with the
    /// last value under it; then another one goes along.
    async fn write_value(
        &self,
        id: &SessionId,
        user: &str,
        data: &RawValue,
        call: &Call<R>,
        op: impl Fn(Sealed, Option<WrappedKey>) -> SessionOp,
    ) -> Result<(SessionOutcome, Token), RouteError> {
        let map = self.asker.map();
        let shard = map.locate(&id.key()).map(|shard| shard.id).unwrap_or_default();
        let at = seal_at(shard, id, user);
        for _attempt in 0..SEAL_ATTEMPTS {
            let value = self.ports.sealer.seal(&at, data.get().as_bytes()).map_err(|error| {
                RouteError::new(Problem::ShardUnavailable, error.to_string())
                    .with_outcome(WriteOutcome::NotApplied)
            })?;
            let key_id = value.sealed.key_id;
            let written = self.write_session(id, op(value.sealed, value.key.clone()), call).await?;
            match (&written.0, &value.key) {
                (SessionOutcome::KeyUnknown, _) => self.ports.sealer.forget(&at, key_id),
                (SessionOutcome::Created(_) | SessionOutcome::Replaced(_), Some(key)) => {
                    self.ports.sealer.taken(&at, key);
                    return Ok(written);
                }
                _ => return Ok(written),
            }
        }
        let detail = "the shard took none of the keys that the value was sealed under; try again";
        Err(RouteError::new(Problem::ShardUnavailable, detail)
            .with_outcome(WriteOutcome::NotApplied))
    }

    /// What an idempotency key stands for: the id follows from user and key, so that repeats meet
    /// in one shard, and nobody can work out the id from the key.
    fn digests(
        &self,
        territory: &Territory,
        body: &PutBody,
        key: &str,
    ) -> Result<Digests, RouteError> {
        let mac = |parts: &[&[u8]]| {
            (self.ports.mac)(&framed(parts)).ok_or_else(|| {
                let detail = "this node has not learned the cluster's secret yet";
                RouteError::new(Problem::ShardUnavailable, detail)
                    .with_outcome(WriteOutcome::NotApplied)
            })
        };
        let user = body.user.as_bytes();
        let id = mac(&[b"session-id", user, key.as_bytes()])?;
        let digest_of_key = mac(&[b"idempotency-key", user, key.as_bytes()])?;
        let digest_of_body = mac(&[
            b"session-body",
            territory.to_string().as_bytes(),
            user,
            &body.ttl_ms.to_be_bytes(),
            &[u8::from(body.sliding)],
            body.data.get().as_bytes(),
        ])?;
        Ok(Digests {
            token: base64url(id.get(..ID_BYTES).unwrap_or(&id)),
            key: IdempotencyKey { key: digest_of_key, body: digest_of_body },
        })
    }
}

struct Digests {
    token: String,
    key: IdempotencyKey,
}

/// The parts with their lengths in front, so that no two lists of parts give the same bytes.
pub(super) fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

fn random_token<R: AsyncRuntime>() -> String {
    let mut bytes = [0; ID_BYTES];
    R::thread_rng().fill_bytes(&mut bytes);
    base64url(&bytes)
}

const fn reply(
    origin: SessionOrigin,
    head: SessionHead,
    data: Box<RawValue>,
    token: Token,
) -> SessionReply {
    SessionReply { origin, head, data, token, given: None, cache_status: None }
}

fn precondition(current: Option<RecordVersion>) -> RouteError {
    let detail = match current {
        Some(version) => format!("the session has version {version}"),
        None => "there is no such session".to_owned(),
    };
    RouteError {
        current_version: current.map(|version| version.to_string()),
        ..RouteError::new(Problem::PreconditionFailed, detail)
    }
}

/// The write was applied, and what it wrote was erased before the answer came through. No 4xx: others
/// may have read it meanwhile.
fn erased_since() -> RouteError {
    let detail = "the session was written, and its user was erased since";
    RouteError::new(Problem::ShardUnavailable, detail).with_outcome(WriteOutcome::Unknown)
}

fn unexpected() -> RouteError {
    // What it answered is not logged: it names a user.
    tracing::error!("a sessions shard answered out of place");
    RouteError::new(Problem::ShardUnavailable, "the shard gave an answer out of place")
        .with_outcome(WriteOutcome::Unknown)
}
