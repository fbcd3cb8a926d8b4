//! A demo's mesh: its processes, and what a test does to them.

use std::{
    fs::{self, File},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use hexpop_bench::dataset::{DEFAULT_SEED, Generator, files::open_lines};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    client::{self, Answer, RUNTIME, send_json},
    wait::{until, until_true},
};

/// How long anything may take that processes do by themselves, on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Where a mesh gets its listings from.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    Synthetic(u64),
    Files(Vec<PathBuf>),
    /// None: the mesh stands in front of this origin.
    Behind(String),
}

impl Data {
    fn words(&self) -> Vec<String> {
        match self {
            Self::Behind(origin) => {
                ["--listings", "0", "--origin", origin.as_str()].map(str::to_owned).into()
            }
            Self::Synthetic(count) => vec!["--listings".into(), count.to_string()],
            Self::Files(files) => std::iter::once("--data".to_owned())
                .chain(files.iter().map(|file| file.display().to_string()))
                .collect(),
        }
    }

    /// The listings themselves.
    pub(crate) fn listings(&self) -> Vec<Value> {
        match self {
            Self::Synthetic(count) => Generator::new(DEFAULT_SEED, *count).collect(),
            Self::Files(files) => files
                .iter()
                .flat_map(|file| open_lines(file).unwrap())
                .map(|line| serde_json::from_slice(&line.unwrap().1).unwrap())
                .collect(),
            Self::Behind(_) => Vec::new(),
        }
    }
}

/// One node, as the ready file describes it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    pub(crate) http: String,
    pub(crate) admin: String,
    pub(crate) config: PathBuf,
    pub(crate) data_dir: PathBuf,
}

impl Node {
    fn of(ready: &Value) -> Self {
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self {
            id: ready["id"].as_u64().unwrap(),
            pid: u32::try_from(ready["pid"].as_u64().unwrap()).unwrap(),
            http: text("http"),
            admin: text("admin"),
            config: text("config").into(),
            data_dir: text("data_dir").into(),
        }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap()
    }

    pub(crate) fn try_get(&self, path: &str) -> Result<Answer, String> {
        client::get(&format!("{}{path}", self.http))
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        send_json("POST", &format!("{}{path}", self.http), body).unwrap()
    }

    #[track_caller]
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let url = format!("{}{path}", self.http);
        client::send(method, &url, headers, body.to_owned()).unwrap()
    }

    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> Answer {
        client::get(&format!("{}{path}", self.admin)).unwrap()
    }

    /// As [`send`](Self::send), where the node may be dead or dying.
    pub(crate) fn send_or(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, String> {
        let url = format!("{}{path}", self.http);
        client::send(method, &url, headers, body.to_owned())
    }

    pub(crate) fn try_admin(&self, path: &str) -> Result<Answer, String> {
        client::get(&format!("{}{path}", self.admin))
    }

    pub(crate) fn admin_post(&self, path: &str, body: &Value) -> Result<Answer, String> {
        send_json("POST", &format!("{}{path}", self.admin), body)
    }

    /// A session as a strong read finds it.
    #[track_caller]
    pub(crate) fn strong(&self, id: &str) -> Answer {
        let headers = [("hexpop-consistency", "strong")];
        self.send("GET", &format!("/api/v1/sessions/{id}"), &headers, "")
    }

    pub(crate) fn is_ready(&self) -> bool {
        client::get(&format!("{}/readyz", self.admin)).is_ok_and(|answer| answer.status == 200)
    }

    fn refuses_connections(&self) -> bool {
        let address = self.http.trim_start_matches("http://").parse().unwrap();
        TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_err()
    }
}

/// A running demo. Everything of it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) data: Data,
    pub(crate) dir: PathBuf,
    pub(crate) ready: Value,
    pub(crate) nodes: Vec<Node>,
    env: &'static [(&'static str, &'static str)],
    ready_file: PathBuf,
    demo: Child,
    restarted: Vec<Child>,
}

/// Only one mesh of these is up at a time: the machine may have two cores.
static OWN: Mutex<()> = Mutex::new(());
static SHARED: OnceLock<Mesh> = OnceLock::new();

/// The turn to have a mesh of one's own.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mesh {
    /// The mesh for tests that only ask: 3 nodes, 2,000 synthetic listings.
    pub(crate) fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start("shared", 3, Data::Synthetic(2_000)))
    }

    /// A node that has just started asks the origin about everything until it knows what was purged.
    pub(crate) fn wait_until_purges_are_followed(&self) {
        until("all nodes follow the purges", PATIENCE, || {
            let url = format!("{}/admin/v1/purge", self.nodes[0].admin);
            let receipt = send_json("POST", &url, &json!({"tags": ["none"]})).unwrap().json();
            let nodes = receipt["nodes"].as_array().cloned().unwrap_or_default();
            let follow = nodes.iter().filter(|node| node["objects"] == json!(0)).count();
            if follow == self.nodes.len() { Ok(()) } else { Err(receipt) }
        });
    }

    /// Starts a demo and waits until it is ready. `name` is that of its folder.
    pub(crate) fn start(name: &str, nodes: u32, data: Data) -> Self {
        Self::start_with(name, nodes, data, &[])
    }

    /// As [`start`](Self::start), with variables in the environment of all processes, those that are
    /// restarted included.
    pub(crate) fn start_with(
        name: &str,
        nodes: u32,
        data: Data,
        env: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self::start_in(name, nodes, data, None, env)
    }

    /// As [`start_with`](Self::start_with), in these PoPs, where the demo's own do not do.
    pub(crate) fn start_in(
        name: &str,
        nodes: u32,
        data: Data,
        pops: Option<&str>,
        env: &'static [(&'static str, &'static str)],
    ) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster-{name}"));
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        }
        fs::create_dir_all(&dir).unwrap();
        let ready_file = dir.join("ready.json");
        let mut words: Vec<String> =
            ["demo", "--base-port", "0", "--nodes"].map(String::from).into();
        words.push(nodes.to_string());
        for (flag, path) in [("--dir", dir.join("demo")), ("--ready-file", ready_file.clone())] {
            words.extend([flag.to_owned(), path.display().to_string()]);
        }
        words.extend(data.words());
        words.extend(pops.into_iter().flat_map(|pops| ["--pops".to_owned(), pops.to_owned()]));
        let mut demo = spawn(&words, &dir.join("demo.log"), env);
        let ready: Value = until("the demo gets ready", PATIENCE * 4, || {
            assert!(
                demo.try_wait().unwrap().is_none(),
                "the demo ended: {}",
                fs::read_to_string(dir.join("demo.log")).unwrap()
            );
            let text = fs::read(&ready_file).map_err(|error| error.to_string())?;
            Ok::<_, String>(serde_json::from_slice(&text).unwrap())
        });
        let nodes = ready["nodes"].as_array().unwrap().iter().map(Node::of).collect();
        Self { data, dir, ready, nodes, env, ready_file, demo, restarted: Vec::new() }
    }

    /// Node number `id`, from 1.
    #[track_caller]
    pub(crate) fn node(&self, id: u64) -> &Node {
        self.nodes.iter().find(|node| node.id == id).unwrap()
    }

    /// All nodes but one.
    pub(crate) fn others(&self, id: u64) -> Vec<Node> {
        self.nodes.iter().filter(|node| node.id != id).cloned().collect()
    }

    /// `kill -9`; returns when the node is gone.
    pub(crate) fn kill(&mut self, id: u64) {
        let node = self.node(id).clone();
        self.signal_kill(id);
        until_true("the killed node is gone", PATIENCE, || node.refuses_connections());
    }

    /// Sends `kill -9` and does not wait.
    pub(crate) fn signal_kill(&mut self, id: u64) {
        let pid = self.node(id).pid;
        kill(pid);
        for child in &mut self.restarted {
            if child.id() == pid {
                child.wait().unwrap();
            }
        }
    }

    /// Starts a node again from its configuration and data directory.
    pub(crate) fn restart(&mut self, id: u64) {
        let config = self.node(id).config.display().to_string();
        let words = ["node".to_owned(), "--config".to_owned(), config];
        let log = self.dir.join("demo/logs").join(format!("node-{id}.log"));
        let child = spawn(&words, &log, self.env);
        let pid = child.id();
        self.restarted.push(child);
        self.nodes.iter_mut().find(|node| node.id == id).unwrap().pid = pid;
    }

    /// Starts an origin where the demo's was.
    pub(crate) fn restart_origin(&mut self) {
        let listen = self.ready["origin"]["url"].as_str().unwrap().trim_start_matches("http://");
        let mut words = vec!["origin".to_owned(), "--listen".to_owned(), listen.to_owned()];
        words.extend(self.data.words());
        let child = spawn(&words, &self.dir.join("demo/logs/origin.log"), self.env);
        self.restarted.push(child);
    }

    /// Waits until node `id` says that it can serve.
    pub(crate) fn wait_ready(&self, id: u64) {
        let node = self.node(id);
        until("the node is ready", PATIENCE, || {
            let answer = client::get(&format!("{}/readyz?verbose", node.admin))?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        });
    }

    /// `GET /admin/v1/shards` of a node.
    #[track_caller]
    pub(crate) fn shards(&self, id: u64) -> Vec<Value> {
        let report = self.node(id).admin("/admin/v1/shards").expect(200).json();
        report["shards"].as_array().unwrap().clone()
    }

    /// The nodes that vote in the `meta` or `purges` group, by number, as `asked` sees it.
    ///
    /// # Errors
    /// What it sees, when the group has no leader, others learn, or not all are up.
    pub(crate) fn group_voters(&self, asked: u64, name: &str) -> Result<Vec<u64>, String> {
        let report = self.node(asked).try_admin("/admin/v1/shards")?.json();
        let groups = report["groups"].as_array().cloned().unwrap_or_default();
        let group = groups.into_iter().find(|group| group["name"] == name);
        let group = group.ok_or_else(|| format!("no {name} group"))?;
        let replicas = group["replicas"].as_array().unwrap();
        let settled = replicas.iter().all(|replica| replica["role"] == "voter");
        if group["state"] != "ok" || !settled {
            return Err(group.to_string());
        }
        let mut nodes: Vec<u64> =
            replicas.iter().map(|replica| replica["node"].as_u64().unwrap()).collect();
        nodes.sort_unstable();
        Ok(nodes)
    }

    /// The node that leads most shards, as `asked` sees it.
    pub(crate) fn busiest_leader(&self, asked: u64) -> u64 {
        let shards = self.shards(asked);
        let leads =
            |node: &Node| shards.iter().filter(|shard| shard["leader"] == json!(node.id)).count();
        self.nodes.iter().max_by_key(|node| leads(node)).unwrap().id
    }

    /// Lines in the logs of the nodes that tell of defects.
    pub(crate) fn defects_logged(&self) -> Vec<String> {
        let mut found = Vec::new();
        for node in &self.nodes {
            let log = self.dir.join("demo/logs").join(format!("node-{}.log", node.id));
            let text = fs::read_to_string(log).unwrap();
            let defect = |line: &&str| {
                ["ERROR", "panicked", "problem:internal"].iter().any(|word| line.contains(word))
            };
            found.extend(text.lines().filter(defect).map(str::to_owned));
        }
        found
    }

    /// Asks the demo to end, as Ctrl-C does, and waits; gives its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let pid = i32::try_from(self.demo.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        let status = until("the demo ends", PATIENCE, || {
            self.demo.try_wait().unwrap().ok_or("it still runs")
        });
        assert!(!self.ready_file.exists(), "the ready file is removed on exit");
        status.code()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // The demo's own children die with it.
        for child in std::iter::once(&mut self.demo).chain(&mut self.restarted) {
            let _gone_already = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// `kill -9`.
pub(crate) fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// The program under test, with its output added to a file; it dies with this process.
fn spawn(words: &[String], log: &Path, env: &[(&str, &str)]) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hexpop"));
    command
        .args(words)
        .args(["--die-with-parent", &std::process::id().to_string()])
        .env_remove("HEXPOP_LOG")
        // Some tests ask a thousand times at once.
        .env("HEXPOP__LIMITS__REQUESTS_IN_FLIGHT", "8192")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    RUNTIME.block_on(RUNTIME.spawn(async move { command.spawn().unwrap() })).unwrap()
}
