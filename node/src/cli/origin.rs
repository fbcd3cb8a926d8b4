//! `hexpop origin`: the stand-in platform.

use clap::Args;

use super::error::{CliError, CliResult};
use crate::origin::OriginArgs;

#[derive(Debug, Args)]
pub(super) struct OriginCommand {
    #[command(flatten)]
    origin: OriginArgs,
    #[command(flatten)]
    child: super::node::ChildArgs,
}

pub(super) fn run(args: OriginCommand) -> CliResult {
    args.child.bind()?;
    super::node::log_to_stderr();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::failed("cannot start").caused_by(&error))?
        .block_on(async move {
            crate::origin::run(args.origin, super::node::terminated())
                .await
                .map_err(|error| CliError::failed("the origin stopped").caused_by(&error))
        })
}
