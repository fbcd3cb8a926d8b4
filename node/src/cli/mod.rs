//! The command line: `hexpop`, noun-verb.
//!
//! stdout carries results, stderr everything else. Exit codes: 0 done, 1 failed or could not find
//! out, 2 wrong usage, 3 ran but a limit was missed, 130 and 143 interrupted after clean-up.

mod bench;
mod certs;
mod chaos;
mod client;
mod config;
mod demo;
mod doctor;
mod drain;
mod error;
mod explain;
mod faults;
mod import;
mod listings;
mod mesh;
mod node;
mod operations;
mod origin;
mod output;
mod placement;
mod purge;
mod sessions;
mod shards;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

pub use error::{CliError, CliResult, Signal};

/// A cache and query mesh for listings platforms.
#[derive(Debug, Parser)]
#[command(
    name = "hexpop",
    version,
    after_help = "Examples:\n  hexpop demo                                  a whole mesh on this machine\n  hexpop status --admin http://127.0.0.1:9081  the mesh as node 2 sees it\n  hexpop listings import listings.ndjson.gz    data in"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a whole mesh on this machine: a stand-in origin, nodes in several PoPs, data.
    Demo(demo::DemoArgs),
    /// Run one node.
    Node(node::NodeArgs),
    /// Run the stand-in origin platform.
    Origin(origin::OriginCommand),
    /// The state of the mesh.
    Status(mesh::StatusArgs),
    /// The members as one node sees them.
    Nodes(mesh::ReadArgs),
    /// Shards: where the data is.
    Shards(shards::ShardsArgs),
    /// Empty a node, so that it can be stopped.
    Drain(drain::DrainArgs),
    /// Changes of shards that take their time.
    Operations(operations::OperationsArgs),
    /// Circuit breakers of a node.
    Breakers(mesh::ReadArgs),
    /// Listings: data in and out.
    Listings(listings::ListingsArgs),
    /// Sessions of the platform's users.
    Sessions(sessions::SessionsArgs),
    /// Make the HTTP caches of all nodes forget.
    Purge(purge::PurgeArgs),
    /// What the HTTP caches hold.
    Cache(purge::CacheArgs),
    /// Fault rules.
    Faults(faults::FaultsArgs),
    /// Load.
    Bench(bench::BenchArgs),
    /// Whether a mesh kept what it promised while it was hurt.
    Chaos(chaos::ChaosArgs),
    /// Configuration files.
    Config(config::ConfigArgs),
    /// The cluster's certificates.
    Certs(certs::CertsArgs),
    /// What is wrong with a node, before its start or while it runs, and what to do about it.
    Doctor(doctor::DoctorArgs),
    /// What an error means and what to do about it.
    Explain(explain::ExplainArgs),
    /// A completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout with code 0, usage errors to stderr with code 2.
            let _printed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.exit())
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is where errors end at the user")]
fn complain(error: &CliError) {
    eprintln!("{error}");
}

fn run(command: Command) -> CliResult {
    match command {
        Command::Node(args) => node::run(&args),
        Command::Demo(args) => demo::run(args),
        Command::Origin(args) => origin::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Chaos(args) => chaos::run(args),
        Command::Config(args) => config::run(&args),
        Command::Certs(args) => certs::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Completions { shell } => completions(shell),
        Command::Doctor(args) => block_on(doctor::run(args)),
        Command::Status(args) => block_on(mesh::status(args)),
        Command::Nodes(args) => block_on(mesh::nodes(args)),
        Command::Drain(args) => block_on(drain::drain(args)),
        Command::Operations(args) => block_on(operations::operations(args)),
        Command::Shards(args) => block_on(shards::shards(args)),
        Command::Breakers(args) => block_on(mesh::breakers(args)),
        Command::Listings(args) => block_on(listings::run(args)),
        Command::Sessions(args) => block_on(sessions::run(args)),
        Command::Purge(args) => block_on(purge::purge(args)),
        Command::Cache(args) => block_on(purge::cache(args)),
        Command::Faults(args) => block_on(faults::run(args)),
    }
}

fn completions(shell: clap_complete::Shell) -> CliResult {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hexpop", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

/// Runs a short command on a runtime of this thread alone.
fn block_on<F: Future<Output = CliResult>>(future: F) -> CliResult {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed("cannot start").caused_by(&error))?
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }
}
