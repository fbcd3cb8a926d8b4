//! Searches and map views as clients write them.

use super::{
    CELLS_DEFAULT, CELLS_MAX, CellAmounts, Cursor, FacetName, Filters, LIMIT_DEFAULT, LIMIT_MAX,
    Languages, MapQuery, Place, Query, QueryError, QueryErrorKind, RESOLUTION_MAX, RESOLUTION_MIN,
    Sort,
    error::{Problem, ProblemPlace},
    node::Node,
    query_string,
    reader::{Fields, Form, Path, Reader},
};
use crate::{
    geo::{self, Geometry, LatLng, POLYGON_POINTS_MAX, RADIUS_KM_MAX},
    index::fold_words,
    listing::{Currency, Word, timestamp},
};

const QUERY_CHARS_MAX: usize = 256;
const QUERY_WORDS_MAX: usize = 16;
const CURSOR_CHARS_MAX: usize = 32 << 10;
const CODE_CHARS_MAX: usize = 64;

/// What the operator decides about searches.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRules {
    /// Names of filters that must not be used, such as `neighborhoods`.
    pub forbidden_filters: Vec<String>,
    /// Where the ranges of the facet `priceRanges` meet, ascending.
    pub price_bounds: Vec<f64>,
    /// The languages of titles.
    pub languages: Languages,
}

impl Default for SearchRules {
    fn default() -> Self {
        Self {
            forbidden_filters: Vec::new(),
            price_bounds: vec![100_000.0, 200_000.0, 350_000.0, 500_000.0],
            languages: Languages::default(),
        }
    }
}

/// A search that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// What to ask the shards; `after` comes from the cursor.
    pub query: Query,
    /// The cursor, which also says what epochs the page before came from.
    pub cursor: Option<Cursor>,
}

impl SearchRequest {
    /// Understands a JSON body.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn from_json(body: &[u8], rules: &SearchRules) -> Result<Self, QueryError> {
        read(Form::Json, json(body)?, |reader, fields| search(reader, fields, rules))
    }

    /// Understands a query string (without `?`).
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn from_query_string(query: &str, rules: &SearchRules) -> Result<Self, QueryError> {
        read(Form::QueryString, flat(query)?, |reader, fields| search(reader, fields, rules))
    }

    /// Shows titles in the languages that the client's `Accept-Language` asks for.
    pub fn accept_language(&mut self, field: &str, rules: &SearchRules) {
        self.query.languages = rules.languages.preferred(field);
    }
}

/// A map view that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct MapRequest {
    /// What to ask the shards.
    pub query: MapQuery,
}

impl MapRequest {
    /// Understands a JSON body.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn from_json(body: &[u8], rules: &SearchRules) -> Result<Self, QueryError> {
        read(Form::Json, json(body)?, |reader, fields| map(reader, fields, rules))
    }

    /// Understands a query string (without `?`).
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn from_query_string(query: &str, rules: &SearchRules) -> Result<Self, QueryError> {
        read(Form::QueryString, flat(query)?, |reader, fields| map(reader, fields, rules))
    }
}

/// The tree of a body.
pub(super) fn json(body: &[u8]) -> Result<Node, QueryError> {
    Node::from_json(body).map_err(|detail| QueryError {
        kind: QueryErrorKind::MalformedJson,
        problems: vec![Problem { place: ProblemPlace::Pointer("#".to_owned()), detail }],
    })
}

/// The tree of a query string.
pub(super) fn flat(query: &str) -> Result<Node, QueryError> {
    query_string::parse(query).map_err(|problems| QueryError {
        kind: QueryErrorKind::InvalidSearch,
        problems: problems
            .into_iter()
            .map(|(name, detail)| Problem { place: ProblemPlace::Parameter(name), detail })
            .collect(),
    })
}

/// Reads a request of either form; what `understand` leaves is unknown.
pub(super) fn read<T>(
    form: Form,
    root: Node,
    understand: impl FnOnce(&mut Reader, &mut Fields) -> Option<T>,
) -> Result<T, QueryError> {
    let mut reader = Reader::new(form);
    let value = reader.fields(&Path::default(), root).and_then(|mut fields| {
        let value = understand(&mut reader, &mut fields);
        reader.no_more(fields);
        value
    });
    reader.finish(value)
}

fn search(reader: &mut Reader, fields: &mut Fields, rules: &SearchRules) -> Option<SearchRequest> {
    let filters = filters(reader, fields, rules);
    let sort: Sort = reader.word(fields, "sortBy").unwrap_or(Sort::Relevance);
    let is_near_given = fields.has("near");
    let near = lat_lng(reader, fields, "near");
    let limit = page_size(reader, fields);
    let facets: Vec<FacetName> = reader.words(fields, "facets");
    let facet_mode = reader.word(fields, "facetMode").unwrap_or_default();
    let cursor = reader.text(fields, "cursor", CURSOR_CHARS_MAX);
    let mut query = Query {
        filters: filters?,
        sort,
        near,
        limit,
        facets,
        facet_mode,
        price_bounds: rules.price_bounds.clone(),
        languages: rules.languages.preferred(""),
        after: None,
    };
    if sort == Sort::Distance && query.reference().is_none() && !is_near_given {
        let path = fields.path.child("sortBy");
        reader.invalid(&path, "distance needs near, or a geoFilter of type radius");
    }
    let cursor = cursor.and_then(|text| match Cursor::decode(&text, &query) {
        Ok(cursor) => Some(cursor),
        Err(detail) => {
            reader.fail(QueryErrorKind::InvalidCursor, &fields.path.child("cursor"), detail);
            None
        }
    });
    query.after = cursor.as_ref().map(|cursor| cursor.after.clone());
    Some(SearchRequest { query, cursor })
}

/// Hits per page, by either of its names; pages themselves are not numbered.
fn page_size(reader: &mut Reader, fields: &mut Fields) -> u32 {
    let limit = reader.whole(fields, "limit", (1, LIMIT_MAX));
    let page_size = reader.whole(fields, "pageSize", (1, LIMIT_MAX));
    if limit.zip(page_size).is_some_and(|(limit, page_size)| limit != page_size) {
        let detail = "is another name of limit, which is given with another value";
        reader.invalid(&fields.path.child("pageSize"), detail);
    }
    if reader.number(fields, "page").is_some_and(|page| page != 0.0) {
        let detail = "must be 0: pages are not numbered, follow pagination.cursor to the next one";
        reader.invalid(&fields.path.child("page"), detail);
    }
    limit.or(page_size).unwrap_or(LIMIT_DEFAULT)
}

fn map(reader: &mut Reader, fields: &mut Fields, rules: &SearchRules) -> Option<MapRequest> {
    let filters = filters(reader, fields, rules);
    reader.require(fields, "resolution");
    let resolutions = (u32::from(RESOLUTION_MIN), u32::from(RESOLUTION_MAX));
    let resolution = reader.whole(fields, "resolution", resolutions);
    let min_count = reader.whole(fields, "minCount", (1, u32::MAX)).unwrap_or(1);
    let limit = reader.whole(fields, "limit", (1, CELLS_MAX)).unwrap_or(CELLS_DEFAULT);
    let bounds = reader.object(fields, "bounds").and_then(|mut inner| {
        let bounds = bbox(reader, &mut inner);
        reader.no_more(inner);
        Some(bounds?.bounds())
    });
    let query = MapQuery {
        filters: filters?,
        bounds,
        resolution: u8::try_from(resolution?).ok()?,
        min_count: u64::from(min_count),
        limit,
        amounts: CellAmounts::None,
    };
    Some(MapRequest { query })
}

/// The filters, which searches and map views share.
fn filters(reader: &mut Reader, fields: &mut Fields, rules: &SearchRules) -> Option<Filters> {
    for name in &rules.forbidden_filters {
        if fields.has(name) {
            let detail = "filtering by this field is not allowed here";
            reader.fail(QueryErrorKind::FilterForbidden, &fields.path.child(name), detail);
        }
    }
    let ids = reader.texts(fields, "ids");
    reader.require(fields, "listingType");
    let listing_type = reader.word(fields, "listingType");
    let words = words(reader, fields);
    let property_types = reader.words(fields, "propertyTypes");
    let currency = currency(reader, fields);
    let period = reader.word(fields, "period");
    let (price_min, price_max) = range(reader, fields, "priceMin", "priceMax");
    let (sq_meters_min, sq_meters_max) = range(reader, fields, "sqMetersMin", "sqMetersMax");
    let bedrooms_min = reader.quantity(fields, "bedroomsMin");
    let bathrooms_min = reader.quantity(fields, "bathroomsMin");
    let amenities = reader.texts(fields, "amenities");
    let energy_ratings = reader.texts(fields, "energyRatings");
    let neighborhoods = reader.texts(fields, "neighborhoods");
    let published_after_us = published_after(reader, fields);
    let territories = reader.set(fields, "territories", |reader, path, text| {
        let place = place(&text);
        if place.is_none() {
            reader.invalid(path, "must be a country or a territory, such as IT or ES:madrid");
        }
        place
    });
    let geometry = geometry(reader, fields);
    Some(Filters {
        ids,
        listing_type: listing_type?,
        words,
        property_types,
        currency,
        period,
        price_min,
        price_max,
        sq_meters_min,
        sq_meters_max,
        bedrooms_min,
        bathrooms_min,
        amenities,
        energy_ratings,
        neighborhoods,
        published_after_us,
        territories,
        geometry,
    })
}

/// A text of white space only counts as absent: it is what an empty search box sends.
fn words(reader: &mut Reader, fields: &mut Fields) -> Option<Vec<String>> {
    let text = reader.text(fields, "query", QUERY_CHARS_MAX)?;
    if text.trim().is_empty() {
        return None;
    }
    let words = fold_words(&text);
    if words.len() > QUERY_WORDS_MAX {
        let detail = format!("must have at most {QUERY_WORDS_MAX} words");
        reader.invalid(&fields.path.child("query"), detail);
    }
    Some(words)
}

fn currency(reader: &mut Reader, fields: &mut Fields) -> Option<Currency> {
    let code = reader.text(fields, "currency", CODE_CHARS_MAX)?;
    let currency = Currency::from_code(&code);
    if currency.is_none() {
        reader.invalid(&fields.path.child("currency"), "must be an ISO 4217 code such as EUR");
    }
    currency
}

fn published_after(reader: &mut Reader, fields: &mut Fields) -> Option<i64> {
    let text = reader.text(fields, "publishedAfter", CODE_CHARS_MAX)?;
    let micros = timestamp::parse(&text);
    if micros.is_none() {
        let detail = "must be a time such as 2026-03-08T10:30:00Z (RFC 3339)";
        reader.invalid(&fields.path.child("publishedAfter"), detail);
    }
    micros
}

fn range(
    reader: &mut Reader,
    fields: &mut Fields,
    min_name: &'static str,
    max_name: &'static str,
) -> (Option<f64>, Option<f64>) {
    let (min, max) = (reader.quantity(fields, min_name), reader.quantity(fields, max_name));
    if let (Some(low), Some(high)) = (min, max)
        && low > high
    {
        reader.invalid(&fields.path.child(min_name), format!("is greater than {max_name}"));
    }
    (min, max)
}

fn place(text: &str) -> Option<Place> {
    match text.split_once(':') {
        None => Some(Place { country: text.parse().ok()?, region: None }),
        Some((country, region)) => {
            Some(Place { country: country.parse().ok()?, region: Some(region.parse().ok()?) })
        }
    }
}

/// The word of `geoFilter.type`.
#[derive(Debug, Clone, Copy)]
enum GeometryKind {
    Radius,
    Bbox,
    Polygon,
}

impl Word for GeometryKind {
    const ALL: &'static [Self] = &[Self::Radius, Self::Bbox, Self::Polygon];

    fn as_str(self) -> &'static str {
        match self {
            Self::Radius => "radius",
            Self::Bbox => "bbox",
            Self::Polygon => "polygon",
        }
    }
}

fn geometry(reader: &mut Reader, fields: &mut Fields) -> Option<Geometry> {
    let mut inner = reader.object(fields, "geoFilter")?;
    reader.require(&inner, "type");
    let geometry = match reader.word(&mut inner, "type")? {
        GeometryKind::Radius => radius(reader, &mut inner),
        GeometryKind::Bbox => bbox(reader, &mut inner),
        GeometryKind::Polygon => polygon(reader, &mut inner),
    };
    reader.no_more(inner);
    geometry
}

fn radius(reader: &mut Reader, fields: &mut Fields) -> Option<Geometry> {
    reader.require(fields, "center");
    let center = lat_lng(reader, fields, "center");
    reader.require(fields, "radiusKm");
    let radius_km = reader.number(fields, "radiusKm")?;
    if !(radius_km > 0.0 && radius_km <= RADIUS_KM_MAX) {
        let detail = format!("must be above 0 and at most {RADIUS_KM_MAX}");
        reader.fail(QueryErrorKind::InvalidGeometry, &fields.path.child("radiusKm"), detail);
    }
    Some(Geometry::Radius { center: center?, radius_km })
}

fn bbox(reader: &mut Reader, fields: &mut Fields) -> Option<Geometry> {
    reader.require(fields, "topLeft");
    reader.require(fields, "bottomRight");
    let top_left = lat_lng(reader, fields, "topLeft");
    let bottom_right = lat_lng(reader, fields, "bottomRight");
    let (top_left, bottom_right) = (top_left?, bottom_right?);
    if top_left.lat < bottom_right.lat {
        let path = fields.path.child("topLeft").child("lat");
        reader.fail(QueryErrorKind::InvalidGeometry, &path, "lies south of bottomRight");
    }
    Some(Geometry::Bbox { top_left, bottom_right })
}

fn polygon(reader: &mut Reader, fields: &mut Fields) -> Option<Geometry> {
    reader.require(fields, "points");
    let path = fields.path.child("points");
    // One more than allowed, since the last point may repeat the first.
    let items = reader.list(fields, "points", POLYGON_POINTS_MAX * 4)?;
    let count = items.len();
    let mut points: Vec<LatLng> = Vec::new();
    for (path, item) in items {
        let point = reader.fields(&path, item).and_then(|mut point| {
            let place = coordinates(reader, &mut point);
            reader.no_more(point);
            place
        });
        points.extend(point);
    }
    if points.len() < count {
        return None;
    }
    match geo::polygon(&points) {
        Ok(geometry) => Some(geometry),
        Err(error) => {
            reader.fail(QueryErrorKind::InvalidGeometry, &path, error.to_string());
            None
        }
    }
}

fn lat_lng(reader: &mut Reader, fields: &mut Fields, name: &'static str) -> Option<LatLng> {
    let mut inner = reader.object(fields, name)?;
    let place = coordinates(reader, &mut inner);
    reader.no_more(inner);
    place
}

fn coordinates(reader: &mut Reader, fields: &mut Fields) -> Option<LatLng> {
    reader.require(fields, "lat");
    reader.require(fields, "lng");
    let lat = degrees(reader, fields, "lat", 90.0);
    let lng = degrees(reader, fields, "lng", 180.0);
    Some(LatLng { lat: lat?, lng: lng? })
}

fn degrees(reader: &mut Reader, fields: &mut Fields, name: &'static str, max: f64) -> Option<f64> {
    let number = reader.number(fields, name)?;
    if number.abs() > max {
        let detail = format!("must lie within -{max} and {max}");
        reader.fail(QueryErrorKind::InvalidGeometry, &fields.path.child(name), detail);
        return None;
    }
    Some(number)
}
