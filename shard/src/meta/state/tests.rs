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

/// Two neighbours: 3, and 4, which split off it.
fn divided(state: &mut MetaState) -> Merge {
    state.apply(&bootstrap(1), 0).unwrap();
    state.apply(&MetaOp::AllocateIds { count: 1 }, 0).unwrap();
    let territory = "IT:lazio".parse().unwrap();
    // The territory apart from the others, and then in two.
    let range = KeyRange::territory(Space::Sessions, &territory);
    let mut version = 1;
    let mut split = |state: &mut MetaState, shard: u64, child: u64, at: crate::ShardKey| {
        version += 1;
        let known = state.map().get(ShardId(shard)).unwrap().clone();
        let (left, right) = crate::split::halves(&known.range, &at);
        let epoch = Epoch { version, conf: 1 };
        let left = ShardDescriptor { range: left, epoch, ..known.clone() };
        let right = ShardDescriptor { id: ShardId(child), range: right, epoch, ..known };
        let descriptors = vec![left, right];
        state.apply(&MetaOp::Report { descriptors }, 0).unwrap();
    };
    split(state, 3, 5, range.start.clone());
    split(state, 5, 6, range.end.unwrap());
    split(state, 5, 4, crate::ShardKey::new(Space::Sessions, &territory, 7));
    Merge::of(state.map().get(ShardId(4)).unwrap())
}

fn update(state: &mut MetaState, id: u64, update: OperationUpdate) -> MetaOutcome {
    state.apply(&MetaOp::UpdateOperation { id: OperationId(id), update }, 9).unwrap()
}

#[test]
fn a_merge_keeps_both_shards_and_is_undone_before_it_ends() {
    let mut state = MetaState::default();
    let merge = divided(&mut state);
    let begin_merge = |merge: Merge| MetaOp::BeginOperation {
        kind: OperationKind::Merge(merge),
        shard: ShardId(5),
        reason: String::new(),
    };
    let older = Merge { version: merge.version - 1, ..merge.clone() };
    let refused = state.apply(&begin_merge(older), 5);
    assert!(matches!(refused, Ok(MetaOutcome::OperationInvalid(_))), "{refused:?}");
    let begun = state.apply(&begin_merge(merge.clone()), 5);
    assert_eq!(begun, Ok(MetaOutcome::OperationBegun(OperationId(1))));
    let busy = Ok(MetaOutcome::OperationBusy(OperationId(1)));
    for shard in [4, 5] {
        assert_eq!(state.apply(&begin(shard), 6), busy);
    }
    assert_eq!(state.apply(&begin_merge(merge.clone()), 6), busy);
    // Whoever cancels it, or gives it up, has it undone first; once is enough.
    let cancelled = || OperationUpdate::Finished(OperationState::Cancelled);
    let failed = || {
        let error = "it takes too long".to_owned();
        OperationUpdate::Finished(OperationState::Failed { error })
    };
    for again in [cancelled(), failed(), cancelled()] {
        assert_eq!(update(&mut state, 1, again), MetaOutcome::OperationUpdated);
        let now = &state.operation(OperationId(1)).unwrap().state;
        assert_eq!(*now, OperationState::Reverting { error: None });
    }
    assert_eq!(update(&mut state, 1, OperationUpdate::Commit), MetaOutcome::OperationReverting);
    assert_eq!(state.apply(&begin(4), 6), busy);
    assert_eq!(update(&mut state, 1, OperationUpdate::Reverted), MetaOutcome::OperationUpdated);
    let operation = state.operation(OperationId(1)).unwrap();
    assert_eq!((&operation.state, operation.finished_ms), (&OperationState::Cancelled, Some(9)));

    let begun = state.apply(&begin_merge(merge), 5);
    assert_eq!(begun, Ok(MetaOutcome::OperationBegun(OperationId(2))));
    assert_eq!(update(&mut state, 2, OperationUpdate::Commit), MetaOutcome::OperationUpdated);
    assert_eq!(update(&mut state, 2, cancelled()), MetaOutcome::OperationCommitted);
    // The shards may still say that they cannot be one.
    assert_eq!(update(&mut state, 2, failed()), MetaOutcome::OperationUpdated);
    assert_eq!(update(&mut state, 2, OperationUpdate::Reverted), MetaOutcome::OperationUpdated);
    let state = &state.operation(OperationId(2)).unwrap().state;
    assert_eq!(*state, OperationState::Failed { error: "it takes too long".to_owned() });
}
