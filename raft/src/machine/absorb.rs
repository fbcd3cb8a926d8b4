//! Merges, as the replicas of both shards apply them: the right one writes down what it was sealed as, the
//! left one takes that in.
//!
//! Whoever meets an absorption with nothing staged halts until it is fetched, and is started again then:
//! as after a crash, it applies its log from its last snapshot on.

use std::{io, sync::Arc};

use hexpop_shard::{
    AbsorbError, Command, DocRef, DocumentStore, LogPosition, MergeOutcome, Reply, ShardState,
};

use super::{Machine, position};
use crate::{
    documents::GroupDocuments,
    snapshot::SnapshotFiles,
    staging::{Staged, Wanted},
    types::LogId,
};

impl Machine {
    /// What the entry at `at` absorbs, if it does.
    pub(super) fn absorbs(&self, at: LogPosition, command: &Command) -> Option<Staged> {
        let view = self.replica.view.read();
        let (open, seal) = view.state.absorbs(at, command)?;
        let (operation, right) = (open.operation, open.merge.right);
        Some(Staged { operation, right, left: view.state.shard(), seal })
    }

    /// Applies the entry at `at`, which absorbs what is staged.
    ///
    /// # Errors
    /// That it is not here, or damaged: then the entry is not applied.
    pub(super) fn absorb(
        &mut self,
        at: LogId,
        command: &Command,
        staged: &Staged,
    ) -> io::Result<Reply> {
        let Some(files) = self.staging.files(staged) else { return Err(self.lack(at, staged)) };
        match self.take_in(at, command, &files) {
            Ok(reply) => {
                if matches!(reply, Reply::Merge(MergeOutcome::Absorbed { .. })) {
                    self.metrics.merges.inc();
                }
                Ok(reply)
            }
            Err(error) => {
                tracing::warn!(group = %self.replica.group, %error, "what was staged does not read");
                self.staging.remove(staged.operation)?;
                Err(self.lack(at, staged))
            }
        }
    }

    /// Has it fetched.
    fn lack(&self, at: LogId, staged: &Staged) -> io::Error {
        // First: whoever finds it wanted, and here by then, starts again what has halted.
        let halted = self.replica.halt(format!(
            "shard {} is to be absorbed by entry {}, and has to be fetched",
            staged.right, at.index
        ));
        self.staging.want(Wanted { staged: *staged, met_at: Some(at.index) });
        self.births.wake().notify_one();
        halted
    }

    fn take_in(
        &mut self,
        at: LogId,
        command: &Command,
        files: &SnapshotFiles,
    ) -> Result<Reply, TakeInError> {
        let mut arriving =
            Arriving { to: self.documents.clone(), at: position(at), put: Vec::new() };
        let mut failure = None;
        // The head is not part of the state.
        let records = files.records().skip(1).map_while(|record| match record {
            Ok(record) => Some(record),
            Err(error) => {
                failure = Some(error);
                None
            }
        });
        let restored = ShardState::restore(records, &mut arriving);
        if let Some(error) = failure {
            arriving.leave();
            return Err(error.into());
        }
        let right = match restored {
            Ok(right) => right,
            Err(error) => {
                arriving.leave();
                return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string()).into());
            }
        };
        let applied = {
            let mut view = self.replica.view.write();
            let documents = &mut self.documents;
            let applied =
                view.state.apply_absorbing(position(at), command, right, &arriving, documents);
            if applied.is_ok() {
                view.last = Some(at);
                self.replica.publish(&view.state);
            }
            applied
        };
        if !matches!(applied, Ok(Reply::Merge(MergeOutcome::Absorbed { .. }))) {
            arriving.leave();
        }
        Ok(applied?)
    }

    /// Writes down what the shard is behind the entry that has just sealed it. Where that is not possible
    /// it is fetched from another replica.
    ///
    /// It stays when the seal is taken off: an absorption that was refused, because the two did not fit, is refused
    /// again by whoever applies the left shard's log anew, and what was sealed says so.
    pub(super) fn stage(&self, at: LogId, reply: &Reply) {
        let Reply::Merge(MergeOutcome::Sealed(seal)) = reply else { return };
        let view = self.replica.view.read();
        let Some(sealed) = view.state.sealed_for().filter(|_| seal.at == position(at)) else {
            return;
        };
        let (operation, left) = (sealed.operation, sealed.left);
        let staged = Staged { operation, right: view.state.shard(), left, seal: *seal };
        let last = (at, view.membership.clone());
        if let Err(error) = self.staging.write(&staged, &view.state, last, &self.documents) {
            tracing::warn!(group = %self.replica.group, %error, "what was sealed is not staged here");
        }
    }
}

/// Why what is staged was not taken in; the state is as it was.
#[derive(Debug, thiserror::Error)]
enum TakeInError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Absorb(#[from] AbsorbError),
}

/// Documents of a shard that is taken in, on their way to where the entry that does it puts them: they are
/// written once, and nothing holds all of them in memory.
struct Arriving {
    to: GroupDocuments,
    at: LogPosition,
    put: Vec<DocRef>,
}

impl Arriving {
    fn here(&self, at: &DocRef) -> DocRef {
        DocRef { id: at.id.clone(), position: self.at }
    }

    /// They were not taken in.
    fn leave(mut self) {
        for at in std::mem::take(&mut self.put) {
            self.to.remove(&at);
        }
    }
}

impl DocumentStore for Arriving {
    fn put(&mut self, at: &DocRef, document: &[u8]) {
        let here = self.here(at);
        self.to.put(&here, document);
        self.put.push(here);
    }

    fn get_many(&self, wanted: &[DocRef]) -> Vec<Option<Arc<[u8]>>> {
        let here: Vec<DocRef> = wanted.iter().map(|at| self.here(at)).collect();
        self.to.get_many(&here)
    }

    fn remove(&mut self, at: &DocRef) {
        let here = self.here(at);
        self.to.remove(&here);
    }
}
