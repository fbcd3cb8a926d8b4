//! Section `origin`: the platform behind the mesh.

use std::time::Duration;

use super::{
    ProblemKind,
    checks::Fault,
    section::Section,
    text::{check_authority, check_origin_url},
    tree::Raw,
    value::{Context, Value},
};

/// The platform behind the mesh: asked for what the mesh does not hold or cannot serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its base URL, `http://…` or `https://…`, without credentials, query or fragment.
    ///
    /// Default none: nothing is proxied, and a search that needs the origin is refused. Since 0.1.
    pub url: Option<String>,
    /// The `Host` that proxied requests carry.
    ///
    /// Default `pass`. Since 0.1.
    pub host: OriginHost,
    /// How long a connection to the origin may take to be made.
    ///
    /// Too low: a busy origin looks down. Too high: requests wait this long for a host that is gone. Less
    /// than [`timeout`](Self::timeout). Default 2 s, 10 ms to 60 s. Since 0.1.
    pub connect_timeout: Duration,
    /// How long the origin may take to begin its answer, and to continue it.
    ///
    /// Too low: slow pages end in 504. Too high: a hanging origin holds requests and memory. Default 10 s,
    /// 100 ms to 10 min. Since 0.1. Watch `hexpop_http_request_duration_seconds` with `source="origin"`.
    pub timeout: Duration,
    /// The most connections of this node to the origin at once. The scope is this node, not the cluster.
    ///
    /// Too low: misses queue here. Too high: a cold cache floods the origin. Default 128, 1 to 65,536.
    /// Since 0.1.
    pub max_connections: u32,
    /// Whether the nodes load listings from the origin's export and follow its change feed.
    ///
    /// Off: listings come only by ingest. Default true. Since 0.1. Watch `hexpop_ingest_lag_seconds`.
    pub feed: bool,
    /// When the origin is given a rest.
    pub breaker: OriginBreaker,
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            url: None,
            host: OriginHost::Pass,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(10),
            max_connections: 128,
            feed: true,
            breaker: OriginBreaker::default(),
        }
    }
}

/// The `Host` that proxied requests carry: `"pass"` or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginHost {
    /// The authority of the client's request, which then is part of the cache key.
    Pass,
    /// Always this authority.
    Fixed(String),
}

/// When the origin is given a rest: a circuit breaker over its proxied requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginBreaker {
    /// How many failures in a row open the breaker.
    ///
    /// Too low: it opens for single bad pages. Too high: so many clients wait for timeouts first. Default
    /// 5, 1 to 1000. Since 0.1. Watch `hexpop_breaker_opened_total`.
    pub failures: u32,
    /// How long it stays open before one probe is let through; the first success closes it.
    ///
    /// Too low: probes burden an origin that starts. Too high: the origin is back and not used. Default
    /// 2 s, 100 ms to 5 min. Since 0.1.
    pub open_for: Duration,
}

impl Default for OriginBreaker {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(2) }
    }
}

impl Value for OriginHost {
    const TEXT: bool = true;

    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
        Some(match String::read(raw, context)?.as_str() {
            "pass" => Self::Pass,
            name => Self::Fixed(name.to_owned()),
        })
    }

    fn show(&self) -> toml::Value {
        toml::Value::String(match self {
            Self::Pass => "pass".to_owned(),
            Self::Fixed(name) => name.clone(),
        })
    }

    fn schema() -> serde_json::Value {
        String::schema()
    }
}

impl Origin {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let millis = Duration::from_millis;
        let secs = Duration::from_secs;
        let default = Self::default();
        Self {
            url: section
                .key("url", "The base URL of the platform behind the mesh.")
                .check(|url: &String| check_text(url, check_origin_url))
                .optional(),
            host: section
                .key("host", "The Host of proxied requests: \"pass\" (the client's) or a name.")
                .check(|host| match host {
                    OriginHost::Pass => Vec::new(),
                    OriginHost::Fixed(name) => check_text(name, check_authority),
                })
                .or(default.host),
            connect_timeout: section
                .key("connect_timeout", "How long a connection to the origin may take to be made.")
                .between(millis(10), secs(60))
                .or(default.connect_timeout),
            timeout: section
                .key("timeout", "How long the origin may take to begin and to continue its answer.")
                .between(millis(100), secs(600))
                .or(default.timeout),
            max_connections: section
                .key("max_connections", "The most connections of this node to the origin.")
                .between(1, 65_536)
                .or(default.max_connections),
            feed: section
                .key("feed", "Whether listings are loaded and followed from the origin.")
                .or(default.feed),
            breaker: section.section("breaker", OriginBreaker::read),
        }
    }
}

fn check_text(text: &str, check: impl Fn(&str) -> Result<(), String>) -> Vec<Fault> {
    let fault = |message| Fault::whole(ProblemKind::Wrong, message);
    check(text).err().map(fault).into_iter().collect()
}

impl OriginBreaker {
    fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            failures: section
                .key("failures", "How many failures in a row open the breaker.")
                .between(1, 1000)
                .or(default.failures),
            open_for: section
                .key("open_for", "How long it stays open before one probe is let through.")
                .between(Duration::from_millis(100), Duration::from_secs(300))
                .or(default.open_for),
        }
    }
}
