//! What a step does to the replicas of a shard. The tests of meshes at scale, which are outside of the crate,
//! include it too.

use super::{NodeId, RaftId, Replica, ReplicaRole, StepKind};

/// Does a step to the replicas of a shard as an executor would, and checks that it may be done; `is_live` tells of
/// a replica whether its node is up, on its data directory.
pub(super) fn apply(
    replicas: &mut Vec<Replica>,
    kind: &StepKind,
    is_live: impl Fn(&Replica) -> bool,
) {
    let position = |replicas: &[Replica], raft| replicas.iter().position(|it| it.raft == raft);
    match *kind {
        StepKind::AddLearner { node, raft } => {
            assert!(position(replicas, raft).is_none(), "{kind:?}");
            let learner = Replica { raft, node, role: ReplicaRole::Learner };
            assert!(is_live(&learner), "{kind:?}");
            replicas.push(learner);
        }
        StepKind::Promote { node, raft } => vote(replicas, &[(node, raft)], &is_live),
        StepKind::PromoteBoth { new } => vote(replicas, &new, &is_live),
        StepKind::Replace { old, new, .. } => {
            let at = position(replicas, new).unwrap();
            assert!(is_live(&replicas[at]), "{kind:?}");
            replicas[at].role = ReplicaRole::Voter;
            let at = position(replicas, old).unwrap();
            replicas.remove(at);
        }
        StepKind::RemoveVoter { raft, .. } | StepKind::RemoveLearner { raft, .. } => {
            let at = position(replicas, raft).unwrap();
            replicas.remove(at);
        }
        StepKind::TransferLeader { .. } => return,
    }
    let voters = replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
    let (all, live) = (voters.clone().count(), voters.filter(|voter| is_live(voter)).count());
    assert!(live > all / 2, "no quorum after {kind:?}: {replicas:?}");
}

fn vote(replicas: &mut [Replica], new: &[(NodeId, RaftId)], is_live: impl Fn(&Replica) -> bool) {
    for (node, raft) in new {
        let replica = replicas.iter_mut().find(|it| it.raft == *raft && it.node == *node).unwrap();
        assert!(is_live(replica), "{new:?}");
        assert_eq!(replica.role, ReplicaRole::Learner, "{new:?}");
        replica.role = ReplicaRole::Voter;
    }
}
