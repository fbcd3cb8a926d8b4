//! Realistic delays between the PoPs of a demo: fault rules on the links, renewed while it runs.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::super::{
    client::Client,
    error::{CliError, CliResult},
};

/// How long a rule lives without being renewed: a demo that was killed leaves no delay behind.
const TTL: &str = "2m";
/// How often rules are renewed.
pub(super) const RENEW: Duration = Duration::from_secs(30);
/// Round trips between well-known PoPs, milliseconds.
const ROUND_TRIPS_MS: [(&str, &str, u64); 3] =
    [("mil", "mad", 24), ("mil", "ber", 16), ("mad", "ber", 38)];
/// Between PoPs that are not in the table.
const OTHER_ROUND_TRIP_MS: u64 = 30;

/// One rule at one node.
#[derive(Debug)]
struct Installed {
    client: Client,
    id: u64,
}

/// The rules of a demo.
#[derive(Debug, Default)]
pub(super) struct Wan {
    rules: Vec<Installed>,
}

fn round_trip_ms(a: &str, b: &str) -> u64 {
    ROUND_TRIPS_MS
        .iter()
        .find(|(x, y, _ms)| (*x == a && *y == b) || (*x == b && *y == a))
        .map_or(OTHER_ROUND_TRIP_MS, |(_x, _y, ms)| *ms)
}

impl Wan {
    /// Delays what each node sends to nodes of other PoPs by half of the round trip. `nodes` are
    /// their PoPs, in the order of `clients`.
    pub(super) async fn install(clients: &[Client], nodes: &[String]) -> CliResult<Self> {
        let mut wan = Self::default();
        for (client, own) in clients.iter().zip(nodes) {
            for (peer, pop) in (1_u32..).zip(nodes).filter(|(_peer, pop)| *pop != own) {
                let rule = json!({
                    "where": "link-out", "what": "delay", "peer": peer, "ttl": TTL,
                    "delayMs": round_trip_ms(own, pop) / 2, "jitterMs": 1, "owner": "demo --wan",
                });
                let answer = client.call(Method::POST, "/admin/v1/faults", &rule).await?;
                let id = answer.json::<Value>()?.get("id").and_then(Value::as_u64);
                let id = id.ok_or_else(|| CliError::failed("a delay was not installed"))?;
                wan.rules.push(Installed { client: client.clone(), id });
            }
        }
        Ok(wan)
    }

    /// Lets the rules live on; those of nodes that are gone are left to end.
    pub(super) async fn renew(&self) {
        for rule in &self.rules {
            let path = format!("/admin/v1/faults/{}", rule.id);
            let _gone = rule.client.call(Method::PUT, &path, &json!({})).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_the_same_both_ways() {
        assert_eq!(round_trip_ms("mil", "ber"), round_trip_ms("ber", "mil"));
        assert_eq!(round_trip_ms("mil", "nyc"), OTHER_ROUND_TRIP_MS);
    }
}
