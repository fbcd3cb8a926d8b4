//! Where the members were, kept in the data directory: a mesh that stopped as a whole finds itself again also
//! when every node that the configuration names as a seed is gone for good.
//!
//! It is a help and nothing more. What cannot be read or written is told, and done without.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::gossip_loop::GossipWatch;
use hexpop_edge_config::codec;

/// How many addresses are kept: any one that answers tells of all others.
const PEERS_MAX: usize = 64;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// How long changes gather before they are written.
const PAUSE: Duration = Duration::from_secs(2);

/// The addresses in `file`; none if there is no such file.
#[must_use]
pub fn load(file: &Path) -> Vec<SocketAddr> {
    match read(file) {
        Ok(peers) => peers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "where members were is not known");
            Vec::new()
        }
    }
}

fn read(file: &Path) -> io::Result<Vec<SocketAddr>> {
    if fs::metadata(file)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large"));
    }
    let bytes = fs::read(file)?;
    let mut peers: Vec<SocketAddr> = codec::decode(&bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    peers.truncate(PEERS_MAX);
    Ok(peers)
}

/// Writes aside and renames, so that a crash leaves the one or the other.
fn write(file: &Path, peers: &[SocketAddr]) -> io::Result<()> {
    let bytes = codec::encode(&peers).map_err(|error| io::Error::other(error.to_string()))?;
    let aside = file.with_extension("tmp");
    fs::write(&aside, bytes)?;
    fs::File::open(&aside)?.sync_all()?;
    fs::rename(&aside, file)
}

/// Those that are up, then those that were: who is down now may be there when this node starts again.
fn merged(up: Vec<SocketAddr>, before: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut peers: Vec<SocketAddr> = Vec::new();
    for peer in up.into_iter().chain(before.iter().copied()) {
        if peers.len() < PEERS_MAX && !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    peers
}

/// Keeps `file` as the members change, until the gossip ends, which this does not keep from ending.
pub async fn follow(mut gossip: GossipWatch, file: PathBuf, mut peers: Vec<SocketAddr>) {
    while gossip.changed().await {
        tokio::time::sleep(PAUSE).await;
        gossip.skip();
        let view = gossip.view();
        let mut up: Vec<SocketAddr> = view
            .up()
            .filter(|member| member.identity.node != view.local)
            .map(|member| member.identity.address)
            .collect();
        up.sort_unstable();
        let newer = merged(up, &peers);
        if newer == peers {
            continue;
        }
        let (at, wanted) = (file.clone(), newer.clone());
        match tokio::task::spawn_blocking(move || write(&at, &wanted)).await {
            Ok(Ok(())) => peers = newer,
            Ok(Err(error)) => {
                tracing::warn!(file = %file.display(), %error, "where members are is not kept");
            }
            Err(_stopped) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn what_is_written_is_read_and_what_is_broken_costs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("peers");
        assert!(load(&file).is_empty());
        write(&file, &[peer(1), peer(2)]).unwrap();
        assert_eq!(load(&file), [peer(1), peer(2)]);
        fs::write(&file, b"\xff\xffnonsense").unwrap();
        assert!(load(&file).is_empty());
        fs::write(&file, vec![0; usize::try_from(FILE_BYTES_MAX).unwrap() + 1]).unwrap();
        assert!(load(&file).is_empty());
    }

    #[test]
    fn who_is_up_comes_first_and_who_was_stays_while_there_is_room() {
        assert_eq!(merged(vec![peer(3), peer(1)], &[peer(1), peer(2)]), [3, 1, 2].map(peer));
        let many: Vec<SocketAddr> = (100..100 + 64).map(peer).collect();
        let kept = merged(vec![peer(1)], &many);
        assert_eq!((kept.len(), kept[0], kept[63]), (PEERS_MAX, peer(1), peer(162)));
    }
}
