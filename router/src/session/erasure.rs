//! Erasing a user everywhere, and telling how far that is.
//!
//! Every sessions shard is asked, whatever this node knows to be in it. Where some do not answer, a
//! note of what is left to do goes, sealed, into the log of one that did; whoever leads that shard
//! goes on ([`follow`](super::follow)) until all have confirmed. The disks follow by themselves: each
//! replica rids its own of what was erased and says so in its shard.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    ask::{Call, Place, ReadTerms, refused},
    breakers::Class,
    cache::full,
    consistency::Level,
    error::{Problem, RouteError, WriteOutcome},
    port::{SealAt, SealError},
    router::{Context, Router},
    session::{
        receipt::{DiskState, ErasedReplica, ErasedShard, ErasedTerritory, Erasure, ErasureState},
        write::framed,
    },
};
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, join},
    stream,
};
use hexpop_edge_config::{NodeId, RaftId, RequestId, ShardId};
use hexpop_shard::{
    ErasureId, ErasureNote, ErasureView, Op, OriginAnswer, ReadAnswer, ReadOp, Reply, Sealed,
    SessionOp, SessionOutcome, ShardDescriptor, WrappedKey,
};
use http::{HeaderValue, Method, Request, header};
use openraft_rt::AsyncRuntime;
use rand::Rng;

/// What stands for the shards that hold more than one territory.
const ELSEWHERE: &str = "*";

/// What is to be erased: the same in every shard and repeat.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) user: &'a str,
    pub(super) id: ErasureId,
    /// When it was begun, by the clock of the node that did.
    pub(super) begun_ms: u64,
}

impl Wanted<'_> {
    /// `may_hold` = whether there may be something of the user.
    fn op(self, may_hold: bool) -> SessionOp {
        let Self { user, id: erasure, begun_ms } = self;
        if may_hold {
            SessionOp::EraseUser { user: user.to_owned(), erasure, begun_ms }
        } else {
            SessionOp::EraseNothing { erasure, begun_ms }
        }
    }
}

/// One shard's part of an erasure.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) shard: ShardDescriptor,
    request: RequestId,
    /// What the shard says of it; `None` = it said nothing.
    view: Option<ErasureView>,
}

impl Part {
    pub(super) fn erased(&self) -> Option<(u64, u64)> {
        let erased = self.view.as_ref()?.erased?;
        Some((erased.index, u64::from(erased.sessions)))
    }

    fn disk_of(&self, raft: RaftId) -> DiskState {
        let (Some(view), Some((index, _))) = (&self.view, self.erased()) else {
            return DiskState::Pending;
        };
        // The map may know less than the shard.
        if view.left.iter().any(|(left, _)| *left == raft) {
            return DiskState::Unconfirmed;
        }
        if index == 0 {
            return DiskState::Compacted;
        }
        let rid = view.compacted.iter().any(|(found, upto)| *found == raft && *upto >= index);
        if rid { DiskState::Compacted } else { DiskState::Pending }
    }

    fn report(&self) -> ErasedShard {
        let replicas = self.shard.replicas.iter();
        let state = match self.erased() {
            Some(_) => ErasureState::Erased,
            None => ErasureState::Pending,
        };
        let replicas = replicas
            .map(|replica| ErasedReplica { node: replica.node, disk: self.disk_of(replica.raft) })
            .chain(self.left())
            .collect();
        ErasedShard { shard: self.shard.id, state, replicas }
    }

    /// Replicas that left the shard and have not said that nothing of it is on their disks.
    fn left(&self) -> impl Iterator<Item = ErasedReplica> + '_ {
        let view = self.view.as_ref().filter(|_view| self.erased().is_some());
        let left = view.into_iter().flat_map(|view| &view.left);
        let is_listed = |raft| self.shard.replicas.iter().any(|replica| replica.raft == raft);
        left.filter(move |(raft, _)| !is_listed(*raft))
            .map(|(_, node)| ErasedReplica { node: *node, disk: DiskState::Unconfirmed })
    }
}

impl<R: AsyncRuntime> Router<R> {
    /// Erases all sessions of a user in every territory, then tells the origin. What cannot be
    /// reached now is tried again until all have confirmed, whichever nodes live on; for 30 days,
    /// since a shard cannot tell after that what it has erased from what was made later.
    ///
    /// # Errors
    /// 422 for what is no user id; 503 while the node has no shard map, and when so little can be
    /// reached that the mesh could not keep what is left to do in mind. Anything else is part of the
    /// answer.
    pub async fn erase_user(
        self: &Arc<Self>,
        user: &str,
        context: &Context,
    ) -> Result<Erasure, RouteError> {
        let mut nonce = [0; 8];
        R::thread_rng().fill_bytes(&mut nonce);
        let id = self.erasure_id(user, nonce).ok_or_else(no_secret)?;
        let wanted = Wanted { user, id, begun_ms: self.ports.clock.wall_ms() };
        wanted.op(true).check().map_err(|refusal| refused(&refusal))?;
        let call = self.call(context, self.options.write_timeout);
        let mut parts = self.parts()?;
        // At the same time: a shard that does not answer takes no time from the origin.
        let (_everywhere, origin) =
            join(self.erase_in(&mut parts, wanted, &call), self.tell_origin(user, &call)).await;
        let erasure = report(id, user, &parts, origin);
        if !(origin == OriginAnswer::Told && erasure.is_complete()) {
            self.keep_note(&parts, wanted, origin, context).await?;
        }
        Ok(erasure)
    }

    /// The id of an erasure: random, and bound to the user, so that whoever may ask for a user's receipts
    /// gets no other user's. `None` while the node has not learned the cluster's secret.
    fn erasure_id(&self, user: &str, nonce: [u8; 8]) -> Option<ErasureId> {
        let mac = (self.ports.mac)(&framed(&[b"erasure", &nonce, user.as_bytes()]))?;
        let (tag, _) = mac.split_first_chunk::<8>()?;
        let bytes =
            u128::from(u64::from_be_bytes(nonce)) << 64 | u128::from(u64::from_be_bytes(*tag));
        Some(ErasureId(bytes.to_be_bytes()))
    }

    /// How far an erasure of a user is, read at `strong`: a shard that cannot be asked counts as
    /// pending.
    ///
    /// # Errors
    /// 404 when no shard knows of it: there was none of this user, or it is over for 30 days.
    pub async fn erasure(
        &self,
        user: &str,
        id: &str,
        context: &Context,
    ) -> Result<Erasure, RouteError> {
        let unknown = || RouteError::not_found("erasure with this id");
        let id: ErasureId = id.parse().map_err(|_no_id| unknown())?;
        let (nonce, _) = id.0.split_first_chunk::<8>().ok_or_else(unknown)?;
        if self.erasure_id(user, *nonce).ok_or_else(no_secret)? != id {
            return Err(unknown());
        }
        let call = self.call(context, self.options.write_timeout);
        let mut parts = self.parts()?;
        self.look_in(&mut parts, id, Level::Strong, &call).await;
        let views = || parts.iter().filter_map(|part| part.view.as_ref());
        let open: Vec<OriginAnswer> = views().filter_map(|view| view.open).collect();
        if open.is_empty() && views().all(|view| view.erased.is_none()) {
            let all_said_so = parts.iter().all(|part| part.view.is_some());
            let detail = "the shards that would know of the erasure cannot be asked now";
            let unavailable = || RouteError::new(Problem::ShardUnavailable, detail);
            return Err(if all_said_so { unknown() } else { unavailable() });
        }
        // Without a note nothing was left to do; but it may be where nobody answers.
        let all_answered = parts.iter().all(|part| part.view.is_some());
        let without = if all_answered { OriginAnswer::Told } else { OriginAnswer::Pending };
        let origin = open.into_iter().max().unwrap_or(without);
        Ok(report(id, user, &parts, origin))
    }

    /// The part of every sessions shard there is.
    pub(super) fn parts(&self) -> Result<Vec<Part>, RouteError> {
        let shards = self.session_shards()?.into_iter();
        Ok(shards.map(|shard| Part { shard, request: self.request_id(), view: None }).collect())
    }

    /// Erases where it has not been confirmed yet; answers whether it is everywhere.
    pub(super) async fn erase_in(
        &self,
        parts: &mut [Part],
        wanted: Wanted<'_>,
        call: &Call<R>,
    ) -> bool {
        let asked = parts.iter().enumerate().filter(|(_, part)| part.erased().is_none());
        let asked: Vec<_> = asked
            .map(|(at, part)| {
                let (place, request) = (Place::Shard(part.shard.clone()), part.request);
                async move { (at, self.erase_in_shard(place, request, wanted, call).await) }.boxed()
            })
            .collect();
        self.take_views(parts, asked).await;
        parts.iter().all(|part| part.erased().is_some())
    }

    /// Asks every shard what it knows of an erasure.
    pub(super) async fn look_in(
        &self,
        parts: &mut [Part],
        id: ErasureId,
        level: Level,
        call: &Call<R>,
    ) {
        let asked: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(at, part)| {
                let place = Place::Shard(part.shard.clone());
                async move {
                    let op = ReadOp::Erasure { id };
                    let answer = self.asker.read(&place, ReadTerms::at(level), op, call).await;
                    let view = answer.ok().and_then(|answered| match answered.body {
                        ReadAnswer::Erasure(view) => Some(view),
                        _ => None,
                    });
                    (at, view)
                }
                .boxed()
            })
            .collect();
        self.take_views(parts, asked).await;
    }

    async fn take_views(
        &self,
        parts: &mut [Part],
        asked: Vec<BoxFuture<'_, (usize, Option<ErasureView>)>>,
    ) {
        let views: Vec<(usize, Option<ErasureView>)> =
            stream::iter(asked).buffer_unordered(self.options.fan_out_max).collect().await;
        for (at, view) in views {
            if let Some(part) = parts.get_mut(at) {
                part.view = view;
            }
        }
    }

    async fn erase_in_shard(
        &self,
        place: Place,
        request: RequestId,
        wanted: Wanted<'_>,
        call: &Call<R>,
    ) -> Option<ErasureView> {
        // Asked first, so that no log gets to name a user of whom nothing is there, and no disk has to be
        // rid of that. What is written between the two came after the erasure.
        let (may_hold, left) = self.may_hold(&place, wanted.user, call).await?;
        let op = Op::Session(wanted.op(may_hold));
        let answered = self.asker.write(&place, Some(request), op, call).await.ok()?;
        let Reply::Session(SessionOutcome::Erased { sessions, index }) = answered.body else {
            return None;
        };
        let at_ms = self.ports.clock.wall_ms();
        let erased = Some(hexpop_shard::ErasedHere { index, sessions, at_ms });
        Some(ErasureView { erased, left, ..ErasureView::default() })
    }

    /// Whether a shard has anything of a user, or disks of its replicas may, and which replicas left it;
    /// `None` = it does not say.
    async fn may_hold(
        &self,
        place: &Place,
        user: &str,
        call: &Call<R>,
    ) -> Option<(bool, Vec<(RaftId, NodeId)>)> {
        let op = ReadOp::MayHoldUser { user: user.to_owned() };
        let answered = self.asker.read(place, ReadTerms::at(Level::Strong), op, call).await.ok()?;
        match answered.body {
            ReadAnswer::MayHoldUser { may_hold, left } => Some((may_hold, left)),
            _ => None,
        }
    }

    /// Leaves what is left to do in a shard that answered: first where the user had something, since
    /// the user's id may be there.
    async fn keep_note(
        &self,
        parts: &[Part],
        wanted: Wanted<'_>,
        origin: OriginAnswer,
        context: &Context,
    ) -> Result<(), RouteError> {
        let call = self.call(context, self.options.write_timeout);
        let mut reached: Vec<_> =
            parts.iter().filter_map(|part| Some((part.erased()?.1, &part.shard))).collect();
        reached.sort_by_key(|(sessions, shard)| (std::cmp::Reverse(*sessions), shard.id));
        let erased: BTreeSet<ShardId> = reached.iter().map(|(_, shard)| shard.id).collect();
        let mut why = "no shard that could keep the rest in mind was reached".to_owned();
        for (_, shard) in reached {
            let note = match self.seal_note(shard, wanted) {
                Ok((sealed, key)) => {
                    let (erased, begun_ms) = (erased.clone(), wanted.begun_ms);
                    ErasureNote { sealed, key, begun_ms, erased, origin }
                }
                Err(error) => {
                    why = error.to_string();
                    continue;
                }
            };
            let op = SessionOp::KeepErasure { erasure: wanted.id, note };
            match self.write_note(shard, op, &call).await {
                Ok(()) => return Ok(()),
                Err(error) => why = error.to_string(),
            }
        }
        let detail = format!("the erasure is not complete, and has to be asked for again: {why}");
        Err(RouteError::new(Problem::ShardUnavailable, detail).with_outcome(WriteOutcome::Unknown))
    }

    /// What only the note's own shard can be asked to open: whose erasure it is.
    fn seal_note(
        &self,
        shard: &ShardDescriptor,
        wanted: Wanted<'_>,
    ) -> Result<(Sealed, WrappedKey), SealError> {
        let (territory, name) = (shard.range.single_territory(), note_name(wanted.id));
        let at = note_at(shard.id, territory.as_ref(), &name);
        let value = self.ports.sealer.seal(&at, wanted.user.as_bytes())?;
        let key = value.key.ok_or(SealError::Altered)?;
        Ok((value.sealed, key))
    }

    pub(super) async fn write_note(
        &self,
        shard: &ShardDescriptor,
        op: SessionOp,
        call: &Call<R>,
    ) -> Result<(), RouteError> {
        let place = Place::Shard(shard.clone());
        let answered = self.asker.write(&place, None, Op::Session(op), call).await?;
        answered
            .expect_body(|body| matches!(body, Reply::Session(SessionOutcome::Noted)).then_some(()))
            .map(drop)
    }

    pub(super) async fn tell_origin(&self, user: &str, call: &Call<R>) -> OriginAnswer {
        let body = serde_json::json!({ "userId": user }).to_string();
        let mut request = Request::new(full(body.into()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static("/edge/v1/erasures");
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        let deadline = call.deadline.at_most(self.options.cache.origin_timeout);
        let Ok(response) = self.origin.fetch(Class::Fallback, request, deadline).await else {
            return OriginAnswer::Pending;
        };
        match response.status().as_u16() {
            200..300 => OriginAnswer::Told,
            // About who asks, or when, and not about what is asked.
            401 | 403 | 407 | 408 | 421 | 425 | 429 => OriginAnswer::Pending,
            status @ 400..500 => {
                tracing::warn!(status, "the origin does not take an erasure");
                OriginAnswer::Refused
            }
            _ => OriginAnswer::Pending,
        }
    }
}

fn no_secret() -> RouteError {
    let detail = "this node has not learned the cluster's secret yet";
    RouteError::new(Problem::ShardUnavailable, detail).with_outcome(WriteOutcome::NotApplied)
}

/// What a note is sealed as.
pub(super) fn note_name(id: ErasureId) -> String {
    format!("erasure.{id}")
}

/// Where a note is sealed: it is no user's, so that its key is used once.
pub(super) const fn note_at<'a>(
    shard: ShardId,
    territory: Option<&'a hexpop_edge_config::Territory>,
    name: &'a str,
) -> SealAt<'a> {
    SealAt { shard, territory, name, user: "" }
}

fn report(id: ErasureId, user: &str, parts: &[Part], origin: OriginAnswer) -> Erasure {
    let mut territories: BTreeMap<String, ErasedTerritory> = BTreeMap::new();
    for part in parts {
        let territory = part.shard.range.single_territory();
        let name =
            territory.map_or_else(|| ELSEWHERE.to_owned(), |territory| territory.to_string());
        let entry = territories.entry(name.clone()).or_insert_with(|| ErasedTerritory {
            territory: name,
            state: ErasureState::Erased,
            sessions: 0,
            disk: DiskState::Compacted,
            shards: Vec::new(),
        });
        match part.erased() {
            Some((_, sessions)) => entry.sessions += sessions,
            None => entry.state = ErasureState::Pending,
        }
        let shard = part.report();
        let disks = shard.replicas.iter().map(|replica| replica.disk);
        entry.disk = DiskState::all(disks.chain([entry.disk]));
        entry.shards.push(shard);
    }
    let territories: Vec<_> = territories.into_values().collect();
    Erasure {
        erasure_id: id,
        user_id: user.to_owned(),
        disk: DiskState::all(territories.iter().map(|territory| territory.disk)),
        territories,
        origin: origin.into(),
    }
}
