//! What a demo writes: certificates, configurations, the ready file.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use hexpop_edge_config::{ClusterName, NodeId, PopId, Territory};
use serde::{Deserialize, Serialize};

use super::{
    super::error::{CliError, CliResult},
    ports::Ports,
};
use crate::certs;

/// Residency label of the demo's European PoPs.
const EU_POPS: [&str; 3] = ["mil", "mad", "ber"];
/// Voters of the meta group.
const META_VOTERS_MAX: u32 = 3;
/// The certificate that all nodes show to clients, beside the others.
const SERVER: &str = "server";
/// Its names: the demo is on this machine.
const SERVER_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// The file of session keys, beside the certificates.
const SESSION_KEYS: &str = "session.keys";
/// Replicas of each shard.
const REPLICAS: u32 = 3;

/// Where everything is.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Makes the demo's folder: `dir`, or a new one for temporary files.
    pub(super) fn create(dir: Option<&Path>) -> CliResult<Self> {
        let dir = match dir {
            Some(dir) => dir.to_owned(),
            None => std::env::temp_dir().join(format!("hexpop-demo-{}", std::process::id())),
        };
        let cannot = |error: io::Error| {
            CliError::failed(format!("cannot use the folder {}", dir.display())).caused_by(&error)
        };
        fs::create_dir_all(dir.join("logs")).map_err(cannot)?;
        // Paths in the ready file and in configurations are absolute.
        let dir = dir.canonicalize().map_err(cannot)?;
        Ok(Self { dir })
    }

    fn certificates(&self) -> PathBuf {
        self.dir.join("certs")
    }

    /// The cluster's certificate authority.
    pub(super) fn ca(&self) -> PathBuf {
        self.certificates().join("ca.pem")
    }

    /// The configuration of node `id`.
    pub(super) fn config(&self, id: u32) -> PathBuf {
        self.dir.join(format!("node-{id}.toml"))
    }

    /// Its data directory.
    pub(super) fn data_dir(&self, id: u32) -> PathBuf {
        self.dir.join(format!("node-{id}"))
    }

    /// The log of a process.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    /// Makes the authority, an identity per node, a certificate for clients and a key for sessions; those
    /// of an earlier demo are kept.
    pub(super) fn make_certificates(&self, nodes: u32) -> CliResult {
        let cannot = |error: &dyn std::error::Error| {
            CliError::failed("cannot make the demo's certificates").caused_by(error)
        };
        let dir = self.certificates();
        let cluster: ClusterName = "demo".parse().map_err(|error| cannot(&error))?;
        if !self.ca().exists() {
            certs::init(&dir, &cluster, false).map_err(|error| cannot(&error))?;
        }
        if !dir.join(SESSION_KEYS).exists() {
            certs::add_session_key(&dir.join(SESSION_KEYS), "demo", &[], certs::NewKey::InUse)
                .map_err(|error| cannot(&error))?;
        }
        if !dir.join(format!("{SERVER}.pem")).exists() {
            certs::issue_server(&dir, &dir, SERVER, &SERVER_NAMES.map(str::to_owned), 90, false)
                .map_err(|error| cannot(&error))?;
        }
        for id in 1..=nodes {
            if !dir.join(format!("node-{id}.pem")).exists() {
                certs::issue(&dir, &dir, NodeId(id), &[], 90, false)
                    .map_err(|error| cannot(&error))?;
            }
        }
        Ok(())
    }

    /// Writes the configuration of node `id`.
    pub(super) fn write_config(&self, id: u32, text: &str) -> CliResult {
        let path = self.config(id);
        let text = text.replace("@DIR@", &self.dir.display().to_string());
        fs::write(&path, text).map_err(|error| {
            CliError::failed(format!("cannot write {}", path.display())).caused_by(&error)
        })
    }

    /// Removes the demo's folder.
    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            super::note(&format!("{} could not be removed: {error}", self.dir.display()));
        }
    }
}

/// The text of a node's configuration; `index` counts from 0. `@DIR@` stands for the demo's folder.
pub(super) fn node_config(
    index: u32,
    pop: &PopId,
    ports: &Ports,
    nodes: u32,
    origin: &str,
    territories: &[Territory],
    wan: bool,
) -> String {
    let id = index + 1;
    let labels = if EU_POPS.contains(&pop.as_str()) { "[\"eu\"]" } else { "[]" };
    let bootstrap: Vec<String> =
        (1..=nodes.min(META_VOTERS_MAX)).map(|id| id.to_string()).collect();
    let seeds: Vec<String> = (0..nodes)
        .filter(|other| *other != index)
        .take(3)
        .map(|other| format!("\"127.0.0.1:{}\"", ports.mesh(other)))
        .collect();
    // With fewer than three nodes every node holds every shard.
    let replicas = REPLICAS;
    // Ten round trips between the farthest PoPs.
    let timers = if wan {
        "heartbeat = \"120ms\"\nelection_min = \"400ms\"\nelection_max = \"520ms\"\n"
    } else {
        ""
    };
    let mut text = format!(
        "# Node {id} of a demo mesh.\n\n\
         [node]\nid = {id}\npop = \"{pop}\"\nlabels = {labels}\ndata_dir = \"@DIR@/node-{id}\"\n\n\
         [mesh]\ncluster = \"demo\"\nlisten = \"127.0.0.1:{mesh}\"\nseeds = [{seeds}]\n\
         bootstrap = [{bootstrap}]\nca = \"@DIR@/certs/ca.pem\"\n\
         cert = \"@DIR@/certs/node-{id}.pem\"\nkey = \"@DIR@/certs/node-{id}.key\"\n\n\
         [listen]\nhttp = \"127.0.0.1:{http}\"\nhttps = \"127.0.0.1:{https}\"\n\
         admin = \"127.0.0.1:{admin}\"\n\n\
         [tls]\ncertificates = [{{ cert = \"@DIR@/certs/{SERVER}.pem\", key = \"@DIR@/certs/{SERVER}.key\" }}]\n\n\
         [admin]\nloopback_role = \"chaos\"\n\n\
         [chaos]\nenabled = true\n\n\
         [data]\nsession_keys = \"@DIR@/certs/{SESSION_KEYS}\"\n\n\
         [raft]\ncompact_after_erasure = \"2s\"\n{timers}\n\
         [origin]\nurl = \"{origin}\"\n\n\
         [placement]\nreplicas = {replicas}\nexpect_nodes = {nodes}\n",
        mesh = ports.mesh(index),
        seeds = seeds.join(", "),
        bootstrap = bootstrap.join(", "),
        http = ports.http(index),
        https = ports.https(index),
        admin = ports.admin(index),
    );
    for territory in territories {
        // Writing to a string cannot fail.
        let _ok =
            write!(text, "\n[[territories]]\nterritory = \"{territory}\"\nreplicas = {replicas}\n");
    }
    text
}

/// Where a demo leaves word for `hexpop demo ls`.
pub(super) fn last_ready_file() -> PathBuf {
    let dir = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    dir.join("hexpop-demo.json")
}

/// The ready file: what is running, and where.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReadyFile {
    /// The platform behind the mesh.
    pub(super) origin: ReadyOrigin,
    /// The cluster's certificate authority.
    pub(super) ca: PathBuf,
    /// The nodes, by id.
    pub(super) nodes: Vec<ReadyNode>,
}

/// The platform behind the mesh.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReadyOrigin {
    /// Its address.
    pub(super) url: String,
    /// Its process; null for one that the demo did not start.
    pub(super) pid: Option<u32>,
}

/// One node.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReadyNode {
    /// Its number.
    pub(super) id: u32,
    /// Its PoP.
    pub(super) pop: String,
    /// Its process.
    pub(super) pid: Option<u32>,
    /// Its data port.
    pub(super) http: String,
    /// Its data port over TLS; null without.
    pub(super) https: Option<String>,
    /// Its admin port.
    pub(super) admin: String,
    /// Its mesh address (UDP).
    pub(super) mesh: String,
    /// Its configuration file.
    pub(super) config: PathBuf,
    /// Its data directory.
    pub(super) data_dir: PathBuf,
}

impl ReadyFile {
    /// Writes the file aside and renames it, so that whoever waits for it finds it whole.
    pub(super) fn write(&self, path: &Path) -> CliResult {
        let cannot = |error: &dyn std::error::Error| {
            CliError::failed(format!("cannot write {}", path.display())).caused_by(error)
        };
        let text = serde_json::to_string_pretty(self).map_err(|error| cannot(&error))?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(|error| cannot(&error))?;
        }
        let aside = path.with_extension(format!("tmp-{}", std::process::id()));
        fs::write(&aside, text + "\n").map_err(|error| cannot(&error))?;
        fs::rename(&aside, path).map_err(|error| cannot(&error))
    }

    /// Reads a ready file.
    pub(super) fn read(path: &Path) -> CliResult<Self> {
        let text = fs::read_to_string(path).map_err(|error| {
            CliError::failed("no demo is running, or it is not ready yet")
                .cause(format!("{}: {error}", path.display()))
                .help("start one with `hexpop demo`, or name its ready file with --ready-file")
        })?;
        serde_json::from_str(&text).map_err(|error| {
            CliError::failed(format!("{} is no ready file", path.display())).caused_by(&error)
        })
    }
}
