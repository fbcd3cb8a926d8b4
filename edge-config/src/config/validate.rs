//! Rules between keys.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use super::{
    Admin, Cache, Chaos, Data, Gossip, Limits, Listen, Mesh, Node, Origin, Placement, Problem,
    ProblemKind, Raft, Role, Source, TerritoryPolicy, Tls, ledger::Ledger,
};
use crate::{ConfigDuration, PopId};

/// A configuration of which required parts may be missing.
pub(super) struct Draft<'d> {
    pub(super) node: Option<&'d Node>,
    pub(super) mesh: Option<&'d Mesh>,
    pub(super) listen: Option<&'d Listen>,
    pub(super) tls: &'d Tls,
    pub(super) admin: &'d Admin,
    pub(super) data: &'d Data,
    pub(super) origin: &'d Origin,
    pub(super) territories: &'d [TerritoryPolicy],
    pub(super) placement: &'d Placement,
    pub(super) cache: &'d Cache,
    pub(super) limits: &'d Limits,
    pub(super) raft: &'d Raft,
    pub(super) gossip: &'d Gossip,
    pub(super) chaos: &'d Chaos,
}

/// Checks all rules between keys that were themselves read well.
pub(super) fn validate(draft: &Draft<'_>, ledger: &Ledger) -> Vec<Problem> {
    let mut rules = Rules { ledger, found: Vec::new() };
    if let Some(mesh) = draft.mesh {
        check_mesh(&mut rules, mesh);
        if let Some(node) = draft.node {
            check_join(&mut rules, node, mesh);
        }
    }
    if let Some(listen) = draft.listen {
        check_listen(&mut rules, listen);
        check_tls(&mut rules, listen, draft.tls);
        if let Some(mesh) = draft.mesh {
            check_udp(&mut rules, listen, mesh);
        }
    }
    check_admin(&mut rules, draft.admin, draft.chaos);
    check_data(&mut rules, draft.data);
    check_territories(&mut rules, draft.territories);
    check_rings(&mut rules, draft.node, draft.placement, draft.territories);
    check_sizes(&mut rules, draft.cache, draft.limits);
    check_times(&mut rules, draft.origin, draft.gossip);
    check_raft(&mut rules, draft.raft);
    rules.found
}

struct Rules<'l> {
    ledger: &'l Ledger,
    found: Vec<Problem>,
}

impl Rules<'_> {
    /// `holds`, or else `message` about the keys. The problem stands at the key that was written last, as
    /// defaults agree with each other. Keys with problems of their own are not judged.
    fn require(&mut self, keys: &[&str], holds: bool, message: impl FnOnce() -> String) {
        let is_known_wrong =
            |key: &&str| self.ledger.problems.iter().any(|problem| problem.key == **key);
        if holds || keys.iter().any(is_known_wrong) {
            return;
        }
        let places = keys.iter().map(|key| (self.ledger.source(key), *key));
        let at = places.reduce(|first, next| if next.0 > first.0 { next } else { first });
        let (mut source, key) = at.unwrap_or((Source::Default, ""));
        if source == Source::Default {
            source = self.ledger.section_source(key);
        }
        self.found.push(Problem::new(&source, key, ProblemKind::Conflict, message()));
    }
}

fn text(duration: Duration) -> ConfigDuration {
    ConfigDuration(duration)
}

fn check_mesh(rules: &mut Rules<'_>, mesh: &Mesh) {
    let listen = mesh.listen;
    rules.require(
        &["mesh.listen", "mesh.advertise"],
        !listen.ip().is_unspecified() || mesh.advertise.is_some(),
        || format!("other nodes cannot reach {listen}; set mesh.advertise to the address they use"),
    );
    if let Some(advertise) = mesh.advertise {
        rules.require(&["mesh.advertise"], is_reachable(advertise), || {
            format!("{advertise} is not an address that other nodes can reach")
        });
    }
    for seed in &mesh.seeds {
        rules.require(&["mesh.seeds"], is_reachable(*seed), || {
            format!("{seed} is not an address that can be reached")
        });
    }
    let distinct: BTreeSet<_> = mesh.bootstrap.iter().collect();
    rules.require(&["mesh.bootstrap"], distinct.len() == mesh.bootstrap.len(), || {
        "a node is named twice".to_owned()
    });
    let (idle, alive) = (mesh.idle_timeout, mesh.keep_alive);
    rules.require(
        &["mesh.keep_alive", "mesh.idle_timeout"],
        alive.saturating_mul(2) < idle,
        || {
            format!(
                "mesh.idle_timeout ({}) must be more than 2 × mesh.keep_alive ({})",
                text(idle),
                text(alive)
            )
        },
    );
}

fn is_reachable(address: SocketAddr) -> bool {
    !address.ip().is_unspecified() && address.port() != 0
}

fn check_join(rules: &mut Rules<'_>, node: &Node, mesh: &Mesh) {
    let founds = mesh.bootstrap.contains(&node.id);
    rules.require(&["mesh.seeds", "mesh.bootstrap"], founds || !mesh.seeds.is_empty(), || {
        format!(
            "node {} can neither join nor found a cluster: name other nodes in mesh.seeds, or \
                 this one in mesh.bootstrap",
            node.id
        )
    });
}

fn check_listen(rules: &mut Rules<'_>, listen: &Listen) {
    let ports = [
        ("listen.http", Some(listen.http)),
        ("listen.https", listen.https),
        ("listen.admin", Some(listen.admin)),
    ];
    for (nth, (one, one_address)) in ports.iter().enumerate() {
        for (other, other_address) in ports.iter().skip(nth + 1) {
            let (Some(one_address), Some(other_address)) = (one_address, other_address) else {
                continue;
            };
            rules.require(&[one, other], !overlap(*one_address, *other_address), || {
                format!(
                    "{one} ({one_address}) and {other} ({other_address}) need ports of their own"
                )
            });
        }
    }
}

/// Whether two sockets cannot both be open.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

fn check_tls(rules: &mut Rules<'_>, listen: &Listen, tls: &Tls) {
    let holds = listen.https.is_none() || !tls.certificates.is_empty();
    rules.require(&["listen.https", "tls.certificates"], holds, || {
        "listen.https needs a certificate to show: name one in tls.certificates, or make one with \
         `hexpop certs server`"
            .to_owned()
    });
}

fn check_udp(rules: &mut Rules<'_>, listen: &Listen, mesh: &Mesh) {
    let Some(http3) = listen.http3_address() else { return };
    rules.require(&["listen.https", "mesh.listen"], !overlap(http3, mesh.listen), || {
        format!(
            "HTTP/3 ({http3}) and mesh.listen ({}) need UDP ports of their own; listen.http3 = \
             false switches HTTP/3 off",
            mesh.listen
        )
    });
}

fn check_admin(rules: &mut Rules<'_>, admin: &Admin, chaos: &Chaos) {
    rules.require(
        &["admin.loopback_role", "chaos.enabled"],
        admin.loopback_role != Role::Chaos || chaos.enabled,
        || "admin.loopback_role = \"chaos\" needs chaos.enabled = true".to_owned(),
    );
}

fn check_data(rules: &mut Rules<'_>, data: &Data) {
    if let Some(default) = &data.default_language {
        rules.require(
            &["data.default_language", "data.languages"],
            data.languages.is_empty() || data.languages.contains(default),
            || format!("data.default_language ({default}) must be one of data.languages"),
        );
    }
}

fn check_territories(rules: &mut Rules<'_>, territories: &[TerritoryPolicy]) {
    let mut seen = BTreeSet::new();
    for (nth, policy) in territories.iter().enumerate() {
        let key = format!("territories[{nth}].territory");
        rules.require(&[&key], seen.insert(&policy.territory), || {
            format!("{} is named twice", policy.territory)
        });
    }
}

/// With rings, every PoP that is spoken of is in one.
fn check_rings(
    rules: &mut Rules<'_>,
    node: Option<&Node>,
    placement: &Placement,
    territories: &[TerritoryPolicy],
) {
    let is_in_one = |pop: &PopId| {
        placement.rings.is_empty() || placement.rings.iter().any(|ring| ring.contains(pop))
    };
    if let Some(node) = node {
        rules.require(&["node.pop", "placement.rings"], is_in_one(&node.pop), || {
            format!("this node's PoP {} is in none of placement.rings", node.pop)
        });
    }
    for (nth, policy) in territories.iter().enumerate() {
        let Some(near) = &policy.near else { continue };
        let key = format!("territories[{nth}].near");
        rules.require(&[&key, "placement.rings"], is_in_one(near), || {
            format!("PoP {near} is in none of placement.rings")
        });
    }
}

fn check_sizes(rules: &mut Rules<'_>, cache: &Cache, limits: &Limits) {
    let pairs = [
        ("cache.object_max", cache.object_max, "cache.bytes", cache.bytes),
        ("limits.target_bytes", limits.target_bytes, "limits.header_bytes", limits.header_bytes),
        ("limits.session_bytes", limits.session_bytes, "limits.body_bytes", limits.body_bytes),
        (
            "limits.ingest_line_bytes",
            limits.ingest_line_bytes,
            "limits.ingest_bytes",
            limits.ingest_bytes,
        ),
    ];
    for (part, part_size, whole, whole_size) in pairs {
        rules.require(&[part, whole], part_size <= whole_size, || {
            format!("{part} ({part_size}) must be at most {whole} ({whole_size})")
        });
    }
}

fn check_times(rules: &mut Rules<'_>, origin: &Origin, gossip: &Gossip) {
    let pairs = [
        ("origin.connect_timeout", origin.connect_timeout, 1, "origin.timeout", origin.timeout),
        ("gossip.probe_rtt", gossip.probe_rtt, 2, "gossip.probe_period", gossip.probe_period),
        ("gossip.probe_period", gossip.probe_period, 1, "gossip.suspicion", gossip.suspicion),
        ("gossip.suspicion", gossip.suspicion, 1, "gossip.forget_after", gossip.forget_after),
    ];
    for (short, short_time, factor, long, long_time) in pairs {
        require_longer(rules, (short, short_time), factor, (long, long_time));
    }
}

fn check_raft(rules: &mut Rules<'_>, raft: &Raft) {
    let least = ("raft.election_min", raft.election_min);
    let most = ("raft.election_max", raft.election_max);
    require_longer(rules, ("raft.heartbeat", raft.heartbeat), 3, least);
    require_longer(rules, least, 1, most);
    require_longer(rules, most, 1, ("raft.propose_timeout", raft.propose_timeout));
    let (append, queue) = (raft.max_append_bytes, raft.queue_bytes);
    rules.require(
        &["raft.max_append_bytes", "raft.queue_bytes"],
        append.bytes().saturating_mul(2) <= queue.bytes(),
        || {
            format!(
                "raft.queue_bytes ({queue}) must be at least 2 × raft.max_append_bytes ({append})"
            )
        },
    );
}

/// `long` must be more than `factor` times `short`.
fn require_longer(
    rules: &mut Rules<'_>,
    (short, short_time): (&str, Duration),
    factor: u32,
    (long, long_time): (&str, Duration),
) {
    rules.require(&[short, long], short_time.saturating_mul(factor) < long_time, || {
        let times = if factor == 1 { String::new() } else { format!("{factor} × ") };
        format!(
            "{long} ({}) must be more than {times}{short} ({})",
            text(long_time),
            text(short_time)
        )
    });
}
