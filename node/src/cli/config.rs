//! `hexpop config`: configuration files.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hexpop_edge_config::{
    Config,
    config::{self, ConfigErrors, Loaded},
};

use super::{
    error::{CliError, CliResult},
    output::{Format, OutputArgs, print, print_json, println},
};

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a file: everything that is wrong is reported at once, with its line.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Print the effective configuration.
    Print {
        /// The file.
        #[arg(long, default_value = "node.toml")]
        config: PathBuf,
        /// Say of each key where its value comes from.
        #[arg(long)]
        sources: bool,
        /// Only what differs from the defaults.
        #[arg(long)]
        changed: bool,
    },
    /// The JSON Schema of the file.
    Schema,
    /// A commented sample file.
    Sample,
}

/// Reads a configuration with the environment over it.
pub(super) fn load(path: &Path) -> CliResult<Loaded> {
    try_load(path).map_err(|errors| {
        CliError::failed(format!("{} is not valid", path.display())).cause(format!("\n{errors}"))
    })
}

/// The same, with everything that is wrong as it is.
pub(super) fn try_load(path: &Path) -> Result<Loaded, ConfigErrors> {
    // Names and values that are not UTF-8 cannot be ours.
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::load(path, env)
}

pub(super) fn run(args: &ConfigArgs) -> CliResult {
    match &args.command {
        ConfigCommand::Check { file } => {
            load(file)?;
            println(&format!("{} is valid", file.display()))
        }
        ConfigCommand::Print { config, sources, changed } => {
            let loaded = load(config)?;
            match args.output.output {
                Format::Json => print_json(&loaded.to_json()),
                Format::Table => print(&loaded.print(*sources, *changed)),
            }
        }
        ConfigCommand::Schema => print_json(&config::schema()),
        ConfigCommand::Sample => print(config::SAMPLE),
    }
}
