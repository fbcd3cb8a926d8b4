//! `hexpop faults`: fault rules, which all end by themselves.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    client::{AdminArgs, Client},
    error::CliResult,
    output::{Columns, Format, OutputArgs, or_dash, print, print_json, println},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hexpop faults add --where link-out --peer 2 --what cut --ttl 30s\n  hexpop faults add --where disk-flush --what delay --delay-ms 200 --ttl 1m\n  hexpop faults clear --all"
)]
pub(super) struct FaultsArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: FaultsCommand,
}

#[derive(Debug, Subcommand)]
enum FaultsCommand {
    /// The active rules of the node.
    List,
    /// Add a rule.
    Add(AddArgs),
    /// Remove rules.
    Clear {
        /// The rules' numbers.
        #[arg(required_unless_present = "all")]
        ids: Vec<u64>,
        /// All rules, of all nodes.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Args)]
struct AddArgs {
    /// Where.
    #[arg(long = "where", value_parser = ["link-out", "link-in", "disk-append", "disk-flush", "origin"])]
    hook: String,
    /// What.
    #[arg(long = "what", value_parser = ["delay", "drop", "cut", "error"])]
    effect: String,
    /// How long the rule lives, such as 30s.
    #[arg(long)]
    ttl: String,
    /// Only towards or from this node.
    #[arg(long)]
    peer: Option<u32>,
    /// Only this class of mesh traffic.
    #[arg(long, value_parser = ["gossip", "raft", "query", "cache", "admin", "snapshot"])]
    class: Option<String>,
    /// How much later, milliseconds.
    #[arg(long)]
    delay_ms: Option<u64>,
    /// Up to so much more.
    #[arg(long)]
    jitter_ms: Option<u64>,
    /// How likely, from 0 to 1.
    #[arg(long)]
    probability: Option<f64>,
    /// From which the rule's chances follow.
    #[arg(long)]
    seed: Option<u64>,
    /// On all nodes.
    #[arg(long)]
    mesh: bool,
}

impl AddArgs {
    fn to_json(&self) -> Value {
        let mut rule = Map::new();
        rule.insert("where".into(), json!(self.hook));
        rule.insert("what".into(), json!(self.effect));
        rule.insert("ttl".into(), json!(self.ttl));
        rule.insert("owner".into(), json!("command line"));
        let optional = [
            ("peer", self.peer.map(Value::from)),
            ("class", self.class.clone().map(Value::from)),
            ("delayMs", self.delay_ms.map(Value::from)),
            ("jitterMs", self.jitter_ms.map(Value::from)),
            ("probability", self.probability.map(Value::from)),
            ("seed", self.seed.map(Value::from)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                rule.insert(name.into(), value);
            }
        }
        Value::Object(rule)
    }
}

pub(super) async fn run(args: FaultsArgs) -> CliResult {
    let client = Client::admin(&args.admin)?;
    match args.command {
        FaultsCommand::List => {
            let report: Value = client.get("/admin/v1/faults").await?;
            match args.output.output {
                Format::Json => print_json(&report),
                Format::Table => print(&render(&report, args.output.no_header)),
            }
        }
        FaultsCommand::Add(rule) => {
            let path = if rule.mesh { "/admin/v1/faults?scope=mesh" } else { "/admin/v1/faults" };
            let answer = client.call(Method::POST, path, &rule.to_json()).await?;
            print_json(&answer.json::<Value>()?)
        }
        FaultsCommand::Clear { ids, all } => {
            if all {
                client.call(Method::DELETE, "/admin/v1/faults?scope=mesh", &json!({})).await?;
            }
            for id in ids {
                let path = format!("/admin/v1/faults/{id}");
                client.call(Method::DELETE, &path, &json!({})).await?;
            }
            println("cleared")
        }
    }
}

fn render(report: &Value, no_header: bool) -> String {
    let heads = [
        ("ID", true),
        ("WHERE", false),
        ("WHAT", false),
        ("PEER", true),
        ("CLASS", false),
        ("DELAY MS", true),
        ("PROBABILITY", true),
        ("ENDS IN", true),
        ("HITS", true),
        ("OWNER", false),
    ];
    let mut table = Columns::new(&heads, no_header);
    for rule in report.get("faults").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| {
            or_dash(rule.get(name).filter(|value| !value.is_null()).map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            }))
        };
        let ends = rule.get("remainingMs").and_then(Value::as_u64);
        table.row([
            text("id"),
            text("where"),
            text("what"),
            text("peer"),
            text("class"),
            text("delayMs"),
            text("probability"),
            or_dash(ends.map(|ms| super::output::uptime(ms / 1000))),
            text("hits"),
            text("owner"),
        ]);
    }
    table.render()
}
