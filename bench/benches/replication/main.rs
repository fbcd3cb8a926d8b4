//! Replicated session writes, and reads at each level, through three real nodes on this machine, beside
//! a bare loop of write and `fdatasync` on the same disk in the same run.
//!
//! `cargo build --release && cargo bench -p hexpop-bench --bench replication`; `-- --help` lists what
//! there is to choose. Clients, nodes and their disks share the machine: the numbers are for comparing
//! with another system that is measured so.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "data and progress")]

mod client;
#[path = "../shared/clock.rs"]
mod clock;
mod load;
mod mesh;
mod options;
#[path = "../shared/raw.rs"]
mod raw;
#[path = "../shared/spread.rs"]
mod spread;
#[path = "../shared/text.rs"]
mod text;

use std::{process::ExitCode, time::Duration};

use self::{
    load::{Kind, Reached},
    mesh::Mesh,
    options::{Options, USAGE},
    raw::Raw,
    spread::Spread,
    text::{aligned, millis, row, times},
};

/// All kinds of requests with one number of clients.
struct Line {
    clients: usize,
    raw: Raw,
    reached: Vec<(Kind, Reached)>,
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let folder = tempfile::tempdir_in(&options.dir).unwrap();
    let duration = Duration::from_secs_f64(options.seconds);
    let mesh = Mesh::start(&options, folder.path());
    // One thread: the nodes need the rest of the machine.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut lines = Vec::new();
    for &clients in &options.clients {
        eprintln!("{clients} clients");
        let raw = raw::run(folder.path(), clients, options.value_bytes, true, duration);
        let mut reached = Vec::new();
        for kind in Kind::ALL {
            let load = load::run(&mesh.nodes, &options, clients, kind, duration);
            reached.push((kind, runtime.block_on(load)));
        }
        lines.push(Line { clients, raw, reached });
    }
    drop(mesh);
    print!("{}", table(&lines));
    let failed = lines.iter().flat_map(|line| &line.reached).any(|(_, it)| it.failed > 0);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn table(lines: &[Line]) -> String {
    let head = ["clients", "what", "requests/s", "p50 ms", "p99 ms", "of the raw loop", "failed"];
    let mut rows = vec![row(head)];
    let mut failures = String::new();
    for line in lines {
        let mut push =
            |what: &str, per_second: f64, spread: Spread, ratio: String, failed: usize| {
                rows.push(vec![
                    line.clients.to_string(),
                    what.to_owned(),
                    format!("{per_second:.0}"),
                    millis(spread.p50 * 1e3),
                    millis(spread.p99 * 1e3),
                    ratio,
                    failed.to_string(),
                ]);
            };
        push("raw write and fdatasync", line.raw.per_second, line.raw.spread, times(1.0), 0);
        for (kind, reached) in &line.reached {
            let (what, ratio) = match kind {
                Kind::Write => {
                    ("replicated write", times(reached.per_second / line.raw.per_second))
                }
                Kind::Read(level) => (*level, String::new()),
            };
            push(what, reached.per_second, reached.spread, ratio, reached.failed);
            if let Some(failure) = &reached.failure {
                failures.push_str(&format!("{} clients, {what}: {failure}\n", line.clients));
            }
        }
    }
    format!("\nsessions through three nodes\n{}{failures}", aligned(&rows, 0))
}
