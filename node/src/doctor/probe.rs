//! Finding out, before a start, what [`before`](super::before) judges. Changes nothing but for a
//! small file in the data directory, which is removed again.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hexpop_edge_config::{ByteSize, Config};
use hexpop_router::{DiskOptions, Origin as _};
use http::header;
use rustix::{
    fs::{Access, access, statvfs},
    process::{Resource, getrlimit},
};

use super::{
    Topic,
    before::{Certificates, Disk, Facts, OpenFiles, Origin, Port, Seeds},
};
use crate::{
    adapters::origin::HttpOrigin,
    certs,
    http::{body::empty, server::Certificates as ServedCertificates},
    mesh::{NoHandshake, Probe},
};

/// How long a seed may take for its handshake.
const SEED_DEADLINE: Duration = Duration::from_secs(2);
/// How long the origin may take at most, whatever it is allowed in operation.
const ORIGIN_DEADLINE: Duration = Duration::from_secs(5);
/// Appends of which the median is told.
const FLUSHES: usize = 15;
/// Bytes of one of them: a block, as a batch of small writes is.
const FLUSH_BYTES: usize = 4096;
/// No more appends are begun after this.
const FLUSH_TIME: Duration = Duration::from_secs(3);
/// Segments of the log that must fit: the one that is written, the one that is prepared, and room for
/// a snapshot to be written before the others are freed.
const SEGMENTS_NEEDED: u64 = 4;
/// Open files besides connections: log, snapshots, documents.
const FILES_BESIDES: u64 = 1024;

/// Finds out what the checks of `topics` need.
pub async fn gather(config: &Config, topics: &BTreeSet<Topic>) -> Facts {
    let asked = |topic| topics.contains(&topic);
    let mut facts = Facts { now_unix_s: unix_seconds(), ..Facts::default() };
    if asked(Topic::Net) {
        facts.ports = ports(config);
    }
    if asked(Topic::Disk) {
        let dir = config.node.data_dir.clone();
        let needed = config.raft.segment_bytes.bytes().saturating_mul(SEGMENTS_NEEDED);
        // Without an answer there is nothing to judge: the task only ends early when it panics.
        facts.disk =
            tokio::task::spawn_blocking(move || disk(dir, ByteSize::new(needed))).await.ok();
    }
    if asked(Topic::Limits) {
        facts.open_files = Some(open_files(config));
    }
    if asked(Topic::Certs) || asked(Topic::Mesh) {
        let probe = Probe::open(&config.mesh, config.node.id);
        if asked(Topic::Certs) {
            let problem = probe.as_ref().err().map(ToString::to_string);
            let served = ServedCertificates::read(&config.tls);
            let served_problem = served.err().map(|error| error.to_string());
            facts.certificates = Some(Certificates { problem, served_problem, ends: ends(config) });
        }
        if asked(Topic::Mesh) {
            facts.seeds = Some(seeds(config, probe.ok()).await);
        }
    }
    if asked(Topic::Origin) || asked(Topic::Time) {
        facts.origin = Some(origin(config).await);
    }
    facts
}

/// Now, in seconds since 1970.
pub(crate) fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn ports(config: &Config) -> Vec<Port> {
    let tcp = |address| TcpListener::bind(address).map(drop);
    let udp = |address| UdpSocket::bind(address).map(drop);
    let (http, admin, mesh) = (config.listen.http, config.listen.admin, config.mesh.listen);
    let mut ports = vec![port("listen.http", "TCP", http, tcp(http))];
    let https = config.listen.https;
    ports.extend(https.map(|https| port("listen.https", "TCP", https, tcp(https))));
    let http3 = config.listen.http3_address();
    ports.extend(http3.map(|http3| port("listen.https", "UDP", http3, udp(http3))));
    ports.push(port("listen.admin", "TCP", admin, tcp(admin)));
    ports.push(port("mesh.listen", "UDP", mesh, udp(mesh)));
    ports
}

fn port(
    key: &'static str,
    protocol: &'static str,
    address: SocketAddr,
    opened: io::Result<()>,
) -> Port {
    let error = opened.err();
    let is_taken = error.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    Port { key, protocol, address, problem: error.map(|error| error.to_string()), is_taken }
}

fn open_files(config: &Config) -> OpenFiles {
    let connections = u64::from(config.limits.connections);
    let to_origin = u64::from(config.origin.max_connections);
    let has_disk = config.cache.disk.bytes.bytes() > 0;
    let cached = if has_disk { DiskOptions::OPEN_FILES_MAX as u64 } else { 0 };
    let besides = FILES_BESIDES.saturating_add(cached);
    OpenFiles {
        soft: getrlimit(Resource::Nofile).current,
        wanted: connections.saturating_add(to_origin).saturating_add(besides),
    }
}

fn disk(path: PathBuf, needed: ByteSize) -> Disk {
    let exists = path.is_dir();
    let place = nearest(&path);
    let unusable = usable(&path, &place).err();
    let space = statvfs(&place).ok().map(|found| {
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        (free, found.f_blocks.saturating_mul(found.f_frsize))
    });
    // What cannot be written has no latency.
    let flush = unusable.is_none().then(|| flush(&place).map_err(|error| error.to_string()));
    Disk { path, exists, unusable, space, needed, flush }
}

/// The directory itself, or the nearest one above that is there.
fn nearest(path: &Path) -> PathBuf {
    let here = path.ancestors().find(|above| above.exists()).unwrap_or(path);
    // Of a relative path nothing is left above the first name.
    if here.as_os_str().is_empty() { PathBuf::from(".") } else { here.to_owned() }
}

fn usable(path: &Path, place: &Path) -> Result<(), String> {
    if !place.is_dir() {
        return Err(format!("{} is no directory", place.display()));
    }
    access(place, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let what = if path == place { "be written to" } else { "be made a directory in" };
        format!("{} cannot {what}: {error}", place.display())
    })
}

/// Appends to a file with fdatasync, as the log does; the median and the slowest.
fn flush(place: &Path) -> io::Result<(Duration, Duration)> {
    let path = place.join(format!(".hexpop-doctor-{}", std::process::id()));
    let taken = (|| -> io::Result<Vec<Duration>> {
        let mut file = File::options().write(true).create_new(true).open(&path)?;
        let begin = Instant::now();
        let mut taken = Vec::with_capacity(FLUSHES);
        while taken.len() < FLUSHES && (taken.is_empty() || begin.elapsed() < FLUSH_TIME) {
            let start = Instant::now();
            file.write_all(&[0; FLUSH_BYTES])?;
            file.sync_data()?;
            taken.push(start.elapsed());
        }
        Ok(taken)
    })();
    let removed = fs::remove_file(&path);
    let mut taken = taken?;
    removed?;
    taken.sort_unstable();
    let at = |index: usize| taken.get(index).copied().unwrap_or_default();
    Ok((at(taken.len() / 2), at(taken.len().saturating_sub(1))))
}

fn ends(config: &Config) -> Vec<(String, i64)> {
    // What cannot be read is told by the check of the credentials.
    let end = |what: &str, path: &Path| {
        let first = certs::show(path).ok()?.into_iter().next()?;
        Some((format!("{what} {}", path.display()), first.valid_until_unix_s))
    };
    let mesh = &config.mesh;
    let of_mesh = [end("certificate", &mesh.cert), end("authority", &mesh.ca)];
    let served =
        config.tls.certificates.iter().map(|pair| end("certificate for clients", &pair.cert));
    of_mesh.into_iter().chain(served).flatten().collect()
}

async fn seeds(config: &Config, probe: Option<Probe>) -> Seeds {
    let mesh = &config.mesh;
    let others = mesh.seeds.iter().filter(|seed| **seed != mesh.advertised()).copied();
    let handshakes = others.map(|seed| {
        let probe = probe.as_ref();
        async move {
            let answer = match probe {
                Some(probe) => probe.handshake(seed, SEED_DEADLINE).await,
                None => {
                    let why = "not asked: the certificates do not do".to_owned();
                    Err(NoHandshake::Because(why))
                }
            };
            (seed, answer)
        }
    });
    Seeds {
        is_founder: mesh.bootstrap.contains(&config.node.id),
        asked: futures::future::join_all(handshakes).await,
    }
}

async fn origin(config: &Config) -> Origin {
    let Some(url) = config.origin.url.clone() else { return Origin::None };
    let deadline = config.origin.timeout.min(ORIGIN_DEADLINE);
    let asked = async {
        let origin = HttpOrigin::new(&url, config.origin.connect_timeout, 1)
            .map_err(|error| error.to_string())?;
        let request = http::Request::head("/").body(empty()).map_err(|error| error.to_string())?;
        let begin = Instant::now();
        let response = origin.fetch(request, deadline).await.map_err(|error| error.to_string())?;
        let took = begin.elapsed();
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        let clock_off_s = date
            .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
            .map(|date| date.timestamp().as_second() - unix_seconds());
        Ok((response.status().as_u16(), took, clock_off_s))
    };
    match asked.await {
        Ok((status, took, clock_off_s)) => Origin::Answered { url, status, took, clock_off_s },
        Err(why) => Origin::Failed { url, why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_judged_by_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        let found = disk(dir.path().join("a/b"), ByteSize::mib(1));
        assert!(!found.exists && found.unusable.is_none(), "{found:?}");
        let (median, slowest) = found.flush.unwrap().unwrap();
        assert!(median <= slowest && slowest > Duration::ZERO);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
        fs::write(dir.path().join("file"), "").unwrap();
        let found = disk(dir.path().join("file/data"), ByteSize::mib(1));
        assert!(found.unusable.unwrap().contains("no directory"));
        assert!(found.flush.is_none());
    }

    #[test]
    fn a_port_that_somebody_has_is_found_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let found = port("listen.http", "TCP", address, TcpListener::bind(address).map(drop));
        assert!(found.is_taken && found.problem.is_some());
        let udp = port("mesh.listen", "UDP", address, UdpSocket::bind(address).map(drop));
        assert!(udp.problem.is_none(), "UDP has ports of its own: {udp:?}");
    }
}
