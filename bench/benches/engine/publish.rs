//! How readers see updates.

use hexpop_shard::{IndexView, ShardIndex};
use parking_lot::{Mutex, RwLock};

/// One writer's updates, and what readers see of them.
pub(crate) trait Publish: Sync {
    /// Asks one consistent version.
    fn read(&self, ask: &mut dyn FnMut(&IndexView));

    /// Applies one update and makes it visible.
    fn update(&self, change: &mut dyn FnMut(&mut ShardIndex));

    /// Ends it.
    fn into_index(self: Box<Self>) -> ShardIndex;
}

/// Readers hold a lock while they ask, the writer while it changes: nothing is ever copied.
struct Locked(RwLock<ShardIndex>);

impl Publish for Locked {
    fn read(&self, ask: &mut dyn FnMut(&IndexView)) {
        ask(self.0.read().view());
    }

    fn update(&self, change: &mut dyn FnMut(&mut ShardIndex)) {
        change(&mut self.0.write());
    }

    fn into_index(self: Box<Self>) -> ShardIndex {
        self.0.into_inner()
    }
}

/// Readers take a clone of the newest version and ask that, whatever the writer does meanwhile.
struct Snapshots {
    head: Mutex<ShardIndex>,
    newest: RwLock<IndexView>,
}

impl Publish for Snapshots {
    fn read(&self, ask: &mut dyn FnMut(&IndexView)) {
        let version = self.newest.read().clone();
        ask(&version);
    }

    fn update(&self, change: &mut dyn FnMut(&mut ShardIndex)) {
        let mut head = self.head.lock();
        change(&mut head);
        let version = head.view().clone();
        // The old version is dropped outside the lock.
        let _old = std::mem::replace(&mut *self.newest.write(), version);
    }

    fn into_index(self: Box<Self>) -> ShardIndex {
        self.head.into_inner()
    }
}

/// Makes a publisher of an index.
pub(crate) type Scheme = fn(ShardIndex) -> Box<dyn Publish>;

/// The schemes that are measured.
pub(crate) const SCHEMES: [(&str, Scheme); 2] = [
    ("lock", |index| Box::new(Locked(RwLock::new(index)))),
    ("snapshot", |index| {
        let newest = RwLock::new(index.view().clone());
        Box::new(Snapshots { head: Mutex::new(index), newest })
    }),
];
