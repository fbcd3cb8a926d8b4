//! `hexpop chaos`: whether a mesh keeps what it promises while it is hurt.

mod check;
mod sim;

use clap::{Args, Subcommand};

use super::{error::CliResult, output::OutputArgs};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hexpop chaos sim --seed 42\n  hexpop chaos sim --seeds 1..1000\n  hexpop bench run sessions --history run.jsonl && hexpop chaos check run.jsonl\n  hexpop chaos check run.jsonl --output json"
)]
pub(super) struct ChaosArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: ChaosCommand,
}

#[derive(Debug, Subcommand)]
enum ChaosCommand {
    /// Run simulated meshes, each from a seed, with every kind of fault: exit 3 if one breaks a promise.
    Sim(sim::SimArgs),
    /// Check a history of clients' calls: exit 0 if it holds, 3 if it is violated, 1 if undecided.
    Check(check::CheckArgs),
}

pub(super) fn run(args: ChaosArgs) -> CliResult {
    match args.command {
        ChaosCommand::Sim(args) => sim::run(&args),
        ChaosCommand::Check(check) => check::run(&check, args.output),
    }
}
