use std::{collections::BTreeSet, io::Read, path::Path};

use flate2::read::GzDecoder;
use hexpop_router::{Context, full};

use crate::{
    mesh::Mesh,
    origin::{TestOrigin, port},
};

/// All lines of the listings below the folder that `HEXPOP_TEST_DATA` names.
fn lines() -> Option<Vec<String>> {
    let folder = std::env::var_os("HEXPOP_TEST_DATA")?;
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(Path::new(&folder).join("listings")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gz") {
            let mut text = String::new();
            let file = std::fs::File::open(path).unwrap();
            GzDecoder::new(file).read_to_string(&mut text).unwrap();
            lines.extend(text.lines().map(ToOwned::to_owned));
        }
    }
    Some(lines)
}

#[tokio::test(start_paused = true)]
async fn real_listings_are_taken_in_and_a_second_time_change_nothing() {
    let Some(lines) = lines() else { return };
    let territories: BTreeSet<String> = lines
        .iter()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let field = |name: &str| line[name].as_str().unwrap().to_owned();
            format!("{}:{}", field("country"), field("region"))
        })
        .collect();
    let territories: Vec<&str> = territories.iter().map(String::as_str).collect();
    let mesh = Mesh::new(3, &territories);
    let router = mesh.router(1, port(&TestOrigin::none()));
    let body = lines.join("\n");
    let rows = lines.len() as u64;
    let first = router
        .ingest(full(body.clone().into()), crate::mesh::LINE_BYTES_MAX, &Context::default())
        .await
        .unwrap();
    assert_eq!((first.accepted, first.rejected), (rows, Vec::new()));
    let commands = mesh.writes();
    println!("{rows} listings of {} territories in {commands} commands", territories.len());
    assert_eq!(mesh.found().len() as u64, rows);
    let second = router
        .ingest(full(body.into()), crate::mesh::LINE_BYTES_MAX, &Context::default())
        .await
        .unwrap();
    assert_eq!((second.accepted, second.ignored), (0, rows));
}
