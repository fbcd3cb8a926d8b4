//! Where what has to stay somewhere really is: from what each node holds, not from the map.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::NodeId;
use hexpop_raft::Holding;
use hexpop_shard::{KeyRange, PlacementPolicy, Space};

use super::MemberView;
use crate::admin_api::{DirectoryRow, HeldRow, ResidencyReport, ResidencyRow, ViolationRow};

/// What the nodes that answered hold.
pub type Holdings = BTreeMap<NodeId, Vec<Holding>>;

/// What is known of everything that no territory names.
const DEFAULT: &str = "everything else";

/// Compares what nodes hold with what they may. `expected` are the nodes that must answer for the verdict
/// to be complete: every member that has not left, and every node that the map has a replica on.
#[must_use]
pub fn residency_report(
    policy: &PlacementPolicy,
    members: &[MemberView],
    expected: &BTreeSet<NodeId>,
    holdings: &Holdings,
) -> ResidencyReport {
    // Of a member that came a moment ago it may not be known yet what it announces.
    let known = members.iter().filter(|member| member.pop.is_some());
    let labels: BTreeMap<NodeId, BTreeSet<&str>> = known
        .map(|member| (member.node, member.labels.iter().map(String::as_str).collect()))
        .collect();
    let judged = |node: &NodeId| holdings.contains_key(node) && labels.contains_key(node);
    let mut territories = rows(policy);
    let mut directory = DirectoryRow { nodes: Vec::new(), shards: BTreeSet::new() };
    let mut unknown = Vec::new();
    for (node, held) in holdings {
        let Some(labels) = labels.get(node) else { continue };
        for holding in held {
            let Some(range) = &holding.range else {
                unknown.push(violation(*node, holding, "nothing tells what it holds"));
                continue;
            };
            if range.space_of() == Space::Directory {
                directory.shards.insert(holding.shard.0);
                if !directory.nodes.contains(&node.0) {
                    directory.nodes.push(node.0);
                }
            }
            for (what, row) in &mut territories {
                if what.concerns(policy, range) {
                    note(row, *node, holding, labels);
                }
            }
        }
    }
    let unanswered: Vec<u32> =
        expected.iter().filter(|node| !judged(node)).map(|node| node.0).collect();
    let territories: Vec<ResidencyRow> = territories.into_iter().map(|(_, row)| row).collect();
    let violated = !unknown.is_empty() || territories.iter().any(|row| !row.violations.is_empty());
    let state = match (violated, unanswered.is_empty()) {
        (true, _) => "violated",
        (false, false) => "incomplete",
        (false, true) => "ok",
    };
    ResidencyReport {
        schema: "hexpop.residency/1".to_owned(),
        state: state.to_owned(),
        asked: expected.len() as u64,
        answered: holdings.keys().filter(|node| judged(node)).count() as u64,
        unanswered,
        territories,
        directory,
        unknown,
    }
}

/// What a row is about.
enum What {
    /// A territory that names labels.
    Territory(Vec<KeyRange>),
    /// Whatever no territory names, if that needs labels.
    Rest,
}

impl What {
    /// Whether keys of it may be in a range. By overlap: also of a shard that has long divided something
    /// may be left.
    fn concerns(&self, policy: &PlacementPolicy, range: &KeyRange) -> bool {
        match self {
            Self::Territory(ranges) => ranges.iter().any(|own| own.overlaps(range)),
            // Exempt by name: it has no listing data.
            Self::Rest => {
                let named = range.single_territory();
                range.space_of() != Space::Directory
                    && named.is_none_or(|named| !policy.territories.contains_key(&named))
            }
        }
    }
}

fn rows(policy: &PlacementPolicy) -> Vec<(What, ResidencyRow)> {
    let row = |territory: String, labels: &BTreeSet<String>| ResidencyRow {
        territory,
        labels: labels.iter().cloned().collect(),
        shards: BTreeSet::new(),
        held: Vec::new(),
        violations: Vec::new(),
    };
    let named = policy.territories.iter().filter(|(_, own)| !own.labels.is_empty());
    let mut rows: Vec<(What, ResidencyRow)> = named
        .map(|(territory, own)| {
            let spaces = [Space::Listings, Space::Sessions];
            let ranges = spaces.map(|space| KeyRange::territory(space, territory)).to_vec();
            (What::Territory(ranges), row(territory.to_string(), &own.labels))
        })
        .collect();
    if !policy.default.labels.is_empty() {
        rows.push((What::Rest, row(DEFAULT.to_owned(), &policy.default.labels)));
    }
    rows
}

fn note(row: &mut ResidencyRow, node: NodeId, holding: &Holding, labels: &BTreeSet<&str>) {
    row.shards.insert(holding.shard.0);
    match row.held.iter_mut().find(|held| held.node == node.0) {
        Some(held) => held.shards += 1,
        None => row.held.push(HeldRow { node: node.0, shards: 1 }),
    }
    let lacking: Vec<&str> =
        row.labels.iter().map(String::as_str).filter(|label| !labels.contains(label)).collect();
    if !lacking.is_empty() {
        let why = format!("the node lacks the label {}", lacking.join(", "));
        row.violations.push(violation(node, holding, &why));
    }
}

fn violation(node: NodeId, holding: &Holding, why: &str) -> ViolationRow {
    ViolationRow {
        node: node.0,
        shard: holding.shard.0,
        places: holding.places.clone(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::{RaftId, ShardId};
    use hexpop_shard::{Policy, ShardKey};

    use super::*;

    fn member(node: u32, labels: &[&str]) -> MemberView {
        MemberView {
            node: NodeId(node),
            raft: RaftId(u64::from(node)),
            pop: Some("mil".to_owned()),
            labels: labels.iter().map(ToString::to_string).collect(),
            state: "up",
            incarnation: 1,
            rtt: None,
            version: None,
            http: None,
            admin: None,
            mesh: String::new(),
            last_seen: None,
        }
    }

    fn policy() -> PlacementPolicy {
        let of = |labels: &[&str]| Policy {
            labels: labels.iter().map(ToString::to_string).collect(),
            replicas: 3,
        };
        let territories = [("IT:lazio", of(&["eu"])), ("US:texas", of(&[]))];
        PlacementPolicy {
            default: of(&[]),
            territories: territories
                .into_iter()
                .map(|(territory, policy)| (territory.parse().unwrap(), policy))
                .collect(),
        }
    }

    fn holding(shard: u64, range: Option<KeyRange>) -> Holding {
        Holding { shard: ShardId(shard), range, places: vec!["log".to_owned()] }
    }

    fn lazio() -> KeyRange {
        KeyRange::territory(Space::Sessions, &"IT:lazio".parse().unwrap())
    }

    fn report(holdings: &[(u32, Vec<Holding>)]) -> ResidencyReport {
        let members = [member(1, &["eu"]), member(2, &[])];
        let expected = BTreeSet::from([NodeId(1), NodeId(2)]);
        let holdings = holdings.iter().map(|(node, held)| (NodeId(*node), held.clone())).collect();
        residency_report(&policy(), &members, &expected, &holdings)
    }

    #[test]
    fn what_is_where_it_must_not_be_is_found_whatever_the_map_says() {
        let directory = KeyRange::space(Space::Directory);
        let good = [(1, vec![holding(4, Some(lazio()))]), (2, vec![holding(5, Some(directory))])];
        let found = report(&good);
        assert_eq!(found.state, "ok");
        assert_eq!((found.territories.len(), found.directory.nodes), (1, vec![2]));
        assert_eq!(found.territories[0].held, [HeldRow { node: 1, shards: 1 }]);
        let bad = [good[0].clone(), (2, vec![holding(4, Some(lazio()))])];
        let found = report(&bad);
        assert_eq!(found.state, "violated");
        let violation = &found.territories[0].violations[0];
        assert_eq!((violation.node, violation.shard), (2, 4));
        // A shard from before the territory had one of its own.
        let all = [good[0].clone(), (2, vec![holding(9, Some(KeyRange::space(Space::Sessions)))])];
        assert_eq!(report(&all).state, "violated");
        let near = ShardKey::new(Space::Sessions, &"US:texas".parse().unwrap(), 0);
        let other = KeyRange { start: near, end: None };
        assert_eq!(report(&[good[0].clone(), (2, vec![holding(9, Some(other))])]).state, "ok");
    }

    #[test]
    fn who_has_not_announced_itself_is_not_judged() {
        let stranger = MemberView { pop: None, ..member(1, &[]) };
        let held = Holdings::from([(NodeId(1), vec![holding(4, Some(lazio()))])]);
        let expected = BTreeSet::from([NodeId(1)]);
        let found = residency_report(&policy(), &[stranger], &expected, &held);
        assert_eq!((found.state.as_str(), found.unanswered), ("incomplete", vec![1]));
        assert!(found.territories[0].held.is_empty() && found.answered == 0);
    }

    #[test]
    fn silence_is_no_proof() {
        let found = report(&[(1, vec![holding(4, Some(lazio()))])]);
        assert_eq!((found.state.as_str(), found.unanswered), ("incomplete", vec![2]));
        let found = report(&[(1, vec![holding(4, None)]), (2, Vec::new())]);
        assert_eq!((found.state.as_str(), found.unknown.len()), ("violated", 1));
    }
}
