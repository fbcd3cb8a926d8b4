//! Which listings to ask for: some of those that the mesh holds, from all over the map.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use hexpop_bench::Seen;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{
    client::{Answer, Client},
    error::{CliError, CliResult},
};

/// Map cells looked into per listing type, the fullest first.
const CELLS_MAX: usize = 32;
/// Listings in a page; the API gives no more.
const PAGE: u32 = 200;
/// Pages read per listing type and order.
const PAGES_MAX: usize = 3;
/// Around a cell's centre; a cell of resolution 3 has edges of about 60 km.
const RADIUS_KM: u32 = 60;
/// How long one question may take.
const DEADLINE: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
struct Cells {
    cells: Vec<Cell>,
}

#[derive(Debug, Deserialize)]
struct Cell {
    count: u64,
    center: Point,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Point {
    lat: f64,
    lng: f64,
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<Summary>,
    pagination: Pagination,
}

#[derive(Debug, Deserialize)]
struct Pagination {
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    id: String,
    listing_type: String,
    country: Option<String>,
    region: Option<String>,
    location: Option<Point>,
}

/// Listings of every part of the map and from both ends of every order, each once, by id.
pub(super) async fn listings(bases: &[String]) -> CliResult<Vec<Seen>> {
    let mut last = CliError::usage("there is nothing to ask");
    for base in bases {
        match sample(&Client::new(base, None)?).await {
            Ok(seen) => return Ok(seen.into_values().collect()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn sample(client: &Client) -> CliResult<BTreeMap<String, Seen>> {
    let mut seen = BTreeMap::new();
    for listing_type in ["sale", "rent"] {
        for cell in fullest_cells(client, listing_type).await? {
            let search = json!({
                "listingType": listing_type,
                "limit": PAGE,
                "geoFilter": {
                    "type": "radius",
                    "center": {"lat": cell.center.lat, "lng": cell.center.lng},
                    "radiusKm": RADIUS_KM,
                },
            });
            keep(&mut seen, ask(client, "/api/v1/search", &search).await?.json::<Page>()?.data);
        }
        for order in ["newest", "price_asc", "price_desc"] {
            let mut search = json!({"listingType": listing_type, "limit": PAGE, "sortBy": order});
            for _page in 0..PAGES_MAX {
                let page: Page = ask(client, "/api/v1/search", &search).await?.json()?;
                keep(&mut seen, page.data);
                let Some(cursor) = page.pagination.cursor else { break };
                if let Some(search) = search.as_object_mut() {
                    search.insert("cursor".to_owned(), cursor.into());
                }
            }
        }
    }
    Ok(seen)
}

/// The fullest cells of the map; none if the mesh draws no map.
async fn fullest_cells(client: &Client, listing_type: &str) -> CliResult<Vec<Cell>> {
    let request = json!({"listingType": listing_type, "resolution": 3});
    let answer = ask(client, "/api/v1/search/map", &request).await?;
    if !answer.status.is_success() {
        return Ok(Vec::new());
    }
    let mut cells = answer.json::<Cells>()?.cells;
    cells.sort_by_key(|cell| std::cmp::Reverse(cell.count));
    cells.truncate(CELLS_MAX);
    Ok(cells)
}

async fn ask(client: &Client, path: &str, body: &Value) -> CliResult<Answer> {
    let headers = [("content-type", "application/json")];
    client.send(Method::POST, path, &headers, Bytes::from(body.to_string()), DEADLINE).await
}

fn keep(seen: &mut BTreeMap<String, Seen>, page: Vec<Summary>) {
    for one in page {
        let (Some(country), Some(region)) = (one.country, one.region) else { continue };
        let listing = Seen {
            id: one.id.clone(),
            listing_type: one.listing_type,
            territory: format!("{country}:{region}"),
            location: one.location.map(|point| (point.lat, point.lng)),
        };
        seen.insert(one.id, listing);
    }
}
