//! One key of the configuration, for whoever prints or compares it.

use serde_json::Value as Json;

use super::Source;

/// One key: its value, where that comes from, and what may stand there.
#[derive(Debug, Clone)]
pub struct Setting {
    pub(super) section: String,
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) source: Source,
    pub(super) value: Option<toml::Value>,
    pub(super) default: Option<toml::Value>,
    pub(super) required: bool,
    pub(super) reloads: bool,
    pub(super) text: bool,
    pub(super) schema: Json,
}

impl Setting {
    /// The full key, such as `raft.heartbeat`.
    #[must_use]
    pub fn key(&self) -> String {
        join(&self.section, self.name)
    }

    /// What it governs, in one sentence.
    #[must_use]
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// Where the value comes from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The value as TOML; none if it is not set and has no default.
    #[must_use]
    pub fn value(&self) -> Option<&toml::Value> {
        self.value.as_ref()
    }

    /// The default as TOML; none if there is none.
    #[must_use]
    pub fn default_value(&self) -> Option<&toml::Value> {
        self.default.as_ref()
    }

    /// Whether a change of it takes effect without a restart.
    #[must_use]
    pub fn reloads(&self) -> bool {
        self.reloads
    }
}

/// `section.name`, where the section of the file as a whole is empty.
pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}
