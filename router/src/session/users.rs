//! All that the mesh holds of one user.

use hexpop_shard::{KeyRange, ReadAnswer, ReadOp, SessionId, SessionPage, ShardDescriptor, Space};
use openraft_rt::AsyncRuntime;
use serde::Serialize;
use serde_json::value::RawValue;

use super::reply::SessionBody;
use crate::{
    ask::{Call, Place, ReadTerms},
    consistency::Level,
    error::{Problem, RouteError},
    route::shards_of,
    router::{Context, Router},
};

/// Bytes of sessions that a shard sends at a time.
const EXPORT_PAGE_BYTES: u64 = 1 << 20;

/// Sessions of an export at most.
const EXPORT_SESSIONS_MAX: usize = 100_000;

/// Everything that the mesh holds of a user.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserExport {
    /// The user.
    pub user_id: String,
    /// Their sessions, as `GET /api/v1/sessions/{id}` shows them.
    pub sessions: Vec<SessionBody<Box<RawValue>>>,
}

impl<R: AsyncRuntime> Router<R> {
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
                for stored in page.sessions {
                    let data = self.open(shard.id, &stored)?;
                    sessions.push(SessionBody::new(&stored.record.head, data));
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

    pub(super) fn session_shards(&self) -> Result<Vec<ShardDescriptor>, RouteError> {
        let map = self.asker.map();
        let shards = shards_of(&map, &[KeyRange::space(Space::Sessions)]);
        if shards.is_empty() { Err(RouteError::no_shard(&map)) } else { Ok(shards) }
    }
}
