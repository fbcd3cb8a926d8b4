//! What is asked: one row of the table per kind of query.

use hexpop_bench::dataset::Rng;
use hexpop_shard::{IndexView, ListingType, MapQuery, PropertyType, Query, SuggestQuery, Word};
use serde_json::{Value, json};

use crate::{
    areas::Areas,
    engine,
    scan::{Place, Scan},
};

/// The six facets.
const FACETS: [&str; 6] =
    ["propertyTypes", "bedrooms", "priceRanges", "priceStats", "neighborhoods", "energyRatings"];

/// Pages before the one that is timed.
const PAGES_BEFORE: usize = 19;
/// Page sizes of the walks without an area, which would all be the same otherwise.
const PAGE_SIZES: [usize; 5] = [30, 40, 50, 60, 70];
/// Hits per request while walking to a page.
const WALK_LIMIT: usize = 200;
/// Amenities that count as rare.
const RARE_AMENITIES: usize = 8;
/// Letters of the prefixes that suggestions are asked for.
const PREFIX_CHARS: usize = 3;

/// One query.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// A search; the scan's page begins behind its own place.
    Search(Box<Query>, Option<Place>),
    /// A map view.
    Clusters(Box<MapQuery>),
    /// Places by prefix.
    Suggest(SuggestQuery),
}

/// Queries of one kind.
pub(crate) struct Kind {
    /// Its number, such as `Q1`.
    pub(crate) name: &'static str,
    /// What it asks for.
    pub(crate) what: &'static str,
    /// The p50 to reach on a million listings, in milliseconds.
    pub(crate) goal_ms: Option<f64>,
    /// Whether it should cost the same however many listings there are, as long as as many match
    /// where it looks; the others may cost in proportion to what they match or answer.
    pub(crate) constant: bool,
    /// The queries, all different.
    pub(crate) asks: Vec<Ask>,
}

/// Kinds whose matches, cells or places grow with the market.
const GROWING: [&str; 6] = ["Q10a", "Q10b", "Q12b", "Q13", "Q15", "Q16b"];

/// Makes queries for one market.
pub(crate) struct Maker<'a> {
    pub(crate) areas: Areas,
    pub(crate) index: &'a IndexView,
    pub(crate) scan: &'a Scan,
    /// Different areas per kind.
    pub(crate) count: usize,
}

/// A kind of query: number, what it asks for, goal, and how its queries are made.
type Recipe<'a> = (&'static str, &'static str, Option<f64>, fn(&mut Maker<'a>) -> Vec<Ask>);

impl<'a> Maker<'a> {
    #[rustfmt::skip]
    const WITHOUT_TEXTS: [Recipe<'a>; 21] = [
        ("Q1", "radius 5 km + price, by distance, 50 hits", Some(0.1), Self::near_and_priced),
        ("Q2", "viewport 4 x 3 km, newest, 200 hits", Some(0.15), Self::viewport),
        ("Q3", "polygon of 20 + bedrooms, price_asc, 50 hits", Some(0.3), Self::polygon),
        ("Q4", "six facets, radius 20 km", Some(0.4), Self::facets_nearby),
        ("Q5", "clusters of a city, radius 10 km, resolution 7", Some(0.2), Self::clusters_nearby),
        ("Q6", "six facets of everything", Some(0.05), Self::facets_of_all),
        ("Q7", "everything, relevance (ids), 20 hits", None, Self::first_page),
        ("Q8", "everything, price_asc, 50 hits", None, Self::cheapest),
        ("Q9", "everything, newest, 50 hits", None, Self::newest),
        ("Q10a", "type + rare amenity + energy rating, price_asc", None, Self::rare),
        ("Q10b", "warehouse + rating A + price, price_asc", None, Self::warehouses),
        ("Q11a", "page 20 of everything, relevance", None, |it: &mut Self| it.pages_of_all("relevance")),
        ("Q11b", "page 20 of everything, price_asc", None, |it: &mut Self| it.pages_of_all("price_asc")),
        ("Q11c", "page 20 of everything, price_desc", None, |it: &mut Self| it.pages_of_all("price_desc")),
        ("Q11d", "page 20 of everything, newest", None, |it: &mut Self| it.pages_of_all("newest")),
        ("Q11e", "page 20 of a radius of 50 km, distance", None, Self::pages_nearby),
        ("Q13", "suggest by 3 letters", None, Self::suggestions),
        ("Q14", "nearest 50 of a radius of 200 km", None, Self::nearest),
        ("Q15", "clusters of everything, resolution 5", None, Self::clusters_of_all),
        ("Q16a", "price facets, radius 20 km + amenity", None, Self::price_facets_nearby),
        ("Q16b", "six facets of everything with an amenity", None, Self::facets_of_amenity),
    ];

    const WITH_TEXTS: [Recipe<'a>; 2] = [
        ("Q12a", "text: a rare word, relevance, 20 hits", None, Self::rare_words),
        ("Q12b", "text: a frequent word, relevance, 20 hits", None, Self::frequent_words),
    ];

    /// All kinds of queries that the market has answers to; `only` names those that are wanted,
    /// as `Q11` or `Q11a`.
    pub(crate) fn kinds(&mut self, texts: bool, only: &[String]) -> Vec<Kind> {
        let recipes = if texts { &Self::WITH_TEXTS[..] } else { &Self::WITHOUT_TEXTS[..] };
        let mut kinds = Vec::new();
        for (name, what, goal_ms, make) in recipes {
            let family = name.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
            if only.is_empty() || only.iter().any(|it| it == name || it == family) {
                let constant = !GROWING.contains(name);
                kinds.push(Kind { name, what, goal_ms: *goal_ms, constant, asks: make(self) });
            }
        }
        kinds
    }

    fn rng(&mut self) -> &mut Rng {
        self.areas.rng()
    }

    /// One search per area.
    fn searches(&mut self, mut body: impl FnMut(&mut Areas) -> Value) -> Vec<Ask> {
        (0..self.count).map(|_| search(&body(&mut self.areas))).collect()
    }

    /// Also what readers ask while updates are applied.
    pub(crate) fn near_and_priced(&mut self) -> Vec<Ask> {
        self.searches(|areas| {
            let min = areas.rng().between(2, 8) * 25_000;
            let max = min * areas.rng().between(2, 4);
            json!({"listingType": "sale", "geoFilter": areas.radius(5.0), "priceMin": min,
                "priceMax": max, "sortBy": "distance", "limit": 50})
        })
    }

    fn viewport(&mut self) -> Vec<Ask> {
        self.searches(|areas| {
            json!({"listingType": "sale", "geoFilter": areas.viewport(4.0, 3.0),
                "sortBy": "newest", "limit": 200})
        })
    }

    fn polygon(&mut self) -> Vec<Ask> {
        self.searches(|areas| {
            let bedrooms = areas.rng().between(1, 4);
            json!({"listingType": "sale", "geoFilter": areas.polygon(20, 3.0),
                "bedroomsMin": bedrooms, "sortBy": "price_asc", "limit": 50})
        })
    }

    /// Likewise.
    pub(crate) fn facets_nearby(&mut self) -> Vec<Ask> {
        self.searches(|areas| {
            json!({"listingType": "sale", "geoFilter": areas.radius(20.0), "facets": FACETS,
                "limit": 1})
        })
    }

    fn clusters_nearby(&mut self) -> Vec<Ask> {
        (0..self.count)
            .map(|_| {
                let area = self.areas.radius(10.0);
                clusters(&json!({"listingType": "sale", "geoFilter": area, "resolution": 7}))
            })
            .collect()
    }

    fn facets_of_all(&mut self) -> Vec<Ask> {
        vec![search(&json!({"listingType": "sale", "facets": FACETS, "limit": 1}))]
    }

    fn first_page(&mut self) -> Vec<Ask> {
        vec![search(&json!({"listingType": "sale", "limit": 20}))]
    }

    fn cheapest(&mut self) -> Vec<Ask> {
        vec![search(&json!({"listingType": "sale", "sortBy": "price_asc", "limit": 50}))]
    }

    fn newest(&mut self) -> Vec<Ask> {
        vec![search(&json!({"listingType": "sale", "sortBy": "newest", "limit": 50}))]
    }

    /// What a listing drawn at random has, so that every combination occurs; warehouses are not
    /// among them, since no warehouse has an amenity.
    fn rare(&mut self) -> Vec<Ask> {
        let mut rare = self.scan.amenities_by_count(ListingType::Sale);
        rare.truncate(RARE_AMENITIES);
        let mut asks = Vec::new();
        for _try in 0..self.count * 1_000 {
            let rows = self.scan.len() as u64;
            let row = u32::try_from(self.rng().below(rows)).unwrap();
            let amenity = self.scan.amenities(row).find(|name| rare.contains(name));
            let (Some(kind), rating) = self.scan.property(row) else { continue };
            let Some(amenity) = amenity.filter(|_| self.scan.finds(row, ListingType::Sale)) else {
                continue;
            };
            asks.push(search(&json!({"listingType": "sale", "propertyTypes": [kind.as_str()],
                "amenities": [amenity], "energyRatings": Vec::from_iter(rating),
                "sortBy": "price_asc", "limit": 20})));
            if asks.len() == self.count {
                break;
            }
        }
        asks
    }

    fn warehouses(&mut self) -> Vec<Ask> {
        let wanted = (Some(PropertyType::Warehouse), Some("A"));
        let mut rows = 0..u32::try_from(self.scan.len()).unwrap();
        if !rows.any(|row| self.scan.property(row) == wanted) {
            return Vec::new();
        }
        self.searches(|areas| {
            let min = areas.rng().between(1, 20) * 50_000;
            json!({"listingType": "sale", "propertyTypes": ["warehouse"], "energyRatings": ["A"],
                "priceMin": min, "priceMax": min * 3, "sortBy": "price_asc", "limit": 20})
        })
    }

    fn pages_of_all(&self, sort: &str) -> Vec<Ask> {
        let bodies =
            PAGE_SIZES.map(|limit| json!({"listingType": "sale", "sortBy": sort, "limit": limit}));
        bodies.iter().filter_map(|body| self.page(body)).collect()
    }

    fn pages_nearby(&mut self) -> Vec<Ask> {
        let mut asks = Vec::new();
        for _ in 0..self.count {
            let area = self.areas.radius(50.0);
            let body = json!({"listingType": "sale", "geoFilter": area, "sortBy": "distance",
                "limit": 50});
            asks.extend(self.page(&body));
        }
        asks
    }

    /// The page behind [`PAGES_BEFORE`]; `None` when the search has no such page.
    fn page(&self, body: &Value) -> Option<Ask> {
        let mut page = engine::search_query(body);
        let mut before = page.clone();
        let mut left = PAGES_BEFORE * page.limit as usize;
        before.limit = u32::try_from(left).unwrap();
        let place = self.scan.search(&before, None).hits.get(left - 1)?.0;
        while left > 0 {
            let taken = left.min(WALK_LIMIT);
            before.limit = u32::try_from(taken).unwrap();
            let answer = engine::search(self.index, &before);
            before.after = Some(engine::order(answer.hits.get(taken - 1)?));
            left -= taken;
        }
        page.after = before.after;
        Some(Ask::Search(Box::new(page), Some(place)))
    }

    fn suggestions(&mut self) -> Vec<Ask> {
        let names = self.scan.place_names();
        let mut prefixes: Vec<String> = names
            .map(|name| name.chars().take(PREFIX_CHARS).collect::<String>().trim().to_owned())
            .filter(|prefix| !prefix.is_empty())
            .collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
            .iter()
            .map(|prefix| Ask::Suggest(engine::suggest_query(&json!({"q": prefix, "limit": 10}))))
            .collect()
    }

    fn nearest(&mut self) -> Vec<Ask> {
        self.searches(|areas| {
            json!({"listingType": "sale", "geoFilter": areas.radius(200.0), "sortBy": "distance",
                "limit": 50})
        })
    }

    fn clusters_of_all(&mut self) -> Vec<Ask> {
        vec![clusters(&json!({"listingType": "sale", "resolution": 5, "limit": 10_000}))]
    }

    fn price_facets_nearby(&mut self) -> Vec<Ask> {
        let amenities: Vec<String> = self.amenities();
        self.searches(|areas| {
            let amenity = areas.rng().pick(&amenities);
            json!({"listingType": "sale", "geoFilter": areas.radius(20.0),
                "amenities": Vec::from_iter(amenity), "facets": ["priceRanges", "priceStats"],
                "sortBy": "price_asc", "limit": 20})
        })
    }

    fn facets_of_amenity(&mut self) -> Vec<Ask> {
        let body = |amenity: String| {
            search(&json!({"listingType": "sale", "amenities": [amenity], "facets": FACETS,
                "limit": 1}))
        };
        self.amenities().into_iter().map(body).collect()
    }

    fn amenities(&self) -> Vec<String> {
        self.scan.amenities_by_count(ListingType::Sale).into_iter().map(ToOwned::to_owned).collect()
    }

    /// Words that at most one listing in two thousand has.
    fn rare_words(&mut self) -> Vec<Ask> {
        let words = self.scan.words();
        let most = self.scan.len().div_ceil(2_000);
        let rare: Vec<&str> =
            words.iter().filter(|(_, count)| *count <= most).map(|(word, _)| *word).collect();
        let count = self.count.min(rare.len());
        (0..count).map(|at| text(rare[at * rare.len() / count])).collect()
    }

    /// The words that most listings have.
    fn frequent_words(&mut self) -> Vec<Ask> {
        let mut words = self.scan.words();
        words.sort_unstable_by_key(|(word, count)| (std::cmp::Reverse(*count), *word));
        words.iter().take(50).map(|(word, _)| text(word)).collect()
    }
}

fn search(body: &Value) -> Ask {
    Ask::Search(Box::new(engine::search_query(body)), None)
}

fn clusters(body: &Value) -> Ask {
    Ask::Clusters(Box::new(engine::map_query(body)))
}

fn text(word: &str) -> Ask {
    search(&json!({"listingType": "sale", "query": word, "limit": 20}))
}
