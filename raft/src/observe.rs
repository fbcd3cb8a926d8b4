//! A look over the shoulder of replicas: for the simulator, which checks what no single node can see.

use std::{fmt, sync::Arc};

use hexpop_edge_config::{GroupId, RaftId};
use hexpop_shard::{LogPosition, ShardState};

/// Is told what replicas do, at the moment at which they do it.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A replica has applied the entry at `position`, whose content is `entry` (empty for entries
    /// without a command).
    fn applied(
        &self,
        raft: RaftId,
        group: GroupId,
        position: LogPosition,
        entry: &[u8],
        state: &ShardState,
    );

    /// A replica has taken over a snapshot.
    fn installed(&self, raft: RaftId, group: GroupId, state: &ShardState);

    /// A replica is about to tell a leader that it has the log up to `position`, durably.
    fn acknowledged(&self, raft: RaftId, group: GroupId, position: LogPosition);

    /// A replica is about to answer whether it grants its vote of `term` to `candidate`.
    fn voted(&self, raft: RaftId, group: GroupId, term: u64, candidate: RaftId, granted: bool);

    /// A replica's group was parked; it leads the group, or promised its leader to vote for nobody.
    fn slept(&self, raft: RaftId, group: GroupId, leads: bool);

    /// A replica gave no vote, as it promised the leader of a parked group.
    fn refused_for_promise(&self);

    /// So many groups that were parked are woken, because a peer is not heard any more.
    fn woken_by_loss(&self, groups: usize);

    /// A replica proved how old it is at most while its group was parked, and was read.
    fn read_asleep(&self);

    /// A leader read without asking its voters.
    fn read_by_lease(&self);

    /// A data directory is about to destroy what it has of a group, of which it is no replica any more.
    fn left(&self, raft: RaftId, group: GroupId);
}

/// Who looks at one replica, if anybody does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed(pub(crate) Option<(Arc<dyn Observer>, RaftId)>);

impl Observed {
    /// See [`Observer::woken_by_loss`].
    pub(crate) fn woken_by_loss(&self, groups: usize) {
        if let Some((observer, _)) = &self.0 {
            observer.woken_by_loss(groups);
        }
    }
}
