//! How readers see updates.

use hexpop_shard::ShardIndex;
use parking_lot::{Mutex, RwLock};

/// One writer's updates, and what readers see of them.
pub(crate) trait Publish<I>: Sync {
    /// Asks one consistent version.
    fn read(&self, ask: &mut dyn FnMut(&I));

    /// Applies one update and makes it visible.
    fn update(&self, change: &mut dyn FnMut(&mut I));

    /// Ends it.
    fn into_index(self: Box<Self>) -> I;
}

/// Readers hold a lock while they ask, the writer while it changes.
pub(crate) struct Locked<I>(RwLock<I>);

impl<I: Send + Sync> Publish<I> for Locked<I> {
    fn read(&self, ask: &mut dyn FnMut(&I)) {
        ask(&self.0.read());
    }

    fn update(&self, change: &mut dyn FnMut(&mut I)) {
        change(&mut self.0.write());
    }

    fn into_index(self: Box<Self>) -> I {
        self.0.into_inner()
    }
}

/// Readers take a clone of the newest version and ask that, whatever the writer does meanwhile.
pub(crate) struct Snapshots<I> {
    head: Mutex<I>,
    newest: RwLock<I>,
}

impl<I: Clone> Snapshots<I> {
    #[expect(dead_code, reason = "the index is no `Clone` yet: see `SCHEMES`")]
    pub(crate) fn new(index: I) -> Self {
        Self { newest: RwLock::new(index.clone()), head: Mutex::new(index) }
    }
}

impl<I: Clone + Send + Sync> Publish<I> for Snapshots<I> {
    fn read(&self, ask: &mut dyn FnMut(&I)) {
        let version = self.newest.read().clone();
        ask(&version);
    }

    fn update(&self, change: &mut dyn FnMut(&mut I)) {
        let mut head = self.head.lock();
        change(&mut head);
        let version = head.clone();
        // The old version is dropped outside the lock.
        let _old = std::mem::replace(&mut *self.newest.write(), version);
    }

    fn into_index(self: Box<Self>) -> I {
        self.head.into_inner()
    }
}

/// Makes a publisher of an index.
pub(crate) type Scheme = fn(ShardIndex) -> Box<dyn Publish<ShardIndex>>;

/// The schemes that are measured; `None` = the index cannot do it yet.
///
/// Snapshots need an index whose `Clone` is cheap. Once it is, `None` becomes
/// `Some(|index| Box::new(Snapshots::new(index)))`, and the `expect` of [`Snapshots::new`] goes.
pub(crate) const SCHEMES: [(&str, Option<Scheme>); 2] =
    [("lock", Some(|index| Box::new(Locked(RwLock::new(index))))), ("snapshot", None)];
