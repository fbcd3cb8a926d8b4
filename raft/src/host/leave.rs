//! Leaving a group: its replica stops, and everything of it is destroyed here. Whether it may be is for
//! the supervisor to find out ([`crate::supervisor`]).

use std::{io, sync::Arc, time::Duration};

use hexpop_edge_config::{GroupId, codec};
use openraft::AsyncRuntime;

use super::{
    Birth,
    inner::{Inner, Slot},
};
use crate::{staging::is_staged, wal::WalError};

/// How long a replica may take to stop.
const STOP: Duration = Duration::from_secs(10);

/// Why a group was not destroyed. It may be partly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DestroyError {
    #[error("the log: {0}")]
    Log(#[from] WalError),
    #[error("its snapshots: {0}")]
    Snapshots(#[from] io::Error),
}

/// A replica that was stopped to leave its group.
pub(crate) struct Stopped {
    /// With what it can be started again; `None` for one that could not be opened.
    birth: Option<Birth>,
}

impl<R: AsyncRuntime> Inner<R> {
    /// The groups with a place here that may be left: none that is starting.
    pub(crate) fn leavable(&self) -> Vec<GroupId> {
        let groups = self.groups.read();
        let leavable =
            groups.iter().filter(|(_, slot)| matches!(slot, Slot::Running(_) | Slot::Failed(_)));
        leavable.map(|(id, _)| *id).collect()
    }

    /// Whether the replica of a group is on its way out.
    pub(crate) fn is_leaving(&self, id: GroupId) -> bool {
        matches!(self.groups.read().get(&id), Some(Slot::Leaving))
    }

    /// Whether nothing of a group is here, but for what files may still have that nobody names.
    pub(crate) fn is_gone(&self, id: GroupId) -> bool {
        !self.has_slot(id) && self.wal.group(id).is_none() && self.snapshots.current(id).is_none()
    }

    /// Stops a replica: from now on it acknowledges nothing and votes for nobody. `None` when there is
    /// nothing to stop, or it does not stop.
    pub(crate) async fn stop_to_leave(&self, id: GroupId) -> Option<Stopped> {
        let group = {
            let mut groups = self.groups.write();
            match groups.remove(&id)? {
                Slot::Running(group) => {
                    groups.insert(id, Slot::Leaving);
                    Some(group)
                }
                Slot::Failed(_) => {
                    groups.insert(id, Slot::Leaving);
                    None
                }
                other @ (Slot::Starting | Slot::Leaving) => {
                    groups.insert(id, other);
                    return None;
                }
            }
        };
        let Some(group) = group else { return Some(Stopped { birth: None }) };
        group.rouse();
        if R::timeout(STOP, group.stop()).await.is_err() {
            self.fail(id, "the replica did not stop, to leave its group".to_owned());
            return None;
        }
        Some(Stopped { birth: Some(group.birth.clone()) })
    }

    /// Starts a replica again that is to stay after all.
    pub(crate) async fn stay(self: &Arc<Self>, id: GroupId, stopped: Stopped) {
        let Some(birth) = stopped.birth else {
            self.fail(id, "it could not be opened".to_owned());
            return;
        };
        self.groups.write().remove(&id);
        self.start(id, birth).await;
    }

    /// Starts a replica again that has halted for want of something that is here now. `false`: that cannot be
    /// done yet.
    pub(crate) async fn restart_halted(self: &Arc<Self>, id: GroupId) -> bool {
        match self.groups.read().get(&id) {
            Some(Slot::Running(group)) if group.fault().is_none() => return true,
            Some(Slot::Running(_) | Slot::Failed(_)) => {}
            Some(Slot::Leaving) | None => return true,
            // It may be about to halt: what it met, it met while it was started.
            Some(Slot::Starting) => return false,
        }
        let Some(stopped) = self.stop_to_leave(id).await else { return false };
        let birth = match stopped.birth {
            Some(birth) => Some(birth),
            None => {
                let about = self.wal.groups().into_iter().find(|(known, _about)| *known == id);
                about.and_then(|(_id, about)| codec::decode::<Birth>(&about).ok())
            }
        };
        self.stay(id, Stopped { birth }).await;
        true
    }

    /// Destroys everything of a stopped replica, its log first: without it nothing else counts. The
    /// files of the log hold it until they are rid of it ([`scrub`](crate::wal::WalHandle::scrub)).
    pub(crate) async fn destroy(&self, id: GroupId) {
        match self.try_destroy(id).await {
            Ok(()) => drop(self.groups.write().remove(&id)),
            // The next look finds it again.
            Err(error) => self.fail(id, format!("it left its group, and is still here: {error}")),
        }
    }

    async fn try_destroy(&self, id: GroupId) -> Result<(), DestroyError> {
        if let Some(log) = self.wal.group(id) {
            if let Some((observer, raft)) = &self.observed.0 {
                observer.left(*raft, id);
            }
            log.destroy().await?;
        }
        self.snapshots.destroy(id)?;
        self.documents.destroy(id);
        Ok(())
    }

    /// Removes what a crash left of groups whose log was destroyed.
    pub(super) fn remove_remains(&self) {
        for id in self.snapshots.groups() {
            if self.wal.group(id).is_none() && !is_staged(id) {
                self.documents.destroy(id);
                if let Err(error) = self.snapshots.destroy(id) {
                    tracing::warn!(group = %id, %error, "snapshots of a group that was left stay");
                }
            }
        }
    }

    /// A group has a place here again.
    pub(super) fn note_started(&self, id: GroupId) {
        self.left.lock().remove(&id);
    }
}
