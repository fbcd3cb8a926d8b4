//! Following the origin: first its export, then its change feed, for the listings shards that this
//! node leads. The cursor is in the shard's log, so that whoever leads next goes on from there.

mod client;
mod follow;

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::future::{Either, select};
use hexpop_edge_config::ShardId;
use hexpop_shard::{KeyRange, ShardDescriptor, Space};
use openraft_rt::AsyncRuntime;
use tokio::sync::watch;

use crate::router::Router;

/// Stops following when dropped.
#[derive(Debug)]
pub struct FeedHandle {
    _stop: watch::Sender<()>,
}

/// One follower's lease: it ends when the sender is dropped.
struct Follower {
    _stop: watch::Sender<()>,
    ended: Arc<AtomicBool>,
    /// What it follows the origin for.
    range: KeyRange,
}

impl<R: AsyncRuntime> Router<R> {
    /// Follows the origin for every listings shard that this node leads, for as long as the handle
    /// lives: one follower per shard, which goes when leadership does.
    ///
    /// Shards without a territory of [`FeedOptions`](crate::FeedOptions) have nothing to load and
    /// are marked complete at once.
    #[must_use]
    pub fn follow_feeds(self: &Arc<Self>) -> FeedHandle {
        let (stop, mut stopped) = watch::channel(());
        let this = Arc::clone(self);
        drop(R::spawn(async move {
            let mut followers: BTreeMap<ShardId, Follower> = BTreeMap::new();
            loop {
                this.tend(&mut followers);
                let pause = pin!(R::sleep(this.options.feed.watch_interval));
                // The only change there is: the handle has gone.
                if let Either::Left(_gone) = select(pin!(stopped.changed()), pause).await {
                    return;
                }
            }
        }));
        FeedHandle { _stop: stop }
    }

    /// Starts followers of shards that this node leads now, and ends those of others.
    fn tend(self: &Arc<Self>, followers: &mut BTreeMap<ShardId, Follower>) {
        let map = self.asker.map();
        let led: BTreeMap<ShardId, ShardDescriptor> = map
            .overlapping(&KeyRange::space(Space::Listings))
            .into_iter()
            .filter(|shard| self.asker.leads(shard.id))
            .map(|shard| (shard.id, shard.clone()))
            .collect();
        followers.retain(|shard, follower| {
            // One whose shard has divided begins anew, for what is left of it.
            let is_same = led.get(shard).is_some_and(|led| led.range == follower.range);
            let keep = is_same && !follower.ended.load(Ordering::Acquire);
            if !keep {
                self.metrics.forget_feed(&shard.to_string());
            }
            keep
        });
        for (id, shard) in led {
            followers.entry(id).or_insert_with(|| self.start_follower(shard));
        }
    }

    fn start_follower(self: &Arc<Self>, shard: ShardDescriptor) -> Follower {
        let (stop, mut stopped) = watch::channel(());
        let ended = Arc::new(AtomicBool::new(false));
        let (this, mark) = (Arc::clone(self), Arc::clone(&ended));
        let range = shard.range.clone();
        drop(R::spawn(async move {
            let follow = this.follow(shard);
            select(pin!(stopped.changed()), follow).await;
            mark.store(true, Ordering::Release);
        }));
        Follower { _stop: stop, ended, range }
    }
}
