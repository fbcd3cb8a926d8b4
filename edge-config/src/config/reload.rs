//! Which changes take effect in a running node.

use super::{Config, Loaded, Setting};

/// What is different in a newer reading of the configuration, by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// What a running node can take over.
    pub live: Vec<String>,
    /// What only a restart can change.
    pub restart: Vec<String>,
}

impl Loaded {
    /// What is different in `new`.
    #[must_use]
    pub fn changes_to(&self, new: &Self) -> Changes {
        let changed = |setting: &&Setting| {
            let before = self.settings.iter().find(|other| other.is_key_of(setting));
            before.and_then(|before| before.value.as_ref()) != setting.value.as_ref()
        };
        let (live, restart): (Vec<_>, Vec<_>) =
            new.settings.iter().filter(changed).partition(|setting| setting.reloads);
        let keys = |settings: Vec<&Setting>| settings.into_iter().map(Setting::key).collect();
        Changes { live: keys(live), restart: keys(restart) }
    }

    /// Takes over from `new` what a running node can change. Everything else stays as it is, so that this
    /// is always the configuration that is in force, and [`changes_to`](Self::changes_to) goes on naming
    /// what waits for a restart.
    pub fn take_live(&mut self, new: &Self) {
        for setting in self.settings.iter_mut().filter(|setting| setting.reloads) {
            if let Some(newer) = new.settings.iter().find(|other| other.is_key_of(setting)) {
                *setting = newer.clone();
            }
        }
        self.config.take_live(&new.config);
    }
}

impl Setting {
    fn is_key_of(&self, other: &Self) -> bool {
        self.section == other.section && self.name == other.name
    }
}

impl Config {
    /// The values of all keys that are marked with `reloads` where they are read.
    fn take_live(&mut self, new: &Self) {
        // A file that no longer listens over TLS names none; what listens until the restart keeps its own.
        if !new.tls.certificates.is_empty() {
            self.tls.certificates.clone_from(&new.tls.certificates);
        }
        self.admin = new.admin.clone();
        self.data = new.data.clone();
        self.cache.stale_max = new.cache.stale_max;
        self.cache.answers.take_live(&new.cache.answers);
        self.chaos = new.chaos.clone();
        self.telemetry.log.clone_from(&new.telemetry.log);
        let (limits, newer) = (&mut self.limits, &new.limits);
        limits.body_idle_timeout = newer.body_idle_timeout;
        limits.target_bytes = newer.target_bytes;
        limits.body_bytes = newer.body_bytes;
        limits.ingest_bytes = newer.ingest_bytes;
        limits.ingest_line_bytes = newer.ingest_line_bytes;
        limits.requests_in_flight = newer.requests_in_flight;
        limits.session_bytes = newer.session_bytes;
        limits.sessions_per_user = newer.sessions_per_user;
    }
}
