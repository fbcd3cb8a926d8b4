//! Smaller parts of a node: its incarnation, its gossip, what its router is told.

use std::{
    fs, io,
    path::Path,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use hexpop_edge_config::{ClusterId, Config, RaftId, config::OriginHost};
use hexpop_gossip::{Event, Gossip, Identity, Metrics, NodeInfo, NodeState, Options};
use hexpop_router::{
    Coding, CodingOptions, DiskOptions, OriginHost as CacheHost, QueryRules, RouterOptions,
};

use super::NodeError;
use crate::{
    adapters::local::NodeHost,
    control::Dispatch,
    mesh::{
        Mesh,
        gossip_loop::{GossipHandle, GossipLoop},
        remembered,
    },
};

/// Until when the certificate in `file` is valid, as RFC 3339.
pub(super) fn certificate_expires(file: &Path) -> Option<String> {
    let ends = crate::certs::show(file).ok()?.first()?.valid_until_unix_s;
    jiff::Timestamp::from_second(ends).ok().map(|ends| ends.to_string())
}

fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

/// A number that grows with every start of this data directory: the time of the start in
/// milliseconds, or one more than the last one where the clock went back.
pub(super) fn next_incarnation(file: &Path) -> Result<u64, NodeError> {
    let failed =
        |error: io::Error| NodeError::open(format!("the start counter {}", file.display()))(&error);
    let last: u64 = match fs::read_to_string(file) {
        Ok(text) => text.trim().parse().unwrap_or_default(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed(error)),
    };
    let next = wall_ms().max(last + 1);
    let aside = file.with_extension("tmp");
    fs::write(&aside, next.to_string()).map_err(failed)?;
    fs::File::open(&aside).and_then(|file| file.sync_all()).map_err(failed)?;
    fs::rename(&aside, file).map_err(failed)?;
    Ok(next)
}

/// Starts the gossip of a node; it begins alone and asks the seeds.
pub(super) fn start_gossip(
    config: &Config,
    mesh: &Mesh,
    dispatch: &Dispatch,
    ((raft, incarnation), state): ((RaftId, u64), NodeState),
    registry: &prometheus::Registry,
) -> Result<GossipHandle, NodeError> {
    let failed = |error: hexpop_gossip::Error| NodeError::open("gossip")(&error);
    let address = config.mesh.advertised();
    let identity = Identity { node: config.node.id, incarnation, raft, address };
    let info = NodeInfo {
        pop: config.node.pop.clone(),
        labels: config.node.labels.clone(),
        http: config.listen.http,
        admin: config.listen.admin,
        mesh: address,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state,
        started_at_ms: wall_ms(),
    };
    let gossip = Gossip::new(
        Instant::now(),
        ClusterId::from(&config.mesh.cluster),
        identity,
        info,
        Options::from(&config.gossip),
        rand::random(),
    )
    .map_err(failed)?;
    let metrics = Metrics::register(registry).map_err(failed)?;
    let (handle, driver) = GossipLoop::new(gossip, config.mesh.seeds.clone(), Some(metrics));
    dispatch.serve_gossip(handle.clone());
    let file = config.node.data_dir.join("peers");
    let peers = remembered::load(&file);
    tokio::spawn(remembered::follow(handle.watch(), file, peers.clone()));
    tokio::spawn(driver.remembering(peers).run(mesh.clone()));
    Ok(handle)
}

/// Passes hints of newer shard maps from gossip to consensus, and this node's version to gossip.
pub(super) fn exchange_map_versions(host: &NodeHost, gossip: &GossipHandle) {
    let mut events = gossip.subscribe();
    let listener = host.clone();
    let latest = gossip.clone();
    tokio::spawn(async move {
        use tokio::sync::broadcast::error::RecvError;
        loop {
            match events.recv().await {
                Ok(Event::ShardMap { version, holder }) => listener.on_map_hint(version, holder),
                Ok(_) => {}
                Err(RecvError::Lagged(_missed)) => {
                    let (version, holder) = latest.view().shard_map;
                    listener.on_map_hint(version, holder);
                }
                Err(RecvError::Closed) => return,
            }
        }
    });
    let mut versions = host.watch_map();
    let teller = gossip.clone();
    tokio::spawn(async move {
        loop {
            let version = *versions.borrow_and_update();
            if version > 0 {
                teller.set_shard_map_version(version).await;
            }
            if versions.changed().await.is_err() {
                return;
            }
        }
    });
}

/// The directory of the HTTP cache below that of the node's data.
const CACHE_DIR: &str = "cache";

fn disk_options(config: &Config) -> Option<DiskOptions> {
    let bytes_max = config.cache.disk.bytes.bytes();
    (bytes_max > 0).then(|| DiskOptions {
        dir: config.node.data_dir.join(CACHE_DIR),
        bytes_max,
        object_bytes_max: config.cache.disk.object_max.bytes(),
    })
}

/// Removes what an earlier start has cached on disk, where that is not wanted any more.
pub(super) fn remove_unused_cache(config: &Config) {
    if config.cache.disk.bytes.bytes() > 0 {
        return;
    }
    let dir = config.node.data_dir.join(CACHE_DIR);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, dir = %dir.display(), "what was cached on disk was not removed");
        }
        _ => {}
    }
}

/// What the configuration says about routing.
pub(super) fn apply_router_config(options: &mut RouterOptions, config: &Config) {
    options.origin_breaker.failures_max = config.origin.breaker.failures;
    options.origin_breaker.open_first = config.origin.breaker.open_for;
    options.origin_breaker.open_max = config.origin.breaker.open_for;
    options.write_timeout = config.raft.propose_timeout;
    options.cache.bytes_max = config.cache.bytes.bytes();
    options.cache.object_bytes_max = config.cache.object_max.as_usize();
    options.cache.stale_max = config.cache.stale_max;
    options.cache.purge_max_silence = Some(config.purge.max_silence);
    options.cache.arriving_bytes_max = config.cache.bytes.bytes() / 4;
    options.cache.heuristic_max = config.cache.heuristic_max;
    options.cache.negative = config.cache.negative_ttl;
    options.cache.tier = config.cache.tier;
    options.cache.disk = disk_options(config);
    options.cache.query = QueryRules {
        drop: config.cache.query.drop.clone(),
        keep: config.cache.query.keep.clone(),
        sort: config.cache.query.sort,
    };
    let cookies = &config.cache.cookies;
    options.cache.cookies = (*cookies != ["*"]).then(|| cookies.clone());
    options.cache.origin_timeout = config.origin.timeout;
    options.cache.host = match &config.origin.host {
        OriginHost::Pass => CacheHost::Pass,
        OriginHost::Fixed(name) => CacheHost::Fixed(name.clone()),
    };
    options.results_bytes_max = config.cache.answers.bytes.bytes();
    let compression = &config.cache.compression;
    options.coding = CodingOptions {
        codings: compression.codings.iter().filter_map(|name| Coding::from_name(name)).collect(),
        bytes_min: compression.min.as_usize(),
        bytes_max: compression.max.as_usize(),
        kept_bytes_max: compression.bytes.bytes(),
    };
    options.feed.territories =
        config.territories.iter().map(|policy| policy.territory.clone()).collect();
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::{ByteSize, config::SAMPLE};

    use super::*;

    #[test]
    fn what_was_cached_on_disk_is_removed_where_it_is_not_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        let mut config = Config::from_text(SAMPLE, &file, [], []).unwrap().config;
        config.node.data_dir = dir.path().to_owned();
        config.cache.disk.bytes = ByteSize::mib(16);
        let used = disk_options(&config).unwrap();
        assert_eq!((used.dir.clone(), used.bytes_max), (dir.path().join("cache"), 16 << 20));
        fs::create_dir(&used.dir).unwrap();
        fs::write(used.dir.join("0000000000000001.seg"), "x").unwrap();
        remove_unused_cache(&config);
        assert!(used.dir.exists());
        config.cache.disk.bytes = ByteSize::new(0);
        remove_unused_cache(&config);
        assert!(!used.dir.exists() && disk_options(&config).is_none());
        remove_unused_cache(&config);
    }

    #[test]
    fn incarnations_grow_even_when_the_clock_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("incarnation");
        fs::write(&file, u64::MAX.saturating_sub(10).to_string()).unwrap();
        assert_eq!(next_incarnation(&file).unwrap(), u64::MAX - 9);
        assert_eq!(next_incarnation(&file).unwrap(), u64::MAX - 8);
    }
}
