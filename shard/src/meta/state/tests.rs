use hexpop_edge_config::Epoch;

use super::*;
use crate::{KeyRange, Policy, Space, StepKind};
use hexpop_edge_config::{NodeId, RaftId};

fn policy() -> PlacementPolicy {
    let default = Policy { labels: Default::default(), replicas: 3 };
    PlacementPolicy { default, territories: BTreeMap::new() }
}

fn whole() -> Vec<ShardDescriptor> {
    Space::ALL
        .into_iter()
        .zip(1..)
        .map(|(space, id)| ShardDescriptor {
            id: ShardId(id),
            range: KeyRange::space(space),
            epoch: Epoch::FIRST,
            replicas: Vec::new(),
        })
        .collect()
}

fn bootstrap(secret: u8) -> MetaOp {
    MetaOp::Bootstrap {
        descriptors: whole(),
        secret: ClusterSecret([secret; 32]),
        policy: policy(),
    }
}

fn begin(shard: u64) -> MetaOp {
    let kind = StepKind::AddLearner { node: NodeId(1), raft: RaftId(1) };
    MetaOp::BeginOperation {
        kind: OperationKind::Placement(kind),
        shard: ShardId(shard),
        reason: "é".repeat(TEXT_MAX),
    }
}

#[test]
fn only_the_first_bootstrap_counts() {
    let mut state = MetaState::default();
    let early = state.apply(&MetaOp::AllocateIds { count: 1 }, 0);
    assert_eq!(early, Ok(MetaOutcome::NotBootstrapped));
    let mut gap = bootstrap(1);
    if let MetaOp::Bootstrap { descriptors, .. } = &mut gap {
        descriptors.pop();
    }
    assert!(matches!(state.apply(&gap, 0), Ok(MetaOutcome::InvalidMap(MapError::Gap { .. }))));
    let first = state.apply(&bootstrap(1), 0);
    assert_eq!(first, Ok(MetaOutcome::Bootstrapped { map_version: 1 }));
    let second = state.apply(&bootstrap(2), 0);
    assert_eq!(second, Ok(MetaOutcome::AlreadyBootstrapped { map_version: 1 }));
    assert_eq!(state.secret(), Some(&ClusterSecret([1; 32])));
    assert!(!format!("{state:?}").contains("1, 1, 1"));
}

#[test]
fn ids_are_given_once_and_reports_never_go_back() {
    let mut state = MetaState::default();
    state.apply(&bootstrap(1), 0).unwrap();
    let two = MetaOp::AllocateIds { count: 2 };
    let first = state.apply(&two, 0);
    assert_eq!(first, Ok(MetaOutcome::Allocated { first: ShardId(4), count: 2 }));
    let second = state.apply(&two, 0);
    assert_eq!(second, Ok(MetaOutcome::Allocated { first: ShardId(6), count: 2 }));
    assert!(matches!(state.apply(&MetaOp::AllocateIds { count: 0 }, 0), Err(Refusal::Invalid(_))));

    let mut newer = whole();
    newer[0].epoch.conf = 5;
    let stranger = ShardDescriptor { id: ShardId(9), ..newer[0].clone() };
    newer.push(stranger);
    let reported = state.apply(&MetaOp::Report { descriptors: newer }, 0);
    let unknown = (ShardId(9), MapError::Unknown(ShardId(9)));
    assert_eq!(
        reported,
        Ok(MetaOutcome::Reported { newer: 1, map_version: 2, refused: vec![unknown] })
    );
    state.apply(&MetaOp::Report { descriptors: whole() }, 0).unwrap();
    assert_eq!(state.map().get(ShardId(1)).unwrap().epoch.conf, 5);
}

#[test]
fn operations_run_one_at_a_time_per_shard_and_the_oldest_ended_are_forgotten() {
    let mut state = MetaState::default();
    state.apply(&bootstrap(1), 0).unwrap();
    assert_eq!(state.apply(&begin(1), 5), Ok(MetaOutcome::OperationBegun(OperationId(1))));
    assert_eq!(state.apply(&begin(1), 6), Ok(MetaOutcome::OperationBusy(OperationId(1))));
    let end = |id, state: OperationState| MetaOp::UpdateOperation {
        id: OperationId(id),
        update: OperationUpdate::Finished(state),
    };
    for id in 2..=OPERATIONS_MAX as u64 {
        assert_eq!(state.apply(&begin(id), 6), Ok(MetaOutcome::OperationBegun(OperationId(id))));
    }
    assert!(matches!(state.apply(&begin(999), 6), Err(Refusal::Limit(_))));
    assert_eq!(state.apply(&end(7, OperationState::Done), 8), Ok(MetaOutcome::OperationUpdated));
    assert_eq!(state.apply(&end(7, OperationState::Done), 9), Ok(MetaOutcome::OperationEnded));
    assert!(matches!(state.apply(&begin(999), 9), Ok(MetaOutcome::OperationBegun(_))));
    assert_eq!(state.apply(&end(7, OperationState::Done), 9), Ok(MetaOutcome::OperationUnknown));
    let first = state.operation(OperationId(1)).unwrap();
    assert!(first.reason.len() <= TEXT_MAX && first.steps[0].name == "recorded");
    assert_eq!(state.operations().count(), OPERATIONS_MAX);
}
