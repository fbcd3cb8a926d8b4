//! What a running node takes from its configuration anew, without a restart.

use std::{fs, path::Path, sync::Arc};

use hexpop_edge_config::{
    Config,
    config::{Admin, Loaded},
};
use hexpop_shard::{Languages, SearchRules, SessionLimits};
use serde_json::Value;

use crate::{
    http::{data::DataOptions, guard::Guard, server::Certificates},
    process::NodeError,
};

/// What a running node takes from its configuration anew. Replaced as a whole, so that no request
/// sees a part of one file and a part of another.
#[derive(Debug, Clone)]
pub struct Live {
    /// Who may use the admin port.
    pub guard: Guard,
    /// What the data port is told.
    pub data: DataOptions,
    /// What the data port shows over TLS; none = it does not speak it.
    pub certificates: Option<Arc<Certificates>>,
    /// Whether fault rules may be made here.
    pub chaos_enabled: bool,
    /// Bytes of one ingest at most.
    pub ingest_bytes_max: usize,
    /// Bytes of one of its lines at most.
    pub ingest_line_bytes_max: usize,
    /// The configuration that is in force, for operators.
    pub config_json: Value,
    /// Keys that differ in the file and wait for a restart.
    pub restart_pending: Vec<String>,
}

impl Live {
    /// What `loaded` says, with the tokens of the files that it names.
    ///
    /// # Errors
    /// [`NodeError`] when a token or a certificate cannot be read.
    pub fn read(loaded: &Loaded, restart_pending: Vec<String>) -> Result<Self, NodeError> {
        let config = &loaded.config;
        Ok(Self {
            guard: guard(&config.admin)?,
            data: data_options(config)?,
            certificates: Certificates::read(&config.tls)
                .map_err(|error| NodeError::open("the certificates of the data port")(&error))?
                .map(Arc::new),
            chaos_enabled: config.chaos.enabled,
            ingest_bytes_max: config.limits.ingest_bytes.as_usize(),
            ingest_line_bytes_max: config.limits.ingest_line_bytes.as_usize(),
            config_json: loaded.to_json(),
            restart_pending,
        })
    }
}

fn data_options(config: &Config) -> Result<DataOptions, NodeError> {
    let (data, limits) = (&config.data, &config.limits);
    Ok(DataOptions {
        body_bytes_max: limits.body_bytes.as_usize(),
        body_idle: limits.body_idle_timeout,
        target_bytes_max: limits.target_bytes.as_usize(),
        header_bytes_max: limits.header_bytes.as_usize(),
        requests_max: usize::try_from(limits.requests_in_flight).unwrap_or(usize::MAX),
        tokens: data.auth.tokens.iter().map(|file| token(file)).collect::<Result<_, _>>()?,
        drop_fields: data.drop_fields.clone(),
        answers: config.cache.answers.clone(),
        search: SearchRules {
            forbidden_filters: data.forbidden_filters.clone(),
            // Bounds are whole amounts far below 2^53.
            price_bounds: data.price_ranges.iter().map(|bound| *bound as f64).collect(),
            languages: Languages {
                offered: data.languages.clone(),
                fallback: data.fallback_language().cloned(),
            },
        },
        session_limits: SessionLimits {
            sealed_bytes: u32::try_from(limits.session_bytes.bytes())
                .unwrap_or(u32::MAX)
                .saturating_add(SessionLimits::SEAL_OVERHEAD),
            per_user: limits.sessions_per_user,
        },
    })
}

fn guard(admin: &Admin) -> Result<Guard, NodeError> {
    let tokens = admin
        .tokens
        .iter()
        .map(|entry| Ok((token(&entry.file)?, entry.role)))
        .collect::<Result<_, NodeError>>()?;
    Ok(Guard {
        tokens,
        loopback: Some(admin.loopback_role),
        hosts: admin.allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
    })
}

/// Reads the bearer token of a file.
fn token(file: &Path) -> Result<String, NodeError> {
    let what = || format!("the token in {}", file.display());
    let text = fs::read_to_string(file).map_err(|error| NodeError::open(what())(&error))?;
    let token = text.trim();
    if token.len() < 16 {
        let cause = "a token has at least 16 characters".to_owned();
        return Err(NodeError::Open { what: what(), cause });
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_tokens_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "short\n").unwrap();
        assert!(token(&file).is_err());
        fs::write(&file, "long-enough-for-a-token\n").unwrap();
        assert_eq!(token(&file).unwrap(), "long-enough-for-a-token");
    }
}
