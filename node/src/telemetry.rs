//! The log of the process, and changing what it tells.

use tracing_subscriber::{
    EnvFilter, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

/// The environment variable whose filter wins over every other.
const FILTER_ENV: &str = "HEXPOP_LOG";

/// What the log tells; it can be changed while the process runs.
#[derive(Debug, Clone)]
pub struct LogFilter {
    /// None where `HEXPOP_LOG` decides for the life of the process.
    handle: Option<reload::Handle<EnvFilter, Registry>>,
}

/// The filter cannot be put in force.
#[derive(Debug, thiserror::Error)]
#[error("the log goes on as it was: {0}")]
pub struct FilterError(String);

impl LogFilter {
    /// Starts the log of this process, on stderr; in a second call the first log stays.
    #[must_use]
    pub fn install(filter: &str, json: bool) -> Self {
        let from_env = EnvFilter::try_from_env(FILTER_ENV).ok();
        let is_fixed = from_env.is_some();
        let (filter, handle) =
            reload::Layer::new(from_env.unwrap_or_else(|| EnvFilter::new(with_quiet(filter))));
        let registry = tracing_subscriber::registry().with(filter);
        let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let installed = if json {
            registry.with(layer.json().flatten_event(true)).try_init()
        } else {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr())
                && std::env::var_os("NO_COLOR").is_none();
            registry.with(layer.with_ansi(ansi).with_target(false)).try_init()
        };
        Self { handle: Some(handle).filter(|_handle| !is_fixed && installed.is_ok()) }
    }

    /// Tells from now on what `filter` says, as `telemetry.log` is written.
    ///
    /// # Errors
    /// [`FilterError`]; the log goes on as it was.
    pub fn set(&self, filter: &str) -> Result<(), FilterError> {
        let Some(handle) = &self.handle else {
            return Err(FilterError(format!("{FILTER_ENV} in the environment decides")));
        };
        let filter = EnvFilter::try_new(with_quiet(filter))
            .map_err(|error| FilterError(error.to_string()))?;
        handle.reload(filter).map_err(|error| FilterError(error.to_string()))
    }
}

/// openraft tells each step of each group at `info`, and at `warn` each message that was not answered: of
/// a thousand groups with a dead node, thousands a second. What is asked for explicitly wins.
fn with_quiet(filter: &str) -> String {
    format!("openraft=error,{filter}")
}
