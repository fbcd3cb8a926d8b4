//! Whether the rings of PoPs that the configuration names are in keeping with the round trips. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Check;
use crate::admin_api::NodeRow;

/// A round trip of less, in milliseconds, says nothing: all are near.
const FAR_MS: f64 = 5.0;

/// A PoP of the ring that is so many times as far as one outside of it does not belong there.
const TIMES: f64 = 2.0;

/// The rings that a node was configured with.
#[derive(Debug)]
pub(super) struct Rings<'a> {
    lists: Vec<Vec<&'a str>>,
    own: &'a str,
}

impl<'a> Rings<'a> {
    /// Those of `config`, for a node in the PoP `own`.
    pub(super) fn of(config: &'a Value, own: &'a str) -> Self {
        let lists = config.pointer("/placement/rings").and_then(Value::as_array);
        let pops = |ring: &'a Value| {
            let pops = ring.as_array().into_iter().flatten();
            pops.filter_map(Value::as_str).collect()
        };
        Self { lists: lists.into_iter().flatten().map(pops).collect(), own }
    }

    /// Whether a PoP is in the same ring as the node; without rings all are.
    pub(super) fn is_near(&self, pop: &str) -> bool {
        let both = |ring: &Vec<&str>| ring.contains(&self.own) && ring.contains(&pop);
        self.lists.is_empty() || pop == self.own || self.lists.iter().any(both)
    }

    /// What there is to say about them, if there are any.
    pub(super) fn check(&self, nodes: &[&NodeRow]) -> Option<Check> {
        if self.lists.is_empty() {
            return None;
        }
        let mut trips: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for node in nodes {
            if let Some(pop) = &node.pop {
                trips.entry(pop).or_default().extend(node.rtt);
            }
        }
        let unnamed: Vec<&str> = trips
            .keys()
            .copied()
            .filter(|pop| !self.lists.iter().any(|ring| ring.contains(pop)))
            .collect();
        if !unnamed.is_empty() {
            let found = format!("in none of placement.rings: {}", unnamed.join(", "));
            return Some(Check::warning(found).hint("name them in the rings of all nodes"));
        }
        let medians = trips.iter_mut().filter_map(|(pop, trips)| Some((*pop, median(trips)?)));
        let others = medians.filter(|(pop, _)| *pop != self.own);
        let (near, far): (Vec<_>, Vec<_>) = others.partition(|(pop, _)| self.is_near(pop));
        let last = near.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let first = far.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
        if let (Some((near, near_ms)), Some((far, far_ms))) = (last, first)
            && near_ms > FAR_MS
            && near_ms > TIMES * far_ms
        {
            let found = format!(
                "PoP {near} ({near_ms:.1} ms) is in this node's ring, and {far} ({far_ms:.1} ms) is not"
            );
            let hint = "voters stay in a ring so that writes are quick: see placement.rings";
            return Some(Check::warning(found).hint(hint));
        }
        Some(Check::ok("placement.rings is in keeping with the round trips"))
    }
}

fn median(trips: &mut [f64]) -> Option<f64> {
    trips.sort_by(f64::total_cmp);
    trips.get(trips.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(id: u32, pop: &str, rtt: Option<f64>) -> NodeRow {
        serde_json::from_value(json!({
            "id": id, "pop": pop, "labels": [], "state": "up", "incarnation": 1, "rtt": rtt,
            "version": "0.1.0", "raftId": "9", "mesh": "10.0.0.1:7080", "meta": false,
        }))
        .unwrap()
    }

    fn said(rings: &Value, nodes: &[NodeRow]) -> Option<String> {
        let config = json!({"placement": {"rings": rings}});
        let nodes: Vec<&NodeRow> = nodes.iter().collect();
        Some(Rings::of(&config, "mil").check(&nodes)?.description)
    }

    #[test]
    fn rings_are_compared_with_the_median_of_each_pop() {
        let nodes = [
            node(1, "mil", None),
            node(2, "zrh", Some(4.0)),
            // One slow node does not make its PoP far.
            node(3, "zrh", Some(90.0)),
            node(4, "zrh", Some(5.0)),
            node(5, "nyc", Some(80.0)),
        ];
        assert_eq!(said(&json!([]), &nodes), None);
        let good = said(&json!([["mil", "zrh"], ["nyc"]]), &nodes).unwrap();
        assert!(good.contains("in keeping"), "{good}");
        let wrong = said(&json!([["mil", "nyc"], ["zrh"]]), &nodes).unwrap();
        assert_eq!(wrong, "PoP nyc (80.0 ms) is in this node's ring, and zrh (5.0 ms) is not");
        let missing = said(&json!([["mil", "zrh"]]), &nodes).unwrap();
        assert_eq!(missing, "in none of placement.rings: nyc");
        let config = json!({"placement": {"rings": [["mil", "zrh"], ["nyc"]]}});
        let rings = Rings::of(&config, "mil");
        assert!(rings.is_near("mil") && rings.is_near("zrh") && !rings.is_near("nyc"));
    }
}
