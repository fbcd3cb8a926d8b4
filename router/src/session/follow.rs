//! Going on with erasures that were not complete when they were answered.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{
    StreamExt,
    future::{Either, join, select},
    stream,
};
use hexpop_shard::{
    ERASURE_RETENTION_MS, ErasureId, ErasureNote, OriginAnswer, ReadAnswer, ReadOp, SessionOp,
    ShardDescriptor,
};
use openraft_rt::AsyncRuntime;
use tokio::sync::watch;

use super::erasure::{Wanted, note_at, note_name};
use crate::{
    ask::{Call, Place, ReadTerms},
    consistency::Level,
    error::RouteError,
    router::Router,
};

/// How long between two looks at the shards that are led here.
const PAUSE: Duration = Duration::from_secs(5);

/// How many erasures are tried at a time: those that cannot be completed yet must not keep others waiting
/// for long.
const AT_ONCE: usize = 8;

/// Ends the loop when dropped.
#[derive(Debug)]
pub struct ErasureHandle {
    _stop: watch::Sender<()>,
}

impl<R: AsyncRuntime> Router<R> {
    /// Starts to carry on the erasures whose notes are in shards that this node leads, for as long as
    /// the handle lives.
    #[must_use]
    pub fn follow_erasures(self: &Arc<Self>) -> ErasureHandle {
        let (stop, mut stopped) = watch::channel(());
        let this = Arc::clone(self);
        drop(R::spawn(async move {
            loop {
                let round = pin!(async {
                    R::sleep(PAUSE).await;
                    this.carry_on().await;
                });
                // The only change there is: the handle has gone.
                if let Either::Left(_gone) = select(pin!(stopped.changed()), round).await {
                    return;
                }
            }
        }));
        ErasureHandle { _stop: stop }
    }

    /// One try for each open erasure of the shards that this node leads.
    async fn carry_on(self: &Arc<Self>) {
        let Ok(shards) = self.session_shards() else { return };
        for shard in shards.into_iter().filter(|shard| self.asker.leads(shard.id)) {
            let mut after = None;
            while let Some(open) = self.open_erasures(&shard, after).await {
                let Some((last, _)) = open.last() else { break };
                after = Some(*last);
                let trying = stream::iter(open).for_each_concurrent(AT_ONCE, |(id, note)| {
                    let shard = &shard;
                    async move {
                        if let Err(error) = self.try_again(shard, id, &note).await {
                            tracing::info!(erasure = %id, shard = %shard.id, %error, "not complete yet");
                        }
                    }
                });
                trying.await;
            }
        }
    }

    /// Some of the open erasures of a shard behind `after`; `None` when it does not say.
    async fn open_erasures(
        &self,
        shard: &ShardDescriptor,
        after: Option<ErasureId>,
    ) -> Option<Vec<(ErasureId, ErasureNote)>> {
        let call = Call::own(self.options.write_timeout);
        let (place, terms) = (Place::Shard(shard.clone()), ReadTerms::at(Level::Eventual));
        let op = ReadOp::OpenErasures { after };
        match self.asker.read(&place, terms, op, &call).await.ok()?.body {
            ReadAnswer::OpenErasures(open) => Some(open),
            _ => None,
        }
    }

    async fn try_again(
        self: &Arc<Self>,
        shard: &ShardDescriptor,
        id: ErasureId,
        note: &ErasureNote,
    ) -> Result<(), RouteError> {
        let erasure = id;
        if note.begun_ms.saturating_add(ERASURE_RETENTION_MS) <= self.ports.clock.wall_ms() {
            let confirmed = note.erased.len();
            tracing::warn!(erasure = %id, confirmed, origin = ?note.origin, "given up after 30 days");
            let call = Call::own(self.options.write_timeout);
            return self.write_note(shard, SessionOp::CloseErasure { erasure }, &call).await;
        }
        let (territory, name) = (shard.range.single_territory(), note_name(id));
        let at = note_at(shard.id, territory.as_ref(), &name);
        let user = match self.ports.sealer.open(&at, &note.sealed, &note.key) {
            Ok(user) => String::from_utf8_lossy(&user).into_owned(),
            Err(error) => {
                tracing::warn!(erasure = %id, shard = %shard.id, %error, "a note does not open");
                return Ok(());
            }
        };
        // Every step has a deadline of its own: what one shard takes is not taken from the rest.
        let call = || Call::own(self.options.write_timeout);
        // Where it is confirmed it is over: what the user has there now was made later.
        let mut left = self.parts()?;
        left.retain(|part| !note.erased.contains(&part.shard.id));
        // Whatever replica says that it is done there, it is.
        self.look_in(&mut left, id, Level::Eventual, &call()).await;
        let wanted = Wanted { user: &user, id, begun_ms: note.begun_ms };
        let (to_shards, to_origin) = (call(), call());
        let telling = async {
            match note.origin {
                OriginAnswer::Pending => self.tell_origin(&user, &to_origin).await,
                answer @ (OriginAnswer::Told | OriginAnswer::Refused) => answer,
            }
        };
        let (everywhere, origin) =
            join(self.erase_in(&mut left, wanted, &to_shards), telling).await;
        if origin == OriginAnswer::Told && everywhere {
            return self.write_note(shard, SessionOp::CloseErasure { erasure }, &call()).await;
        }
        let mut erased = note.erased.clone();
        let confirmed = left.iter().filter(|part| part.erased().is_some());
        erased.extend(confirmed.map(|part| part.shard.id));
        // One that the origin refused stays, for the receipt to say so.
        if (origin, &erased) != (note.origin, &note.erased) {
            let note = ErasureNote { origin, erased, ..note.clone() };
            let op = SessionOp::KeepErasure { erasure, note };
            return self.write_note(shard, op, &call()).await;
        }
        Ok(())
    }
}
