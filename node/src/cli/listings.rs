//! `hexpop listings`: data in and out.

use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use hexpop_shard::ListingFormat;
use http::Method;
use serde_json::{Value, json};

use super::{
    client::{AdminArgs, Answer, Client},
    error::{CliError, CliResult},
    import::{self, ImportOptions, Report},
    output::{Columns, Format, OutputArgs, or_dash, print, print_json, println},
};
use crate::admin_api::NodesReport;

#[derive(Debug, Args)]
pub(super) struct ListingsArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: ListingsCommand,
}

#[derive(Debug, Subcommand)]
enum ListingsCommand {
    /// One listing.
    Get {
        /// Its id.
        id: String,
    },
    /// Search, with filters as in the API's query string.
    #[command(
        after_help = "Examples:\n  hexpop listings search listingType=sale priceMax=300000 limit=5\n  hexpop listings search listingType=rent geoFilter.type=radius geoFilter.center.lat=45.46 geoFilter.center.lng=9.19 geoFilter.radiusKm=2 sortBy=distance"
    )]
    Search {
        /// Filters, each NAME=VALUE.
        #[arg(value_name = "NAME=VALUE", required = true)]
        filters: Vec<String>,
    },
    /// Bring files of listings in.
    #[command(
        after_help = "Examples:\n  hexpop listings import milano.ndjson.gz roma.ndjson\n  zcat feed.gz | hexpop listings import -\n  hexpop listings import --format reso property.json"
    )]
    Import(ImportArgs),
    /// Bring one listing in.
    Put {
        /// A file with the listing as JSON; `-` is stdin.
        file: PathBuf,
    },
    /// Delete one listing.
    Delete {
        /// Its id.
        id: String,
        /// The version of the deletion; newer than the listing's.
        #[arg(long)]
        version: Option<u64>,
    },
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// NDJSON files, one listing a line; `.gz` is read as such, `-` is stdin.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How listings are written. Files of RESO records may be `OData` collections too.
    #[arg(long, value_enum, default_value_t)]
    format: ImportFormat,
    /// Batches under way at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
}

/// How listings are written.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum ImportFormat {
    /// As this mesh gives them back
    #[default]
    Native,
    /// As Property records of the RESO Data Dictionary 2.0
    Reso,
}

impl From<ImportFormat> for ListingFormat {
    fn from(format: ImportFormat) -> Self {
        match format {
            ImportFormat::Native => Self::Native,
            ImportFormat::Reso => Self::Reso,
        }
    }
}

pub(super) async fn run(args: ListingsArgs) -> CliResult {
    let client = Client::admin(&args.admin)?;
    match args.command {
        ListingsCommand::Get { id } => {
            let path = format!("/api/v1/listings/{}", encode(&id));
            let listing: Value = data_port(&client).await?.get(&path).await?;
            print_json(&listing)
        }
        ListingsCommand::Search { filters } => {
            let mut query = String::new();
            for filter in &filters {
                let (name, value) = filter.split_once('=').ok_or_else(|| {
                    CliError::usage(format!("`{filter}` is not NAME=VALUE"))
                        .help("for instance listingType=sale")
                })?;
                query.push(if query.is_empty() { '?' } else { '&' });
                query.push_str(&format!("{}={}", encode(name), encode(value)));
            }
            let path = format!("/api/v1/listings{query}");
            let answer: Value = data_port(&client).await?.get(&path).await?;
            match args.output.output {
                Format::Json => print_json(&answer),
                Format::Table => print(&render_hits(&answer, args.output.no_header)),
            }
        }
        ListingsCommand::Import(import) => run_import(client, import, args.output).await,
        ListingsCommand::Put { file } => {
            let line = read_one(&file)?;
            report(&ingest_one(&client, line).await?, args.output)
        }
        ListingsCommand::Delete { id, version } => {
            let mut line = json!({ "delete": id });
            if let (Some(version), Some(line)) = (version, line.as_object_mut()) {
                line.insert("version".into(), json!(version));
            }
            report(&ingest_one(&client, line.to_string()).await?, args.output)
        }
    }
}

/// Percent-encodes what RFC 3986 does not list as unreserved.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// A client of the data port of the node whose admin port was given.
pub(super) async fn data_port(admin: &Client) -> CliResult<Client> {
    let report: NodesReport = admin.get("/admin/v1/nodes").await?;
    let own = report.nodes.into_iter().find(|node| node.id == report.seen_from);
    let url = own.and_then(|node| node.http).ok_or_else(|| {
        CliError::failed(format!("the node at {} does not name its data port", admin.base()))
    })?;
    Client::new(&url, None)
}

fn read_one(file: &PathBuf) -> CliResult<String> {
    let cannot = |error: &std::io::Error| {
        CliError::failed(format!("cannot read {}", file.display())).caused_by(error)
    };
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    }
    .map_err(|error| cannot(&error))?;
    // One line, however the file is laid out.
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        CliError::failed(format!("{} is not JSON", file.display())).caused_by(&error)
    })?;
    Ok(value.to_string())
}

async fn ingest_one(client: &Client, line: String) -> CliResult<Answer> {
    client
        .send(
            Method::POST,
            "/admin/v1/ingest",
            &[("content-type", "application/x-ndjson")],
            Bytes::from(line + "\n"),
            std::time::Duration::from_secs(30),
        )
        .await?
        .success()
}

fn report(answer: &Answer, output: OutputArgs) -> CliResult {
    let outcome: Value = answer.clone().json()?;
    let rejected = outcome.get("rejected").and_then(Value::as_array).into_iter().flatten().next();
    if let Some(reason) = rejected.and_then(|entry| entry.get("error")).and_then(Value::as_str) {
        return Err(CliError::failed("the listing was rejected").cause(reason));
    }
    match output.output {
        Format::Json => print_json(&outcome),
        Format::Table => {
            let accepted = outcome.get("accepted").and_then(Value::as_u64) == Some(1);
            println(if accepted { "accepted" } else { "ignored: the mesh has it, or a newer one" })
        }
    }
}

async fn run_import(client: Client, args: ImportArgs, output: OutputArgs) -> CliResult {
    let options = ImportOptions {
        format: args.format.into(),
        concurrency: usize::from(args.concurrency),
        ..ImportOptions::default()
    };
    let bar = import::progress_bar(None);
    let lines = import::lines_of(&args.files, options.format);
    let outcome = import::run(lines, &[client], &options, &bar).await;
    bar.finish_and_clear();
    let report = outcome?;
    match output.output {
        Format::Json => print_json(&report)?,
        Format::Table => println(&summary(&report))?,
    }
    if report.rejected.is_empty() {
        return Ok(());
    }
    let mut error = CliError::failed(format!("{} lines were rejected", report.rejected_total));
    for line in report.rejected.iter().take(10) {
        error = error.cause(format!("{}:{}: {}", line.file, line.line, line.error));
    }
    Err(error)
}

fn summary(report: &Report) -> String {
    format!(
        "{} lines: {} accepted, {} ignored (the mesh has them), {} rejected, in {:.1} s",
        super::output::grouped(report.lines),
        super::output::grouped(report.accepted),
        super::output::grouped(report.ignored),
        super::output::grouped(report.rejected_total),
        report.seconds
    )
}

fn render_hits(answer: &Value, no_header: bool) -> String {
    let heads = [
        ("ID", false),
        ("PRICE", true),
        ("", false),
        ("TYPE", false),
        ("M2", true),
        ("BEDROOMS", true),
        ("CITY", false),
        ("NEIGHBORHOOD", false),
        ("KM", true),
    ];
    let mut table = Columns::new(&heads, no_header);
    let hits = answer.get("data").and_then(Value::as_array);
    for hit in hits.into_iter().flatten() {
        let text = |pointer: &str| {
            or_dash(hit.pointer(pointer).map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            }))
        };
        table.row([
            text("/id"),
            text("/price/amount"),
            text("/price/currency"),
            text("/propertyType"),
            text("/sqMeters"),
            text("/bedrooms"),
            text("/city"),
            text("/neighborhood"),
            or_dash(hit.get("distanceKm").and_then(Value::as_f64).map(|km| format!("{km:.2}"))),
        ]);
    }
    let total = answer.pointer("/pagination/total").and_then(Value::as_u64);
    format!(
        "{}{} of {}\n",
        table.render(),
        hits.map_or(0, Vec::len),
        or_dash(total.map(super::output::grouped))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_encoded_for_a_url() {
        assert_eq!(encode("a b/ç"), "a%20b%2F%C3%A7");
        assert_eq!(encode("lst_000042"), "lst_000042");
    }
}
