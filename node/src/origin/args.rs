//! The command line of `hexpop origin`.

use std::{net::SocketAddr, path::PathBuf};

use hexpop_bench::dataset;

use super::fault::Fault;

/// The stand-in origin platform: listings API, bulk export, change feed and cacheable pages, all in
/// memory.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  hexpop origin --listings 5000
  hexpop origin --data listings/*.ndjson.gz --listen 127.0.0.1:8070
  hexpop origin --fault slow=2s --fault error=0.1
  curl -X PUT http://127.0.0.1:8070/edge/v1/faults --json '{\"down\":true}'")]
pub struct OriginArgs {
    /// Where to listen; port 0 lets the system pick.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8070")]
    pub listen: SocketAddr,

    /// Files of listings, one JSON object a line, plain or gzipped; `-` is standard input.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "listings")]
    pub data: Vec<PathBuf>,

    /// How many synthetic listings to make when there are no files.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20_000,
        value_parser = clap::value_parser!(u64).range(..=dataset::LISTINGS_MAX)
    )]
    pub listings: u64,

    /// What the synthetic listings are made from.
    #[arg(long, default_value_t = dataset::DEFAULT_SEED)]
    pub seed: u64,

    /// Misbehave from the start: `slow=10s`, `down`, or `error=0.1` (the share of requests that
    /// fail). May be repeated; `PUT /edge/v1/faults` changes it later.
    #[arg(long, value_name = "FAULT")]
    pub fault: Vec<Fault>,
}
