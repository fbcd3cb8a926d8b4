//! The first format on disk. These bytes are opened for ever: a change of them is a new version of
//! the codec, not a change of the test.

use hexpop_edge_config::{Epoch, NodeId, RaftId, RequestId, ShardId, codec};

use super::*;
use crate::{
    Condition, DirectoryChange, DirectoryTarget, IdempotencyKey, KeyRange, ListingVersion,
    LogPosition, MemoryDocuments, Merge, OperationId, RecordVersion, Replica, ReplicaRole,
    SealMark, Sealed, SessionLimits, SessionTouch, ShardDescriptor, ShardKey, ShardState, Space,
    WrappedKey,
    session::{CreateSession, PutSession},
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn command(op: Op) -> Command {
    let request = Some(RequestId { origin: RaftId(7), start: 2, sequence: 300 });
    Command { request, epoch: Epoch { version: 4, conf: 2 }, at_ms: 1_700_000_000_000, op }
}

fn create() -> Op {
    Op::Session(SessionOp::Create(CreateSession {
        id: "it-lazio.a".parse().unwrap(),
        user: "u1".into(),
        ttl_ms: 1_800_000,
        sliding: true,
        sealed: Sealed { key_id: 1, bytes: vec![1, 2, 3] },
        key: Some(WrappedKey { id: 1, by: "k".into(), bytes: vec![5] }),
        idempotency: Some(IdempotencyKey { key: [1; 32], body: [2; 32] }),
        limits: SessionLimits::default(),
    }))
}

fn descriptor() -> ShardDescriptor {
    ShardDescriptor {
        id: ShardId(17),
        range: KeyRange::territory(Space::Sessions, &"IT:lazio".parse().unwrap()),
        epoch: Epoch { version: 4, conf: 2 },
        replicas: vec![Replica { raft: RaftId(7), node: NodeId(1), role: ReplicaRole::Learner }],
    }
}

#[test]
fn commands_have_the_bytes_of_their_format() {
    let version = RecordVersion { shard: ShardId(17), term: 3, index: 9120 };
    let id = || "it-lazio.a".parse().unwrap();
    let put = Op::Session(SessionOp::Put(PutSession {
        id: id(),
        user: "u1".into(),
        ttl_ms: 1000,
        sliding: false,
        sealed: Sealed { key_id: 1, bytes: vec![9] },
        key: None,
        condition: Some(Condition::IfMatch(version)),
        limits: SessionLimits::default(),
    }));
    let touch =
        Op::Session(SessionOp::Touch { touches: vec![SessionTouch { id: id(), at_ms: 5 }] });
    let lazio = "IT:lazio".parse().unwrap();
    let directory = Op::Directory(DirectoryOp::CompareAndSet(vec![DirectoryChange {
        id: "lst_1".into(),
        expected: Some(version),
        target: DirectoryTarget::At(ShardKey::new(Space::Listings, &lazio, 5)),
        listing_version: ListingVersion { version: Some(7), updated_at_us: None },
    }]));
    let report = Op::Meta(MetaOp::Report { descriptors: vec![descriptor()] });
    for (op, expected) in [
        (Op::Tick, "02010702fb2c010402fd0068e5cf8b01000000"),
        (
            create(),
            "02010702fb2c010402fd0068e5cf8b01000004000a69742d6c617a696f2e61027531fc40771b0001\
             01030102030101016b01050101010101010101010101010101010101010101010101010101010101\
             010101010202020202020202020202020202020202020202020202020202020202020202fc400001\
             00fbe803",
        ),
        (
            put,
            "02010702fb2c010402fd0068e5cf8b01000004010a69742d6c617a696f2e61027531fbe803000101\
             090001001103fba023fc40000100fbe803",
        ),
        (touch, "02010702fb2c010402fd0068e5cf8b0100000403010a69742d6c617a696f2e6105"),
        (
            directory,
            "02010702fb2c010402fd0068e5cf8b010000030001056c73745f31011103fba0230000495401056c\
             617a696f05010700",
        ),
        (
            report,
            "02010702fb2c010402fd0068e5cf8b0100000101011102495401056c617a696f000102495401056c\
             617a696ffd0000000000000080040201070101",
        ),
    ] {
        assert_bytes(op, expected);
    }
}

#[test]
fn the_steps_of_merges_have_the_bytes_of_their_format() {
    let operation = OperationId(300);
    let merge = Merge::of(&descriptor());
    let prepare = Op::Merge(MergeOp::Prepare { operation, merge });
    let seal = Op::Merge(MergeOp::Seal { operation, left: ShardId(5) });
    let mark = SealMark { at: LogPosition { term: 3, index: 9120 }, hash: 7 };
    let absorb = Op::Merge(MergeOp::Absorb { operation, seal: mark });
    let cancel = Op::Merge(MergeOp::Cancel { operation });
    let unseal = Op::Merge(MergeOp::Unseal { operation });
    let merged = Op::Meta(MetaOp::ReportMerged { shard: descriptor(), absorbed: ShardId(18) });
    for (op, expected) in [
        (
            prepare,
            "02010702fb2c010402fd0068e5cf8b0100000700fb2c011102495401056c617a696f000102495401\
             056c617a696ffd000000000000008004",
        ),
        (seal, "02010702fb2c010402fd0068e5cf8b0100000701fb2c0105"),
        (absorb, "02010702fb2c010402fd0068e5cf8b0100000702fb2c0103fba02307"),
        (cancel, "02010702fb2c010402fd0068e5cf8b0100000703fb2c01"),
        (unseal, "02010702fb2c010402fd0068e5cf8b0100000704fb2c01"),
        (
            merged,
            "02010702fb2c010402fd0068e5cf8b01000001071102495401056c617a696f000102495401056c61\
             7a696ffd000000000000008004020107010112",
        ),
    ] {
        assert_bytes(op, expected);
    }
}

fn assert_bytes(op: Op, expected: &str) {
    let command = command(op);
    let bytes = codec::encode(&command).unwrap();
    assert_eq!(hex(&bytes), expected, "{command:?}");
    assert_eq!(codec::decode::<Command>(&bytes).unwrap(), command);
}

#[test]
fn snapshots_have_the_bytes_of_their_format() {
    let mut state = ShardState::new(&descriptor());
    let mut documents = MemoryDocuments::default();
    state.apply(LogPosition { term: 1, index: 5 }, &command(create()), &mut documents);
    let records: Vec<String> =
        state.snapshot(&documents).map(|record| hex(&record.unwrap())).collect();
    let expected = [
        "0200110102495401056c617a696f000102495401056c617a696ffd000000000000008004020105fd\
             0068e5cf8b010000",
        "0201010702fb2c01fd0068e5cf8b01000005000a69742d6c617a696f2e61027531fd0068e5cf8b01\
             0000fd40df00d08b010000fc40771b0001110105",
        "02070102753101016b0105",
        "020803000000000300000401fc6dee1800000000",
        "020402000a69742d6c617a696f2e61027531fd0068e5cf8b010000fd40df00d08b010000fc40771b\
             00011101050103010203010101010101010101010101010101010101010101010101010101010101\
             0101010a69742d6c617a696f2e610102020202020202020202020202020202020202020202020202\
             020202020202020a69742d6c617a696f2e61027531fd0068e5cf8b010000fd40df00d08b010000fc\
             40771b000111010500",
        "020605fdbb88a6751105ff39",
    ];
    assert_eq!(records, expected);
}
