//! `hexpop purge` and `hexpop cache inspect`: the HTTP caches of the mesh.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::{
    client::{AdminArgs, Client},
    error::{CliError, CliResult},
    mesh::parse_duration,
    output::{Columns, Format, OutputArgs, or_dash, print, print_json},
};

/// How often it is asked how far a purge is.
const POLL: Duration = Duration::from_millis(200);

/// How many of its targets are named.
const NAMED_MAX: usize = 5;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hexpop purge --tag listing:lst_42\n  hexpop purge --prefix /listings/lst_1/images/ --soft\n  hexpop purge --url https://www.example.com/it/vendita/milano\n\nExit code 3: not every node confirmed in time. Those that did not apply the purge before they serve\nwhat they have stored, or ask the origin each time until then."
)]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// A URL, or a path of every host; several are allowed.
    #[arg(long, required_unless_present_any = ["tags", "prefixes", "all"])]
    url: Vec<String>,
    /// A tag of Surrogate-Key, Cache-Tag or Cache-Groups; several are allowed.
    #[arg(long = "tag")]
    tags: Vec<String>,
    /// Everything below a URL, or below a path of every host; several are allowed.
    #[arg(long = "prefix")]
    prefixes: Vec<String>,
    /// Everything.
    #[arg(long)]
    all: bool,
    /// Only make it stale: it may still be served while it is refreshed, or when the origin fails.
    #[arg(long)]
    soft: bool,
    /// How long to wait for all nodes.
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,
}

#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// What each node holds of a URL, and what decides about it.
    Inspect {
        /// An absolute URL.
        url: String,
    },
}

pub(super) async fn purge(args: PurgeArgs) -> CliResult {
    let client = Client::admin(&args.admin)?;
    let body = json!({"urls": args.url, "tags": args.tags, "prefixes": args.prefixes,
                      "all": args.all, "soft": args.soft});
    let begin = Instant::now();
    let mut report: Value = client.call(Method::POST, "/admin/v1/purge", &body).await?.json()?;
    let asked = args.asked();
    while !is_complete(&report) && begin.elapsed() + POLL < args.timeout {
        tokio::time::sleep(POLL).await;
        let path = format!("/admin/v1/purge/{}", number(&report, "id"));
        // Whoever answers later knows no less; what was heard first stands where nobody does.
        report = client.get(&path).await.unwrap_or(report);
    }
    match args.output.output {
        Format::Json => print_json(&report)?,
        Format::Table => print(&render_purge(&report, &asked, args.output.no_header))?,
    }
    if is_complete(&report) {
        return Ok(());
    }
    let (confirmed, of) = (number(&report, "confirmed"), number(&report, "of"));
    let detail = format!("{confirmed} of {of} nodes confirmed");
    let help = format!(
        "the others purge, or ask the origin, before they serve what they have stored; \
         the last of them in {} ms at most",
        number(&report, "worstStalenessMs")
    );
    Err(CliError::missed(detail).help(help))
}

impl PurgeArgs {
    /// What is purged, in words.
    fn asked(&self) -> String {
        let all = [("url", &self.url), ("tag", &self.tags), ("prefix", &self.prefixes)];
        let named =
            all.into_iter().flat_map(|(kind, list)| list.iter().map(move |one| (kind, one)));
        let mut words: Vec<String> =
            named.map(|(kind, one)| format!("{kind} {one}")).take(NAMED_MAX + 1).collect();
        words.extend(self.all.then(|| "everything".to_owned()));
        if words.len() > NAMED_MAX {
            words.truncate(NAMED_MAX);
            words.push("…".to_owned());
        }
        if self.soft { format!("{}, soft", words.join(", ")) } else { words.join(", ") }
    }
}

fn number(report: &Value, name: &str) -> u64 {
    report.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn is_complete(report: &Value) -> bool {
    number(report, "confirmed") == number(report, "of")
}

fn render_purge(report: &Value, asked: &str, no_header: bool) -> String {
    let heads =
        [("NODE", true), ("POP", false), ("OBJECTS", true), ("TOOK", true), ("STATE", false)];
    let mut table = Columns::new(&heads, no_header);
    let mut objects = 0;
    for node in report.get("nodes").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| or_dash(node.get(name).map(text_of));
        objects += node.get("objects").and_then(Value::as_u64).unwrap_or_default();
        let took = node.get("tookMs").and_then(Value::as_f64).map(|ms| format!("{ms:.1} ms"));
        let state = match node.get("error") {
            Some(why) => format!("{}: {}", text("state"), text_of(why)),
            None => text("state"),
        };
        table.row([text("id"), text("pop"), text("objects"), or_dash(took), state]);
    }
    let (confirmed, of) = (number(report, "confirmed"), number(report, "of"));
    let nothing = if objects == 0 { ": no node had anything stored that it names" } else { "" };
    format!(
        "purge {}  {asked}\n{}{confirmed} of {of} nodes confirmed, {objects} objects{nothing}\n",
        number(report, "id"),
        table.render()
    )
}

pub(super) async fn cache(args: CacheArgs) -> CliResult {
    let client = Client::admin(&args.admin)?;
    let CacheCommand::Inspect { url } = args.command;
    let encoded: String = url.bytes().map(percent_encoded).collect();
    let report: Value = client.get(&format!("/admin/v1/cache?url={encoded}")).await?;
    match args.output.output {
        Format::Json => print_json(&report),
        Format::Table => print(&render_cache(&report, args.output.no_header)),
    }
}

fn percent_encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

fn render_cache(report: &Value, no_header: bool) -> String {
    let heads = [
        ("NODE", true),
        ("STATUS", true),
        ("AGE", true),
        ("TTL", true),
        ("BYTES", true),
        ("VARY", false),
        ("TAGS", false),
        ("WHY", false),
    ];
    let mut table = Columns::new(&heads, no_header);
    for node in report.get("nodes").and_then(Value::as_array).into_iter().flatten() {
        let id = or_dash(node.get("id").map(text_of));
        let entries = node.get("entries").and_then(Value::as_array).cloned().unwrap_or_default();
        if entries.is_empty() {
            let why = node.get("error").map_or_else(|| "not stored".to_owned(), text_of);
            let dash = || "-".to_owned();
            table.row([id.clone(), dash(), dash(), dash(), dash(), dash(), dash(), why]);
        }
        for entry in &entries {
            let text = |name: &str| or_dash(entry.get(name).map(text_of));
            let list = |name: &str, each: fn(&Value) -> String| {
                let values = entry.get(name).and_then(Value::as_array).into_iter().flatten();
                let values: Vec<String> = values.map(each).collect();
                or_dash((!values.is_empty()).then(|| values.join(", ")))
            };
            let vary = list("vary", |pair| match pair.as_array().map(Vec::as_slice) {
                Some([name, Value::String(value)]) => format!("{}={value}", text_of(name)),
                Some([name, _absent]) => text_of(name),
                _ => String::new(),
            });
            let secs = |name: &str| format!("{} s", text(name));
            let is_on_disk = entry.get("onDisk") == Some(&Value::Bool(true));
            let place = if is_on_disk { ", on disk" } else { "" };
            table.row([
                id.clone(),
                text("status"),
                secs("age"),
                secs("ttl"),
                text("bytes"),
                vary,
                list("tags", text_of),
                text("rule") + place,
            ]);
        }
    }
    table.render()
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_confirmed_and_who_did_not_is_shown() {
        let report = json!({"id": 7, "confirmed": 1, "of": 2, "nodes": [
            {"id": 1, "pop": "mil", "state": "confirmed", "objects": 3, "tookMs": 1.06},
            {"id": 4, "pop": "ber", "state": "pending", "error": "unreachable"},
        ]});
        let text = render_purge(&report, "tag a", false);
        assert!(text.starts_with("purge 7  tag a\n"), "{text}");
        assert!(text.contains("3  1.1 ms  confirmed"), "{text}");
        assert!(text.contains("pending: unreachable"), "{text}");
        assert!(text.ends_with("1 of 2 nodes confirmed, 3 objects\n"), "{text}");
    }

    #[test]
    fn what_is_stored_is_shown_with_what_decides() {
        let report = json!({"nodes": [
            {"id": 1, "entries": [{"status": 200, "age": 12, "ttl": 48, "bytes": 18,
                "vary": [["accept-language", "it"], ["x-a", null]], "tags": ["a", "b"],
                "rule": "fresh"}]},
            {"id": 2, "entries": []},
            {"id": 3, "entries": [{"status": 200, "age": 12, "ttl": 48, "bytes": 18, "vary": [],
                "tags": [], "rule": "immutable", "onDisk": true}]},
        ]});
        let text = render_cache(&report, true);
        assert!(text.contains("12 s  48 s"), "{text}");
        assert!(text.contains("accept-language=it, x-a  a, b  fresh"), "{text}");
        assert!(text.contains("not stored") && text.contains("immutable, on disk"), "{text}");
        assert_eq!(
            "http://a/b".bytes().map(percent_encoded).collect::<String>(),
            "http%3A%2F%2Fa%2Fb"
        );
    }
}
