//! `hexpop shards why` and `hexpop shards residency`.

use super::{
    client::Client,
    error::{CliError, CliResult},
    output::{Columns, Format, OutputArgs, or_dash, print, print_json},
};
use crate::admin_api::{ResidencyReport, ViolationRow, WhyReport};

/// How many violations of a territory are shown.
const SHOWN_MAX: usize = 20;

/// Prints why a shard is where it is.
pub(super) async fn why(client: &Client, id: u64, args: &OutputArgs) -> CliResult {
    let report: WhyReport = client.get(&format!("/admin/v1/shards/{id}/why")).await?;
    match args.output {
        Format::Json => print_json(&report),
        Format::Table => print(&render_why(&report, args.no_header)),
    }
}

fn render_why(report: &WhyReport, no_header: bool) -> String {
    let labels = match report.labels.as_slice() {
        [] => "any node".to_owned(),
        labels => format!("nodes with {}", labels.join(", ")),
    };
    let everywhere = if report.in_every_pop { ", a replica in every PoP" } else { "" };
    let next = match (&report.next, &report.none_because) {
        (Some(next), _) => next.clone(),
        (None, Some(why)) => format!("nothing: {why}"),
        (None, None) => "nothing".to_owned(),
    };
    let operation = report.operation.map_or_else(String::new, |id| format!(" (operation {id})"));
    let mut text = format!(
        "shard {}   {} {}\npolicy    {} voters on {labels}, each in a PoP of its own while there are enough{everywhere}\nnext      {next}{operation}\n",
        report.shard, report.space, report.range.text, report.replicas
    );
    for finding in &report.findings {
        text.push_str("finding   ");
        text.push_str(finding);
        text.push('\n');
    }
    let heads = [("NODE", true), ("POP", false), ("VERDICT", false), ("WHY", false)];
    let mut table = Columns::new(&heads, no_header);
    for row in &report.candidates {
        table.row([
            row.node.to_string(),
            or_dash(row.pop.as_ref()),
            row.verdict.clone(),
            row.why.clone(),
        ]);
    }
    text.push('\n');
    text.push_str(&table.render());
    text
}

/// Prints where what has to stay somewhere is; fails unless all nodes answered and all of it is where it
/// may be.
pub(super) async fn residency(client: &Client, args: &OutputArgs) -> CliResult {
    let report: ResidencyReport = client.get("/admin/v1/shards/residency").await?;
    match args.output {
        Format::Json => print_json(&report)?,
        Format::Table => print(&render_residency(&report, args.no_header))?,
    }
    verdict(&report)
}

fn verdict(report: &ResidencyReport) -> CliResult {
    match report.state.as_str() {
        "ok" => Ok(()),
        "incomplete" => {
            Err(CliError::missed(format!("{} did not answer", names(&report.unanswered)))
                .help("what is on their disks is not known; ask again when they are up"))
        }
        _ => Err(CliError::missed("something is where it must not be")
            .help("`hexpop shards why ID` tells why, and what is planned")),
    }
}

fn names(nodes: &[u32]) -> String {
    let list: Vec<String> = nodes.iter().map(u32::to_string).collect();
    format!("node{} {}", if list.len() == 1 { "" } else { "s" }, list.join(", "))
}

fn render_residency(report: &ResidencyReport, no_header: bool) -> String {
    let heads = [
        ("TERRITORY", false),
        ("LABELS", false),
        ("SHARDS", true),
        ("NODES", false),
        ("VERDICT", false),
    ];
    let mut table = Columns::new(&heads, no_header);
    for row in &report.territories {
        let nodes: Vec<String> = row.held.iter().map(|held| held.node.to_string()).collect();
        let verdict = match (row.violations.len(), report.unanswered.len()) {
            (0, 0) => "ok".to_owned(),
            (0, silent) => format!("ok as far as known ({silent} silent)"),
            (count, _) => format!("{count} VIOLATIONS"),
        };
        table.row([
            row.territory.clone(),
            row.labels.join(","),
            row.shards.len().to_string(),
            nodes.join(","),
            verdict,
        ]);
    }
    let mut text = if report.territories.is_empty() {
        "no territory needs labels\n".to_owned()
    } else {
        table.render()
    };
    let directory: Vec<String> = report.directory.nodes.iter().map(u32::to_string).collect();
    text.push_str(&format!(
        "directory (exempt: no listing data): {} shards on nodes {}\n{} of {} nodes answered",
        report.directory.shards.len(),
        if directory.is_empty() { "-".to_owned() } else { directory.join(",") },
        report.answered,
        report.asked,
    ));
    if !report.unanswered.is_empty() {
        text.push_str(&format!("; not {}", names(&report.unanswered)));
    }
    text.push('\n');
    let violations = report.territories.iter().flat_map(|row| &row.violations);
    let all: Vec<&ViolationRow> = violations.chain(&report.unknown).collect();
    for violation in all.iter().take(SHOWN_MAX) {
        text.push_str(&format!(
            "violation: shard {} on node {} ({}): {}\n",
            violation.shard,
            violation.node,
            violation.places.join(", "),
            violation.why
        ));
    }
    if all.len() > SHOWN_MAX {
        text.push_str(&format!("… and {} more\n", all.len() - SHOWN_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::admin_api::{DirectoryRow, HeldRow, ResidencyRow};

    fn report(state: &str, unanswered: Vec<u32>, violations: Vec<ViolationRow>) -> ResidencyReport {
        ResidencyReport {
            schema: "hexpop.residency/1".to_owned(),
            state: state.to_owned(),
            asked: 3,
            answered: 3 - unanswered.len() as u64,
            unanswered,
            territories: vec![ResidencyRow {
                territory: "IT:lazio".to_owned(),
                labels: vec!["eu".to_owned()],
                shards: BTreeSet::from([4, 5]),
                held: vec![HeldRow { node: 1, shards: 2 }],
                violations,
            }],
            directory: DirectoryRow { nodes: vec![1, 2], shards: BTreeSet::from([9]) },
            unknown: Vec::new(),
        }
    }

    #[test]
    fn only_a_whole_answer_without_a_violation_is_a_success() {
        let good = report("ok", Vec::new(), Vec::new());
        assert!(verdict(&good).is_ok());
        assert!(render_residency(&good, false).contains("3 of 3 nodes answered"));
        let silent = report("incomplete", vec![3], Vec::new());
        assert_ne!(verdict(&silent).unwrap_err().exit(), 0);
        assert!(render_residency(&silent, false).contains("not node 3"));
        let places = vec!["snapshot".to_owned()];
        let why = "the node lacks the label eu".to_owned();
        let bad =
            report("violated", Vec::new(), vec![ViolationRow { node: 2, shard: 4, places, why }]);
        assert_ne!(verdict(&bad).unwrap_err().exit(), 0);
        let text = render_residency(&bad, false);
        assert!(
            text.contains("1 VIOLATIONS") && text.contains("shard 4 on node 2 (snapshot)"),
            "{text}"
        );
    }
}
