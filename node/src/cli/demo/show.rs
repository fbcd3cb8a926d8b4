//! What a demo prints when it is ready.

use std::path::{Path, PathBuf};

use super::{
    super::{
        error::CliResult,
        output::{Columns, grouped},
    },
    data::Example,
    files::{self, ReadyFile},
};

/// The block that ends the start of a demo.
pub(super) fn block(
    ready: &ReadyFile,
    listings: u64,
    shards: usize,
    seconds: f64,
    example: Option<Example>,
) -> String {
    let mut pops: Vec<&str> = ready.nodes.iter().map(|node| node.pop.as_str()).collect();
    pops.sort_unstable();
    pops.dedup();
    let head = format!(
        "hexpop {} demo: {} nodes in {} PoPs, {} listings, {shards} shards, ready in {seconds:.1} s\n",
        env!("CARGO_PKG_VERSION"),
        ready.nodes.len(),
        pops.len(),
        grouped(listings),
    );
    head + "\n" + &table(ready) + "\n" + &hints(ready, example.as_ref())
}

/// Prints the block of a running demo again.
pub(super) fn reprint(ready_file: Option<&Path>) -> CliResult {
    let path = ready_file.map_or_else(files::last_ready_file, PathBuf::from);
    let ready = ReadyFile::read(&path)?;
    super::say((table(&ready) + "\n" + &hints(&ready, None)).trim_end())
}

fn table(ready: &ReadyFile) -> String {
    let heads = [
        ("NODE", false),
        ("POP", false),
        ("PID", true),
        ("HTTP", false),
        ("HTTPS, HTTP/3", false),
        ("ADMIN", false),
    ];
    let mut table = Columns::new(&heads, false);
    for node in &ready.nodes {
        table.row([
            node.id.to_string(),
            node.pop.clone(),
            node.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            node.http.clone(),
            node.https.clone().unwrap_or_else(|| "-".to_owned()),
            node.admin.clone(),
        ]);
    }
    table.row([
        "origin".to_owned(),
        String::new(),
        ready.origin.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        ready.origin.url.clone(),
        String::new(),
        String::new(),
    ]);
    table.render()
}

fn hints(ready: &ReadyFile, example: Option<&Example>) -> String {
    let Some(first) = ready.nodes.first() else { return String::new() };
    let second = ready.nodes.get(1).unwrap_or(first);
    let listing = example.map_or("lst_000042", |example| example.id.as_str());
    let kind = example.map_or("sale", |example| example.listing_type.as_str());
    let (lat, lng) = example.map_or((45.4642, 9.19), |example| example.location);
    let search = format!(
        "{{\"listingType\":\"{kind}\",\"geoFilter\":{{\"type\":\"radius\",\"center\":{{\"lat\":{lat},\"lng\":{lng}}},\"radiusKm\":3}},\"facets\":[\"propertyTypes\"]}}"
    );
    let pid = first.pid.unwrap_or_default();
    let over_tls = first.https.as_ref().map_or_else(String::new, |https| {
        format!("curl --cacert {} '{https}/api/v1/listings/{listing}'\n  ", ready.ca.display())
    });
    format!(
        "Try:\n  \
         curl -i '{}/api/v1/listings/{listing}'\n  \
         curl -s '{}/api/v1/search' -H 'content-type: application/json' -d '{search}'\n  \
         curl -i '{}/api/v1/sessions' -H 'content-type: application/json' -d '{{\"territory\":\"IT:lombardia\",\"userId\":\"u1\",\"data\":{{}}}}'\n  \
         {over_tls}kill -9 {pid} && hexpop status --admin {} --watch\n\
         Stop: Ctrl-C      This text again: hexpop demo ls\n",
        first.http, second.http, first.http, second.admin,
    )
}
