//! `hexpop chaos`: whether a mesh kept what it promised while it was hurt.

mod check;

use clap::{Args, Subcommand};

use super::{error::CliResult, output::OutputArgs};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hexpop bench run sessions --history run.jsonl && hexpop chaos check run.jsonl\n  hexpop chaos check run.jsonl --output json"
)]
pub(super) struct ChaosArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: ChaosCommand,
}

#[derive(Debug, Subcommand)]
enum ChaosCommand {
    /// Check a history of clients' calls: exit 0 if it holds, 3 if it is violated, 1 if undecided.
    Check(check::CheckArgs),
}

pub(super) fn run(args: ChaosArgs) -> CliResult {
    match args.command {
        ChaosCommand::Check(check) => check::run(&check, args.output),
    }
}
