//! Reading a session.

use std::sync::Arc;

use hexpop_edge_config::ShardId;
use hexpop_shard::{Op, ReadAnswer, ReadOp, SessionId, SessionRecord, SessionTouch, StoredSession};
use openraft_rt::AsyncRuntime;
use serde_json::value::RawValue;

use super::{SessionOrigin, SessionReply, parse_id, place_of, seal_at};
use crate::{
    ask::{Answered, Call, ReadTerms},
    consistency::{Given, Level, with_token},
    error::{Problem, RouteError},
    port::SealError,
    router::{Context, Router},
};

impl<R: AsyncRuntime> Router<R> {
    /// Reads a session; `strong` unless asked otherwise. Reading a sliding session renews it.
    ///
    /// # Errors
    /// 404 when there is none, and when it has expired: that is answered only once the end of the
    /// session is in the log.
    pub async fn session_get(
        self: &Arc<Self>,
        id: &str,
        context: &Context,
    ) -> Result<SessionReply, RouteError> {
        let id = parse_id(id)?;
        let call = self.call(context, self.options.read_timeout);
        let terms = self.session_terms(&id, context);
        let mut answered = self.read_session(&id, terms, &call).await?;
        let absent = || RouteError::not_found("session with this id");
        let mut stored = answered.body.take().ok_or_else(absent)?;
        if stored.record.head.expires_ms <= self.ports.clock.wall_ms() {
            // Late on this clock; whether it has ended is for the log to say.
            self.asker.write(&place_of(&id), None, Op::Tick, &call).await.map_err(|error| {
                // Moving time on is no write of the client's.
                RouteError { outcome: None, ..error }
            })?;
            answered = self.read_session(&id, ReadTerms::at(Level::Strong), &call).await?;
            let ended = || RouteError::new(Problem::SessionExpired, "the session has expired");
            stored = answered.body.take().ok_or_else(ended)?;
        }
        let data = self.open(answered.point.shard, &stored)?;
        let record = stored.record;
        self.touch_later(&record);
        let answer = self.answer_of(&answered, ());
        Ok(SessionReply {
            origin: SessionOrigin::Read,
            head: record.head,
            data,
            token: answered.point.token(),
            given: Some(Given { level: answered.level, vector: vec![answered.point] }),
            cache_status: Some(answer.cache_status),
        })
    }

    fn session_terms(&self, id: &SessionId, context: &Context) -> ReadTerms {
        let level = context.level.unwrap_or(Level::Strong);
        let map = self.asker.map();
        let Some(shard) = map.locate(&id.key()) else { return ReadTerms::at(level) };
        let (level, min_position) =
            with_token(level, context.token.as_ref(), shard.id, shard.epoch, &map);
        ReadTerms { level, min_position }
    }

    async fn read_session(
        &self,
        id: &SessionId,
        terms: ReadTerms,
        call: &Call<R>,
    ) -> Result<Answered<Option<StoredSession>>, RouteError> {
        let op = ReadOp::Session { id: id.clone() };
        let answered = self.asker.read(&place_of(id), terms, op, call).await?;
        answered.expect_body(|body| match body {
            ReadAnswer::Session(stored) => Some(stored.map(|stored| *stored)),
            _ => None,
        })
    }

    /// The clear value of a session.
    pub(super) fn open(
        &self,
        shard: ShardId,
        stored: &StoredSession,
    ) -> Result<Box<RawValue>, RouteError> {
        let head = &stored.record.head;
        let at = seal_at(shard, &head.id, &head.user);
        let unreadable = |detail: String| {
            tracing::error!(%shard, detail, "a stored session value cannot be read");
            RouteError::new(Problem::ShardUnavailable, detail)
        };
        let Some(key) = &stored.key else {
            return Err(unreadable("the key of the session's value was destroyed".to_owned()));
        };
        let clear = match self.ports.sealer.open(&at, &stored.record.sealed, key) {
            Ok(clear) => clear,
            Err(SealError::NoKey(detail)) => {
                return Err(RouteError::new(Problem::ShardUnavailable, detail));
            }
            Err(error @ SealError::Altered) => return Err(unreadable(error.to_string())),
        };
        let no_json = || unreadable("the session's value is no JSON".to_owned());
        let text = String::from_utf8(clear).map_err(|_not_text| no_json())?;
        RawValue::from_string(text).map_err(|_no_json| no_json())
    }

    /// Renews a sliding session behind the answer, at most once per tenth of its life.
    fn touch_later(self: &Arc<Self>, record: &SessionRecord) {
        let now_ms = self.ports.clock.wall_ms();
        if !super::touch::is_due(&record.head, now_ms) {
            return;
        }
        let Some(slot) = self.touches.begin(&record.head.id) else { return };
        let this = Arc::clone(self);
        let touch = SessionTouch { id: record.head.id.clone(), at_ms: now_ms };
        drop(R::spawn(async move {
            let call = Call::own(this.options.write_timeout);
            if let Err(error) = this.send_touch(touch, &call).await {
                tracing::debug!(%error, "a session was not renewed");
            }
            drop(slot);
        }));
    }
}
