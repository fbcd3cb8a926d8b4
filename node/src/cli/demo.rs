//! `hexpop demo`: a whole mesh on this machine: a stand-in origin and nodes as child processes, with
//! data in it.

mod data;
mod files;
mod ports;
mod processes;
mod show;
mod wan;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use hexpop_edge_config::PopId;

use self::{
    data::Data,
    files::{Layout, ReadyFile},
    ports::Ports,
    processes::Children,
    wan::Wan,
};
use super::{
    client::Client,
    error::{CliError, CliResult, Signal},
    output::{print, println},
};
use crate::admin_api::ShardsReport;

/// How long the mesh may take until it is ready, without its data.
const START_MAX: Duration = Duration::from_secs(90);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hexpop demo\n  hexpop demo --data listings/*.ndjson.gz --ready-file ready.json\n  hexpop demo --nodes 3 --listings 1000 --base-port 0"
)]
pub(super) struct DemoArgs {
    #[command(subcommand)]
    command: Option<DemoCommand>,
    /// Nodes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=32))]
    nodes: u32,
    /// Points of presence; node i is in the (i mod count)-th.
    #[arg(long, default_value = "mil,mad,ber", value_delimiter = ',')]
    pops: Vec<PopId>,
    /// Files of listings (NDJSON, plain or gzipped).
    #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with = "listings")]
    data: Vec<PathBuf>,
    /// Synthetic listings, the same ones every time; 0 starts empty.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    listings: u64,
    /// Delay what nodes of different PoPs say to each other as a wide-area network would.
    #[arg(long)]
    wan: bool,
    /// Ports are counted from here; 0 = any free ones.
    #[arg(long, default_value_t = 8080)]
    base_port: u16,
    /// Keep the data here instead of removing it on exit.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write where everything is to this file once the mesh is ready; it is removed on exit.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Put the mesh in front of this origin instead of a stand-in.
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
    #[command(flatten)]
    child: super::node::ChildArgs,
}

#[derive(Debug, Subcommand)]
enum DemoCommand {
    /// Print nodes, addresses and commands to try of a running demo again.
    Ls {
        /// The ready file of that demo.
        #[arg(long, value_name = "FILE")]
        ready_file: Option<PathBuf>,
    },
}

pub(super) fn run(args: DemoArgs) -> CliResult {
    if let Some(DemoCommand::Ls { ready_file }) = &args.command {
        return show::reprint(ready_file.as_deref());
    }
    args.child.bind()?;
    // Children die with the thread that started them (PR_SET_PDEATHSIG), so everything is on this one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed("cannot start").caused_by(&error))?;
    runtime.block_on(async {
        let signal = wait_for_signal()?;
        tokio::pin!(signal);
        let mut demo = Demo::prepare(args)?;
        let outcome = tokio::select! {
            signal = &mut signal => Ok(signal),
            outcome = demo.bring_up() => match outcome {
                Ok(()) => Ok(demo.stay_up(&mut signal).await),
                Err(error) => Err(error),
            },
        };
        let tails = outcome.is_err().then(|| demo.children.log_tails());
        demo.end().await;
        match outcome {
            Ok(signal) => Err(CliError::interrupted(signal)),
            Err(error) => Err(tails.into_iter().flatten().fold(error, CliError::cause)),
        }
    })
}

pub(super) fn wait_for_signal() -> CliResult<impl Future<Output = Signal>> {
    use tokio::signal::unix::{SignalKind, signal};
    let cannot =
        |error: std::io::Error| CliError::failed("cannot wait for signals").caused_by(&error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = terminate.recv() => Signal::Terminate,
        }
    })
}

/// A running demo.
struct Demo {
    args: DemoArgs,
    begin: Instant,
    data: Data,
    ports: Ports,
    layout: Layout,
    children: Children,
    wan: Wan,
    ready: Vec<PathBuf>,
}

impl Demo {
    /// Checks everything that can be checked before the first process starts.
    fn prepare(args: DemoArgs) -> CliResult<Self> {
        if args.pops.is_empty() {
            return Err(CliError::usage("--pops names no PoP"));
        }
        note(&match &args.dir {
            Some(dir) => format!("Data is kept in {}.", dir.display()),
            None => "Data is removed on exit. Keep it with --dir DIR.".to_owned(),
        });
        let ports = Ports::choose(args.base_port, args.nodes, args.origin.is_none())?;
        let data = Data::look(&args.data, args.listings)?;
        let layout = Layout::create(args.dir.as_deref())?;
        Ok(Self {
            args,
            begin: Instant::now(),
            data,
            ports,
            layout,
            children: Children::default(),
            wan: Wan::default(),
            ready: Vec::new(),
        })
    }

    fn pop(&self, index: u32) -> CliResult<&PopId> {
        let count = self.args.pops.len();
        usize::try_from(index)
            .ok()
            .and_then(|index| self.args.pops.get(index % count))
            .ok_or_else(|| CliError::usage("--pops names no PoP"))
    }

    fn origin_url(&self) -> String {
        self.args
            .origin
            .clone()
            .unwrap_or_else(|| format!("http://127.0.0.1:{}", self.ports.origin))
    }

    async fn bring_up(&mut self) -> CliResult {
        self.write_configs()?;
        for index in 0..self.args.nodes {
            let config = self.layout.config(index + 1);
            let log = self.layout.log(&format!("node-{}", index + 1));
            self.children.start(
                &format!("node {}", index + 1),
                &["node".into(), "--config".into(), config.into_os_string()],
                &log,
            )?;
        }
        let clients = self.admin_clients()?;
        self.wait_until_ready(&clients).await?;
        let imported = self.data.bring_in(&clients).await?;
        if self.args.origin.is_none() {
            // Started last, so that the data comes in once: what the feed then exports is there already.
            self.start_origin()?;
        }
        self.wait_until_everywhere(&clients).await?;
        if self.args.wan {
            let pops = (0..self.args.nodes)
                .map(|index| Ok(self.pop(index)?.to_string()))
                .collect::<CliResult<Vec<String>>>()?;
            self.wan = Wan::install(&clients, &pops).await?;
        }
        self.report(imported).await
    }

    fn write_configs(&self) -> CliResult {
        let territories = self.data.territories();
        self.layout.make_certificates(self.args.nodes)?;
        for index in 0..self.args.nodes {
            let text = files::node_config(
                index,
                self.pop(index)?,
                &self.ports,
                self.args.nodes,
                &self.origin_url(),
                &territories,
                self.args.wan,
            );
            self.layout.write_config(index + 1, &text)?;
        }
        Ok(())
    }

    fn start_origin(&mut self) -> CliResult {
        let mut words: Vec<std::ffi::OsString> = vec![
            "origin".into(),
            "--listen".into(),
            format!("127.0.0.1:{}", self.ports.origin).into(),
        ];
        if self.args.data.is_empty() {
            words.extend(["--listings".into(), self.args.listings.to_string().into()]);
        } else {
            words.push("--data".into());
            words.extend(self.args.data.iter().map(|path| path.clone().into_os_string()));
        }
        self.children.start("origin", &words, &self.layout.log("origin"))
    }

    fn admin_clients(&self) -> CliResult<Vec<Client>> {
        (0..self.args.nodes)
            .map(|index| {
                Client::new(&format!("http://127.0.0.1:{}", self.ports.admin(index)), None)
            })
            .collect()
    }

    /// Until every node says that it can serve: it has the map, and its shards have leaders.
    async fn wait_until_ready(&mut self, clients: &[Client]) -> CliResult {
        let deadline = Instant::now() + START_MAX;
        for (index, client) in clients.iter().enumerate() {
            loop {
                self.children.check()?;
                let answer = client
                    .send(
                        http::Method::GET,
                        "/readyz?verbose",
                        &[],
                        bytes::Bytes::new(),
                        Duration::from_secs(5),
                    )
                    .await;
                let why = match answer {
                    Ok(answer) if answer.status.is_success() => break,
                    Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
                    Err(error) => error.to_string(),
                };
                if Instant::now() > deadline {
                    return Err(CliError::failed(format!("node {} does not get ready", index + 1))
                        .cause(why.trim()));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Until every replica has applied what was committed when the import ended, so that each node
    /// answers every listing at `eventual`.
    async fn wait_until_everywhere(&mut self, clients: &[Client]) -> CliResult {
        let Some(first) = clients.first() else { return Ok(()) };
        let deadline = Instant::now() + START_MAX;
        let committed: std::collections::BTreeMap<u64, u64> = first
            .get::<ShardsReport>("/admin/v1/shards")
            .await?
            .shards
            .into_iter()
            .filter_map(|shard| Some((shard.id, shard.raft.commit?)))
            .collect();
        loop {
            self.children.check()?;
            let report: ShardsReport = first.get("/admin/v1/shards").await?;
            let behind = report.shards.iter().find(|shard| {
                let target = committed.get(&shard.id).copied().unwrap_or_default();
                shard.raft.leader.is_none()
                    || shard
                        .raft
                        .replicas
                        .iter()
                        .any(|replica| replica.applied.is_none_or(|applied| applied < target))
            });
            let Some(behind) = behind else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(CliError::failed(format!(
                    "the replicas of shard {} do not catch up",
                    behind.id
                )));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn report(&mut self, imported: u64) -> CliResult {
        let clients = self.admin_clients()?;
        let shards = match clients.first() {
            Some(client) => client.get::<ShardsReport>("/admin/v1/shards").await?.shards.len(),
            None => 0,
        };
        let ready = self.ready_file()?;
        for path in self.args.ready_file.clone().into_iter().chain([files::last_ready_file()]) {
            ready.write(&path)?;
            self.ready.push(path);
        }
        let took = self.begin.elapsed().as_secs_f64();
        print(&show::block(&ready, imported, shards, took, self.data.example()))
    }

    fn ready_file(&self) -> CliResult<ReadyFile> {
        let nodes = (0..self.args.nodes)
            .map(|index| {
                let name = format!("node {}", index + 1);
                Ok(files::ReadyNode {
                    id: index + 1,
                    pop: self.pop(index)?.to_string(),
                    pid: self.children.pid(&name),
                    http: format!("http://127.0.0.1:{}", self.ports.http(index)),
                    https: Some(format!("https://127.0.0.1:{}", self.ports.https(index))),
                    admin: format!("http://127.0.0.1:{}", self.ports.admin(index)),
                    mesh: format!("127.0.0.1:{}", self.ports.mesh(index)),
                    config: self.layout.config(index + 1),
                    data_dir: self.layout.data_dir(index + 1),
                })
            })
            .collect::<CliResult<_>>()?;
        Ok(ReadyFile {
            origin: files::ReadyOrigin {
                url: self.origin_url(),
                pid: self.args.origin.is_none().then(|| self.children.pid("origin")).flatten(),
            },
            ca: self.layout.ca(),
            nodes,
        })
    }

    /// Until a signal; children that end are reported and not restarted.
    async fn stay_up(&mut self, signal: &mut (impl Future<Output = Signal> + Unpin)) -> Signal {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        let mut renewal = tokio::time::interval(wan::RENEW);
        loop {
            tokio::select! {
                signal = &mut *signal => return signal,
                _ = renewal.tick() => self.wan.renew().await,
                _ = tick.tick() => {
                    for death in self.children.reap() {
                        note(&death);
                    }
                }
            }
        }
    }

    async fn end(mut self) {
        note("stopping");
        self.children.stop(Duration::from_secs(15)).await;
        for path in &self.ready {
            remove_quietly(path);
        }
        if self.args.dir.is_none() {
            self.layout.remove();
        }
    }
}

fn remove_quietly(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        note(&format!("{} could not be removed: {error}", path.display()));
    }
}

/// A line on stderr.
#[expect(clippy::print_stderr, reason = "progress of a command belongs on stderr")]
fn note(text: &str) {
    eprintln!("{text}");
}

/// A line on stdout.
fn say(text: &str) -> CliResult {
    println(text)
}
