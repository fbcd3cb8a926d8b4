//! Judging a node before its start. Pure.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use hexpop_edge_config::{ByteSize, NodeId};

use super::{Check, Topic, expiry_check, millis};
use crate::mesh::NoHandshake;

/// A flush that takes longer than this on an idle disk makes every write slow.
const FLUSH_SLOW: Duration = Duration::from_millis(20);
/// A file system with less than this part free is a warning, in percent.
const FREE_PERCENT_MIN: u64 = 10;
/// The origin's clock tells whole seconds, and its answer takes time.
const ORIGIN_CLOCK_OFF_S: i64 = 5;

/// What was found out before a start; what was not asked for is absent.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Now, in seconds since 1970.
    pub now_unix_s: i64,
    /// The ports that the node will open.
    pub ports: Vec<Port>,
    /// Its data directory.
    pub disk: Option<Disk>,
    /// Open files.
    pub open_files: Option<OpenFiles>,
    /// Its certificates.
    pub certificates: Option<Certificates>,
    /// The seeds it will ask.
    pub seeds: Option<Seeds>,
    /// The platform behind it.
    pub origin: Option<Origin>,
}

/// A port that the node will open.
#[derive(Debug, Clone)]
pub struct Port {
    /// The key that names it.
    pub key: &'static str,
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// Its address.
    pub address: SocketAddr,
    /// Why it cannot be opened; none = it can.
    pub problem: Option<String>,
    /// Whether that is because somebody has it.
    pub is_taken: bool,
}

/// The data directory, or where it will be.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The directory.
    pub path: PathBuf,
    /// Whether it is there.
    pub exists: bool,
    /// Why nothing can be made in it, or in the directory that it will be made in.
    pub unusable: Option<String>,
    /// Free and all bytes of its file system.
    pub space: Option<(u64, u64)>,
    /// What the node needs at least.
    pub needed: ByteSize,
    /// How long an append with its flush takes (the median, the slowest), or why it fails.
    pub flush: Option<Result<(Duration, Duration), String>>,
}

/// The limit on open files.
#[derive(Debug, Clone, Copy)]
pub struct OpenFiles {
    /// The soft limit of this process; none = unlimited.
    pub soft: Option<u64>,
    /// What the node wants.
    pub wanted: u64,
}

/// The certificates of a node.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Why they do not do for this node; none = they do.
    pub problem: Option<String>,
    /// Why those that clients are shown cannot be used; none = they can, or there are none.
    pub served_problem: Option<String>,
    /// Which certificates end when, in seconds since 1970.
    pub ends: Vec<(String, i64)>,
}

/// Who is there and how far, or why there was no handshake.
pub type Handshake = Result<(NodeId, Duration), NoHandshake>;

/// What the seeds answered.
#[derive(Debug, Clone)]
pub struct Seeds {
    /// Whether this node founds the cluster, so that it may start with nobody there.
    pub is_founder: bool,
    /// Which seed is which node and how far, or why it gave no answer.
    pub asked: Vec<(SocketAddr, Handshake)>,
}

/// What the origin answered.
#[derive(Debug, Clone)]
pub enum Origin {
    /// There is none.
    None,
    /// It answered.
    Answered {
        /// Its address.
        url: String,
        /// The status.
        status: u16,
        /// How long that took.
        took: Duration,
        /// Its clock less ours, in seconds, if it told.
        clock_off_s: Option<i64>,
    },
    /// It did not.
    Failed {
        /// Its address.
        url: String,
        /// Why.
        why: String,
    },
}

/// What there is to say about `facts`.
#[must_use]
pub fn checks(facts: &Facts) -> Vec<(Topic, Check)> {
    let mut checks = Vec::new();
    checks.extend(facts.ports.iter().map(|port| (Topic::Net, port_check(port))));
    if let Some(disk) = &facts.disk {
        checks.extend(disk_checks(disk).into_iter().map(|check| (Topic::Disk, check)));
    }
    checks.extend(facts.open_files.map(|files| (Topic::Limits, open_files_check(files))));
    if let Some(certificates) = &facts.certificates {
        let judged = certificate_checks(certificates, facts.now_unix_s);
        checks.extend(judged.into_iter().map(|check| (Topic::Certs, check)));
    }
    checks.extend(facts.seeds.as_ref().map(|seeds| (Topic::Mesh, seeds_check(seeds))));
    if let Some(origin) = &facts.origin {
        checks.push((Topic::Origin, origin_check(origin)));
        checks.push((Topic::Time, clock_check(origin)));
    }
    checks
}

fn port_check(port: &Port) -> Check {
    let Port { key, protocol, address, .. } = port;
    let Some(problem) = &port.problem else {
        return Check::ok(format!("{key}: {protocol} {address} can be opened"));
    };
    let check = Check::error(format!("{key}: {protocol} {address} cannot be opened"), problem);
    if port.is_taken {
        check.hint("stop whoever has it; a node that runs already is asked by `hexpop doctor`")
    } else {
        check.hint(format!("set {key} to an address of this machine that may be opened"))
    }
}

fn disk_checks(disk: &Disk) -> Vec<Check> {
    let path = disk.path.display();
    let mut checks = Vec::new();
    checks.push(match (&disk.unusable, disk.exists) {
        (Some(why), _) => Check::error(format!("data directory {path} cannot be used"), why)
            .hint("let the user of the node own it, or set node.data_dir"),
        (None, true) => Check::ok(format!("data directory {path} is writable")),
        (None, false) => Check::ok(format!("data directory {path} can be made")),
    });
    if let Some((free, all)) = disk.space {
        let percent = free.saturating_mul(100).checked_div(all).unwrap_or(100);
        let found = format!("{} of {} free ({percent} %)", size(free), size(all));
        checks.push(if free < disk.needed.bytes() {
            let why = format!("the node needs {} at least", size(disk.needed.bytes()));
            Check::error(found, why).hint("free space, or set node.data_dir to another disk")
        } else if percent < FREE_PERCENT_MIN {
            Check::warning(found).hint("the log and its snapshots grow with the data")
        } else {
            Check::ok(found)
        });
    }
    match &disk.flush {
        None => {}
        Some(Ok((median, slowest))) => {
            let (median, slowest, slow) = (*median, *slowest, millis(FLUSH_SLOW));
            let found = format!(
                "an append with fdatasync takes {} (slowest {})",
                millis(median),
                millis(slowest)
            );
            checks.push(if median > FLUSH_SLOW {
                Check::warning(found)
                    .hint(format!("every durable write waits for it; below {slow} is usual"))
            } else {
                Check::ok(found)
            });
        }
        Some(Err(why)) => checks.push(
            Check::error("an append with fdatasync fails", why)
                .hint("nothing that is written there is safe: check disk and file system"),
        ),
    }
    checks
}

/// Bytes, rounded down to the unit that people read.
fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{} KiB", bytes >> 10),
        MIB..0x0002_8000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

fn open_files_check(files: OpenFiles) -> Check {
    let wanted = files.wanted;
    match files.soft {
        Some(soft) if soft < wanted => {
            Check::warning(format!("open files: soft limit {soft}, the node wants {wanted}"))
                .hint(format!("LimitNOFILE={wanted} in the unit, or ulimit -n {wanted}"))
        }
        Some(soft) => Check::ok(format!("open files: soft limit {soft}, the node wants {wanted}")),
        None => Check::ok(format!("open files: no limit, the node wants {wanted}")),
    }
}

fn certificate_checks(certificates: &Certificates, now_unix_s: i64) -> Vec<Check> {
    let mut checks = vec![match &certificates.problem {
        None => Check::ok("certificate, key and authority belong together and to this node"),
        Some(why) => Check::error("the certificates do not do for this node", why),
    }];
    checks.extend(certificates.served_problem.as_ref().map(|why| {
        Check::error("tls.certificates: a certificate for clients cannot be used", why)
            .hint("`hexpop certs server` makes one; key and certificate have to be a pair")
    }));
    let help = "`hexpop certs issue` makes another; the node takes it at its next start";
    checks.extend(
        certificates.ends.iter().map(|(what, ends)| expiry_check(what, *ends, now_unix_s, help)),
    );
    checks
}

fn seeds_check(seeds: &Seeds) -> Check {
    let all = seeds.asked.len();
    let silent: Vec<String> = seeds
        .asked
        .iter()
        .filter_map(|(address, answer)| Some((address, answer.as_ref().err()?)))
        .map(|(address, why)| format!("{address}: {why}"))
        .collect();
    if all == 0 {
        return Check::ok("mesh.seeds names no other node: this one founds the cluster");
    }
    if silent.is_empty() {
        let far = seeds
            .asked
            .iter()
            .filter_map(|(_address, answer)| Some(answer.as_ref().ok()?.1))
            .max()
            .unwrap_or_default();
        let found =
            format!("mesh.seeds: {all} of {all} addresses answer (slowest {})", millis(far));
        return Check::ok(found);
    }
    let answered = all - silent.len();
    let found = format!("mesh.seeds: {answered} of {all} addresses answer");
    let help = "open UDP towards them, start them, or remove them from mesh.seeds";
    let is_silence = |(_address, answer): &(SocketAddr, Handshake)| {
        matches!(answer, Err(NoHandshake::Silence(_)))
    };
    if seeds.is_founder && seeds.asked.iter().all(is_silence) {
        return Check::warning(found).because(silent.join("\n")).hint(
            "nothing is wrong if this is the first node to start; else open UDP towards them",
        );
    }
    Check::error(found, silent.join("\n")).hint(help)
}

fn origin_check(origin: &Origin) -> Check {
    match origin {
        Origin::None => Check::ok("origin.url is not set: nothing is proxied"),
        Origin::Answered { url, status, took, .. } if *status >= 500 => {
            let took = millis(*took);
            Check::warning(format!("origin {url} answers {status} ({took})"))
                .hint("the mesh works without it; what it does not hold is answered 5xx")
        }
        Origin::Answered { url, status, took, .. } => {
            Check::ok(format!("origin {url} answers {status} ({})", millis(*took)))
        }
        Origin::Failed { url, why } => Check::error(format!("origin {url} does not answer"), why)
            .hint("start it, open the way to it, or set origin.url"),
    }
}

/// Nobody can be asked for the time yet but the origin.
fn clock_check(origin: &Origin) -> Check {
    let off = match origin {
        Origin::Answered { clock_off_s, .. } => *clock_off_s,
        Origin::None | Origin::Failed { .. } => None,
    };
    match off {
        None => Check::warning("clock: unknown, as nobody can be asked for the time")
            .hint("a running node compares its clock with its peers'"),
        Some(off) if off.abs() > ORIGIN_CLOCK_OFF_S => {
            Check::warning(format!("clock: {} s off the origin's", off.abs()))
                .hint("is this machine synchronised (chrony, systemd-timesyncd)?")
        }
        Some(_small) => Check::ok(format!("clock: within {ORIGIN_CLOCK_OFF_S} s of the origin's")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome::{self, Error, Success, Warning};

    const MIB: u64 = 1 << 20;

    fn disk() -> Disk {
        Disk {
            path: "/data".into(),
            exists: true,
            unusable: None,
            space: Some((50_000 * MIB, 100_000 * MIB)),
            needed: ByteSize::mib(256),
            flush: Some(Ok((Duration::from_millis(1), Duration::from_millis(3)))),
        }
    }

    fn results(checks: &[Check]) -> Vec<Outcome> {
        checks.iter().map(|check| check.result).collect()
    }

    #[test]
    fn a_disk_is_judged_by_writability_space_and_flush() {
        assert_eq!(results(&disk_checks(&disk())), [Success; 3]);
        let little = Disk { space: Some((5_000 * MIB, 100_000 * MIB)), ..disk() };
        assert_eq!(results(&disk_checks(&little)), [Success, Warning, Success]);
        let less = Disk { space: Some((200 * MIB, 100_000 * MIB)), ..disk() };
        assert_eq!(results(&disk_checks(&less)), [Success, Error, Success]);
        let slow = Duration::from_millis(21);
        let slow = Disk { flush: Some(Ok((slow, slow))), ..disk() };
        assert_eq!(results(&disk_checks(&slow)), [Success, Success, Warning]);
        let broken = Disk {
            unusable: Some("read-only".into()),
            flush: Some(Err("no".into())),
            space: Some((0, 0)),
            ..disk()
        };
        assert_eq!(results(&disk_checks(&broken)), [Error; 3]);
    }

    #[test]
    fn seeds_that_are_silent_are_named() {
        let at = |last: u8| SocketAddr::from(([10, 0, 3, last], 7080));
        let far = Ok((NodeId(2), Duration::from_millis(3)));
        let silent = Err(NoHandshake::Silence(Duration::from_secs(2)));
        let ask = |is_founder, asked| seeds_check(&Seeds { is_founder, asked });
        assert_eq!(ask(false, vec![(at(1), far.clone()), (at(2), far.clone())]).result, Success);
        let some = ask(true, vec![(at(1), far), (at(7), silent.clone())]);
        assert_eq!(some.result, Error);
        assert_eq!(some.description, "mesh.seeds: 1 of 2 addresses answer");
        assert_eq!(some.error.as_deref(), Some("10.0.3.7:7080: no QUIC handshake within 2 s"));
        // The first of a cluster finds nobody; whoever joins has to.
        assert_eq!(ask(true, vec![(at(7), silent.clone())]).result, Warning);
        assert_eq!(ask(false, vec![(at(7), silent)]).result, Error);
        // Somebody who is there and refuses is no empty place.
        let refused = Err(NoHandshake::Because("not of this authority".into()));
        assert_eq!(ask(true, vec![(at(7), refused)]).result, Error);
        assert_eq!(ask(true, Vec::new()).result, Success);
    }

    #[test]
    fn the_clock_is_unknown_rather_than_guessed() {
        let answered = |off| Origin::Answered {
            url: "http://o".into(),
            status: 200,
            took: Duration::from_millis(1),
            clock_off_s: off,
        };
        assert_eq!(clock_check(&answered(Some(-2))).result, Success);
        assert_eq!(clock_check(&answered(Some(-60))).result, Warning);
        for unknown in [answered(None), Origin::None] {
            assert!(clock_check(&unknown).description.contains("unknown"));
        }
    }

    #[test]
    fn what_was_not_asked_for_is_not_judged() {
        assert_eq!(checks(&Facts::default()), []);
        let files = OpenFiles { soft: Some(1024), wanted: 65_536 };
        let facts = Facts { open_files: Some(files), ..Facts::default() };
        let checks = checks(&facts);
        assert_eq!(checks[0].0, Topic::Limits);
        assert_eq!(checks[0].1.description, "open files: soft limit 1024, the node wants 65536");
        assert_eq!(open_files_check(OpenFiles { soft: None, wanted: 1 }).result, Success);
    }

    #[test]
    fn a_port_that_is_taken_says_so() {
        let port = |problem: Option<&str>, is_taken| Port {
            key: "listen.http",
            protocol: "TCP",
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            problem: problem.map(str::to_owned),
            is_taken,
        };
        assert_eq!(port_check(&port(None, false)).result, Success);
        let taken = port_check(&port(Some("address in use"), true));
        assert_eq!(taken.result, Error);
        assert!(taken.hint.unwrap().contains("hexpop doctor"));
        let refused = port_check(&port(Some("permission denied"), false));
        assert!(refused.hint.unwrap().contains("listen.http"));
    }

    #[test]
    fn an_origin_that_fails_is_a_warning_and_one_that_is_silent_an_error() {
        let answered = |status| Origin::Answered {
            url: "http://o".into(),
            status,
            took: Duration::from_millis(1),
            clock_off_s: None,
        };
        assert_eq!(origin_check(&answered(404)).result, Success);
        assert_eq!(origin_check(&answered(503)).result, Warning);
        let failed = Origin::Failed { url: "http://o".into(), why: "refused".into() };
        assert_eq!(origin_check(&failed).result, Error);
        assert_eq!(origin_check(&Origin::None).result, Success);
    }
}
