//! One fault rule: where, what, how long, how likely.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest time to live of a rule; a drill that needs more renews it.
const TTL_MAX: Duration = Duration::from_secs(3_600);

/// A place where faults can be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// What this node sends to other nodes.
    LinkOut,
    /// What it receives from them.
    LinkIn,
    /// Writes to its log.
    DiskAppend,
    /// Flushes of its log.
    DiskFlush,
    /// Requests to the origin.
    Origin,
}

/// What happens at a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It goes on `delay` later.
    Delay,
    /// It is lost; whoever waits runs into the deadline. Links only.
    Drop,
    /// It fails at once as if the other side were gone. Links and origin.
    Cut,
    /// It fails at once with an error of the disk or a 503 of the origin.
    Error,
}

/// A class of mesh traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrafficClass {
    /// Membership.
    Gossip,
    /// Votes, heartbeats, log entries.
    Raft,
    /// Requests for shards.
    Query,
    /// Requests for cached objects.
    Cache,
    /// Requests between admin ports.
    Admin,
    /// Snapshots.
    Snapshot,
}

/// A fault rule as it is asked for. Unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Where.
    #[serde(rename = "where")]
    pub hook: Hook,
    /// What.
    #[serde(rename = "what")]
    pub effect: Effect,
    /// Only towards or from this node; links only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<u32>,
    /// Only this class of traffic; links only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<TrafficClass>,
    /// How much later, milliseconds; for `delay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Up to so much more than `delayMs`, evenly distributed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<u64>,
    /// How likely, from above 0 to 1; default 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// From which the rule's chances follow; default 0.
    #[serde(default)]
    pub seed: u64,
    /// How long: a duration such as `30s`, at most one hour. Mandatory, so that no fault outlives
    /// whoever asked for it.
    pub ttl: String,
    /// Who asked for it, such as a drill's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

const fn always() -> f64 {
    1.0
}

/// Why a rule makes no sense: which field, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct RuleError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub detail: String,
}

/// A rule that acts, as it is listed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveRule {
    /// Its number.
    pub id: u64,
    /// The rule.
    #[serde(flatten)]
    pub rule: Rule,
    /// Milliseconds until it ends.
    pub remaining_ms: u64,
    /// How often it acted.
    pub hits: u64,
}

impl Rule {
    /// Checks the rule and answers how long it lives.
    ///
    /// # Errors
    /// Every [`RuleError`] there is.
    pub fn check(&self, ttl_max: Duration) -> Result<Duration, Vec<RuleError>> {
        let mut errors = Vec::new();
        let mut wrong = |field, detail: String| errors.push(RuleError { field, detail });
        let link = matches!(self.hook, Hook::LinkOut | Hook::LinkIn);
        let possible = match self.effect {
            Effect::Delay => true,
            Effect::Drop => link,
            Effect::Cut => link || self.hook == Hook::Origin,
            Effect::Error => !link,
        };
        if !possible {
            wrong("what", "this cannot happen there".into());
        }
        if !link && self.peer.is_some() {
            wrong("peer", "only links have a peer".into());
        }
        if !link && self.class.is_some() {
            wrong("class", "only links have classes of traffic".into());
        }
        match (self.effect, self.delay_ms) {
            (Effect::Delay, Some(1..=60_000))
            | (Effect::Drop | Effect::Cut | Effect::Error, None) => {}
            (Effect::Delay, _) => wrong("delayMs", "must be from 1 to 60000".into()),
            (Effect::Drop | Effect::Cut | Effect::Error, Some(_)) => {
                wrong("delayMs", "only `delay` takes it".into());
            }
        }
        if self.jitter_ms.is_some_and(|jitter| self.effect != Effect::Delay || jitter > 60_000) {
            wrong("jitterMs", "only `delay` takes it, up to 60000".into());
        }
        if !(self.probability > 0.0 && self.probability <= 1.0) {
            wrong("probability", "must be above 0 and at most 1; 0 means no rule".into());
        }
        if self.owner.as_ref().is_some_and(|owner| owner.len() > 128) {
            wrong("owner", "must have at most 128 bytes".into());
        }
        let longest = ttl_max.min(TTL_MAX);
        let ttl = match self.ttl.parse::<hexpop_edge_config::ConfigDuration>().map(Duration::from) {
            Ok(ttl) if ttl > Duration::ZERO && ttl <= longest => ttl,
            Ok(_) => {
                wrong("ttl", format!("must be above 0 and at most {} s", longest.as_secs()));
                Duration::ZERO
            }
            Err(error) => {
                wrong("ttl", error.to_string());
                Duration::ZERO
            }
        };
        if errors.is_empty() { Ok(ttl) } else { Err(errors) }
    }
}
