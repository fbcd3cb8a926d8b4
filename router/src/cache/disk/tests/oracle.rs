//! Memory and disk together, beside a map: whatever is evicted, written, read back or dropped for lack of time, what
//! is found is the latest of its URI, and no purge is about it.

use proptest::prelude::*;

use super::*;
use crate::cache::store::Store;

#[derive(Debug, Clone)]
enum Step {
    Put {
        key: usize,
        tag: &'static str,
        length: usize,
    },
    Purge {
        purge: Purge,
        soft: bool,
    },
    Forget {
        key: usize,
    },
    Get {
        key: usize,
    },
    /// Has nothing more be written until it is to settle.
    Hold,
    /// Lets eviction happen and the disk catch up.
    Settle,
    /// What was there is found before anything else happens, or not until it is to settle.
    Restart {
        at_once: bool,
    },
}

const KEYS: usize = 8;

fn any_step() -> impl Strategy<Value = Step> {
    let tag = prop_oneof![Just("t"), Just("u")];
    let purge = prop_oneof![
        (0..KEYS).prop_map(|number| Purge::Uri(key(&format!("/{number}")))),
        tag.clone().prop_map(|tag| Purge::Tag(tag.into())),
        Just(Purge::Prefix { origin: None, path: "/1".to_owned() }),
        Just(Purge::All),
    ];
    prop_oneof![
        6 => (0..KEYS, tag, 1..40_000_usize).prop_map(|(key, tag, length)| Step::Put { key, tag, length }),
        2 => (purge, any::<bool>()).prop_map(|(purge, soft)| Step::Purge { purge, soft }),
        1 => (0..KEYS).prop_map(|key| Step::Forget { key }),
        6 => (0..KEYS).prop_map(|key| Step::Get { key }),
        1 => Just(Step::Hold),
        2 => Just(Step::Settle),
        1 => any::<bool>().prop_map(|at_once| Step::Restart { at_once }),
    ]
}

/// What is known of a URI.
#[derive(Debug, Clone, Copy)]
struct Latest {
    number: u64,
    tag: &'static str,
    stale: bool,
}

struct Both {
    store: Store,
    setup: Setup,
    latest: BTreeMap<usize, Latest>,
    next: u64,
    purges: u64,
    found_on_disk: u64,
}

fn path(number: usize) -> String {
    format!("/{number}")
}

fn open(files: MemFiles) -> (Store, Setup) {
    let limits = Limits { bytes_max: 400_000, segment_bytes: 65_536, ..LIMITS };
    let setup = Setup::new(files, limits);
    let (purged, disk) = (Arc::clone(&setup.around.purged), Arc::clone(&setup.tier));
    (Store::new(60_000, purged, Some(disk)), setup)
}

impl Both {
    fn new() -> Self {
        let (store, setup) = open(MemFiles::new());
        setup.tier.note_position(PurgeId(0));
        Self { store, setup, latest: BTreeMap::new(), next: 1, purges: 0, found_on_disk: 0 }
    }

    fn put(&mut self, number: usize, tag: &'static str, length: usize) {
        let mut stored = stored(&vec![0; length], "", None);
        stored.tags = Arc::from([tag.into()]);
        stored.number = self.next;
        stored.arrived = (self.setup.around.now)().uptime;
        stored.headers.insert("x-number", self.next.to_string().parse().unwrap());
        let began = self.store.moment();
        assert!(self.store.put(key(&path(number)), Arc::new(stored), began));
        self.latest.insert(number, Latest { number: self.next, tag, stale: false });
        self.next += 1;
    }

    fn purge(&mut self, purge: &Purge, soft: bool) {
        self.purges += 1;
        self.store.purge(purge, soft, (self.setup.around.now)().uptime);
        self.setup.tier.note_position(PurgeId(self.purges));
        let hit =
            |number: usize, latest: &Latest| purge.hits(&key(&path(number)), &[latest.tag.into()]);
        if soft {
            let of_it = self.latest.iter_mut().filter(|(number, latest)| hit(**number, latest));
            of_it.for_each(|(_number, latest)| latest.stale = true);
        } else {
            self.latest.retain(|number, latest| !hit(*number, latest));
        }
    }

    async fn get(&mut self, number: usize) {
        let key = key(&path(number));
        let began = self.store.moment();
        let in_memory = self.store.get(&key).first().map(Arc::clone);
        let found = match in_memory {
            Some(stored) => Some(stored),
            None => {
                let found = self.setup.get(&path(number), None).await;
                if let Some(stored) = &found {
                    self.found_on_disk += 1;
                    self.store.promote(key, stored, began);
                }
                found
            }
        };
        let Some(found) = found else { return };
        let latest = self.latest.get(&number).expect("what was purged or forgotten came back");
        assert_eq!(found.headers["x-number"], latest.number.to_string(), "an older one came back");
        let fresh = found.freshness.is_fresh(found.resident((self.setup.around.now)().uptime));
        assert!(!(latest.stale && fresh), "a soft purge was undone");
    }

    async fn settle(&self) {
        self.setup.files.open_again();
        self.store.size();
        self.setup.tier.flush().await;
    }

    async fn restart(&mut self, at_once: bool) {
        self.settle().await;
        let files = self.setup.files.copied();
        if !at_once {
            // The position, and nothing of the segments.
            files.let_read(1);
        }
        let (store, setup) = open(files);
        assert_eq!(setup.tier.left_at(), Some(PurgeId(self.purges)));
        (self.store, self.setup) = (store, setup);
        if at_once {
            self.setup.tier.flush().await;
        }
        // Nothing is fresh that is from before.
        self.latest.values_mut().for_each(|latest| latest.stale = true);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_found_is_the_latest_and_not_purged(steps in proptest::collection::vec(any_step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut both = Both::new();
            for step in steps {
                match step {
                    Step::Put { key, tag, length } => both.put(key, tag, length),
                    Step::Purge { purge, soft } => both.purge(&purge, soft),
                    Step::Forget { key: number } => {
                        let key = key(&path(number));
                        both.store.forget_variant(&key, &stored(b"", "", None));
                        both.latest.remove(&number);
                    }
                    Step::Get { key } => both.get(key).await,
                    Step::Hold => both.setup.files.shut(),
                    Step::Settle => both.settle().await,
                    Step::Restart { at_once } => both.restart(at_once).await,
                }
            }
            both.settle().await;
            assert!(both.setup.tier.stats().off.is_none());
            assert!(both.setup.files.most() <= 400_000);
        });
    }
}

#[tokio::test]
async fn what_is_evicted_is_found_on_disk() {
    let mut both = Both::new();
    for number in 0..KEYS {
        both.put(number, "t", 30_000);
        both.settle().await;
    }
    for number in 0..KEYS {
        both.get(number).await;
    }
    assert!(both.found_on_disk >= 4, "{}", both.found_on_disk);
}
