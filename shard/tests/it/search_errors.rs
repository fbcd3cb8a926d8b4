//! Wrong requests: what is said about them, all of it at once, with its place.

use hexpop_shard::{
    MapRequest, ProblemPlace, QueryError, QueryErrorKind as Kind, SearchRequest, SearchRules,
    SuggestRequest,
};
use serde_json::{Value, json};

fn refused(body: &str) -> QueryError {
    match SearchRequest::from_json(body.as_bytes(), &SearchRules::default()) {
        Ok(request) => panic!("{body} became {request:?}"),
        Err(error) => error,
    }
}

/// The kind of refusal and the pointers, of a valid search with one field changed.
fn with(name: &str, value: Value) -> (Kind, Vec<String>) {
    let mut ask = json!({"listingType": "sale"});
    ask[name] = value;
    let error = refused(&ask.to_string());
    (error.kind, error.problems.iter().map(|problem| problem.place.to_string()).collect())
}

fn is_wrong(name: &str, value: &Value, pointer: &str) {
    let expected = (Kind::InvalidSearch, vec![pointer.to_owned()]);
    assert_eq!(with(name, value.clone()), expected, "{name} = {value}");
}

#[test]
fn malformed_json_is_its_own_refusal() {
    for body in [
        "",
        "{",
        "{\"listingType\":\"sale\"",
        "{\"a\":01}",
        "nope",
        "{\"limit\":NaN}",
        "{\"a\":1,\"a\":2}",
        "\u{feff}{}",
    ] {
        let error = refused(body);
        assert_eq!((error.kind.slug(), error.kind.status()), ("malformed-json", 400), "{body}");
        assert_eq!(error.problems.len(), 1);
    }
    let error = SearchRequest::from_json(b"{\"query\":\"\xff\"}", &SearchRules::default());
    assert_eq!(error.unwrap_err().kind, Kind::MalformedJson);
    for body in ["[]", "5", "\"x\"", "null"] {
        let error = refused(body);
        assert_eq!((error.kind, error.kind.status()), (Kind::InvalidSearch, 422), "{body}");
        assert_eq!(error.problems[0].place, ProblemPlace::Pointer("#".to_owned()));
    }
}

#[test]
fn wrong_values_are_named() {
    let cases = [
        ("listingType", json!("lease"), "#/listingType"),
        ("listingType", json!(["sale"]), "#/listingType"),
        ("propertyTypes", json!(["apartment", "castle"]), "#/propertyTypes/1"),
        ("propertyTypes", json!("apartment"), "#/propertyTypes"),
        ("currency", json!("euro"), "#/currency"),
        ("period", json!("day"), "#/period"),
        ("priceMin", json!(-1), "#/priceMin"),
        ("priceMin", json!("5"), "#/priceMin"),
        ("priceMax", json!(true), "#/priceMax"),
        ("bedroomsMin", json!([2]), "#/bedroomsMin"),
        ("amenities", json!([5]), "#/amenities/0"),
        ("amenities", json!(vec!["x"; 101]), "#/amenities"),
        ("query", json!("x".repeat(257)), "#/query"),
        ("query", json!("a ".repeat(17)), "#/query"),
        ("publishedAfter", json!("yesterday"), "#/publishedAfter"),
        ("territories", json!(["Italy"]), "#/territories/0"),
        ("territories", json!(["IT:Lombardia"]), "#/territories/0"),
        ("sortBy", json!("price"), "#/sortBy"),
        ("sortBy", json!("distance"), "#/sortBy"),
        ("limit", json!(0), "#/limit"),
        ("limit", json!(201), "#/limit"),
        ("limit", json!(2.5), "#/limit"),
        ("limit", json!(-3), "#/limit"),
        ("limit", json!(1e300), "#/limit"),
        ("facets", json!(["colour"]), "#/facets/0"),
        ("geoFilter", json!("here"), "#/geoFilter"),
        ("geoFilter", json!({}), "#/geoFilter/type"),
        ("geoFilter", json!({"type": "circle"}), "#/geoFilter/type"),
        (
            "geoFilter",
            json!({"type": "radius", "center": {"lat": 1, "lng": "x"}, "radiusKm": 1}),
            "#/geoFilter/center/lng",
        ),
        (
            "geoFilter",
            json!({"type": "radius", "center": {"lat": 1, "lng": 1}}),
            "#/geoFilter/radiusKm",
        ),
        ("geoFilter", json!({"type": "polygon"}), "#/geoFilter/points"),
    ];
    for (name, value, pointer) in cases {
        is_wrong(name, &value, pointer);
    }
    let error = refused("{}");
    assert_eq!(error.problems[0].detail, "is required");
    assert_eq!(error.detail(), "#/listingType: is required");
    let deep = format!(
        "{{\"listingType\":\"sale\",\"query\":{}{}}}",
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    let error = refused(&deep);
    assert_eq!(error.problems[0].place.to_string(), "#/query");
}

#[test]
fn numbers_beyond_all_bounds_are_problems_of_their_field() {
    let error = refused(
        r#"{"listingType":"sale","priceMin":1e999,"sqMetersMax":-1e999,"limit":1e400,
        "geoFilter":{"type":"radius","center":{"lat":1e999,"lng":0},"radiusKm":1}}"#,
    );
    let places: Vec<_> = error.problems.iter().map(|it| it.place.to_string()).collect();
    assert_eq!(places, ["#/priceMin", "#/sqMetersMax", "#/geoFilter/center/lat", "#/limit"]);
    assert_eq!(error.kind, Kind::InvalidSearch);
}

#[test]
fn areas_that_are_none_are_invalid_geometry() {
    let corner = |lat: f64, lng: f64| json!({"lat": lat, "lng": lng});
    let many: Vec<_> =
        (0..1_001).map(|at| corner(f64::from(at % 90), f64::from(at) / 10.0)).collect();
    let cases = [
        (
            json!({"type": "radius", "center": corner(0.0, 0.0), "radiusKm": 0}),
            "#/geoFilter/radiusKm",
        ),
        (
            json!({"type": "radius", "center": corner(0.0, 0.0), "radiusKm": -5}),
            "#/geoFilter/radiusKm",
        ),
        (
            json!({"type": "radius", "center": corner(0.0, 0.0), "radiusKm": 20_041}),
            "#/geoFilter/radiusKm",
        ),
        (
            json!({"type": "radius", "center": corner(91.0, 0.0), "radiusKm": 1}),
            "#/geoFilter/center/lat",
        ),
        (
            json!({"type": "bbox", "topLeft": corner(1.0, 0.0), "bottomRight": corner(2.0, 5.0)}),
            "#/geoFilter/topLeft/lat",
        ),
        (
            json!({"type": "bbox", "topLeft": corner(1.0, -181.0), "bottomRight": corner(0.0, 5.0)}),
            "#/geoFilter/topLeft/lng",
        ),
        (json!({"type": "polygon", "points": []}), "#/geoFilter/points"),
        (
            json!({"type": "polygon", "points": [corner(0.0, 0.0), corner(1.0, 1.0)]}),
            "#/geoFilter/points",
        ),
        (
            json!({"type": "polygon", "points": [corner(0.0, 0.0), corner(2.0, 2.0), corner(0.0, 2.0), corner(2.0, 0.0)]}),
            "#/geoFilter/points",
        ),
        (json!({"type": "polygon", "points": many}), "#/geoFilter/points"),
    ];
    for (area, pointer) in cases {
        assert_eq!(
            with("geoFilter", area.clone()),
            (Kind::InvalidGeometry, vec![pointer.to_owned()]),
            "{area}"
        );
    }
}

#[test]
fn wrong_values_of_the_platform_s_fields_are_named_too() {
    for (name, value, pointer) in [
        ("ids", json!("a"), "#/ids"),
        ("ids", json!([1]), "#/ids/0"),
        ("ids", json!(vec!["x"; 101]), "#/ids"),
        ("ids", json!(["x".repeat(201)]), "#/ids/0"),
        ("near", json!([1, 2]), "#/near"),
        ("near", json!({"lat": 1}), "#/near/lng"),
        ("near", json!({"lat": "1", "lng": 1}), "#/near/lat"),
        ("facetMode", json!("ExcludeOwn"), "#/facetMode"),
        ("facetMode", json!(true), "#/facetMode"),
        ("pageSize", json!(0), "#/pageSize"),
        ("pageSize", json!(201), "#/pageSize"),
        ("page", json!(1), "#/page"),
        ("page", json!(-1), "#/page"),
        ("page", json!("0"), "#/page"),
    ] {
        is_wrong(name, &value, pointer);
    }
}

#[test]
fn a_place_to_measure_from_must_be_on_the_map() {
    let (kind, places) = with("near", json!({"lat": 90.5, "lng": 181}));
    assert_eq!(
        (kind, places),
        (Kind::InvalidGeometry, vec!["#/near/lat".into(), "#/near/lng".into()])
    );
    // One problem, not also that the order lacks a place.
    let error = refused(r#"{"listingType":"sale","sortBy":"distance","near":{"lat":1,"lng":999}}"#);
    assert_eq!((error.kind, error.problems.len()), (Kind::InvalidGeometry, 1));
    let box_ = json!({"type": "bbox", "topLeft": {"lat": 1, "lng": 0}, "bottomRight": {"lat": 0, "lng": 1}});
    let ask = json!({"listingType": "sale", "sortBy": "distance", "geoFilter": box_, "near": null});
    let error = refused(&ask.to_string());
    assert_eq!(error.detail(), "#/sortBy: distance needs near, or a geoFilter of type radius");
}

#[test]
fn pages_have_sizes_and_no_numbers() {
    let rules = SearchRules::default();
    let limit = |body: Value| {
        let body = body.to_string();
        SearchRequest::from_json(body.as_bytes(), &rules).map(|request| request.query.limit)
    };
    let sale = |name: &str, value: Value| {
        let mut ask = json!({"listingType": "sale", "page": 0});
        ask[name] = value;
        ask
    };
    assert_eq!(limit(sale("page", json!(0))), Ok(20));
    assert_eq!(limit(sale("page", json!(0.0))), Ok(20));
    assert_eq!(limit(sale("pageSize", json!(7))), Ok(7));
    assert_eq!(limit(sale("pageSize", Value::Null)), Ok(20));
    let mut both = sale("pageSize", json!(7));
    both["limit"] = json!(7);
    assert_eq!(limit(both.clone()), Ok(7));
    both["limit"] = json!(8);
    let error = refused(&both.to_string());
    assert_eq!(error.problems.len(), 1);
    assert_eq!(error.problems[0].place.to_string(), "#/pageSize");
    let error = refused(r#"{"listingType":"sale","page":2}"#);
    assert!(error.detail().contains("pagination.cursor"), "{error}");
    // Of a map view there are no pages.
    let map =
        r#"{"listingType":"sale","resolution":5,"page":0,"pageSize":5,"near":{"lat":1,"lng":1}}"#;
    let error = MapRequest::from_json(map.as_bytes(), &rules).unwrap_err();
    assert_eq!((error.kind, error.problems.len()), (Kind::UnknownFilter, 3));
}

#[test]
fn ranges_the_wrong_way_round_are_refused() {
    let error = refused(
        r#"{"listingType":"sale","priceMin":5,"priceMax":4,"sqMetersMin":9,"sqMetersMax":1}"#,
    );
    let details: Vec<_> =
        error.problems.iter().map(|it| format!("{} {}", it.place, it.detail)).collect();
    assert_eq!(
        details,
        ["#/priceMin is greater than priceMax", "#/sqMetersMin is greater than sqMetersMax"]
    );
}

#[test]
fn unknown_fields_are_refused_with_what_was_meant() {
    let error = refused(
        r#"{"listingType":"sale","proprtyTypes":["apartment"],"wheelchair":"yes","a/b":1}"#,
    );
    assert_eq!((error.kind.slug(), error.kind.status()), ("unknown-filter", 422));
    let details: Vec<_> =
        error.problems.iter().map(|it| (it.place.to_string(), it.detail.clone())).collect();
    assert!(
        details.contains(&(
            "#/proprtyTypes".into(),
            "unknown field; did you mean propertyTypes?".into()
        ))
    );
    assert!(details.contains(&("#/wheelchair".into(), "unknown field".into())));
    assert!(details.contains(&("#/a~1b".into(), "unknown field".into())));
    for (name, meant) in [
        ("id", "ids"),
        ("facetmode", "facetMode"),
        ("facetsMode", "facetMode"),
        ("pagesize", "pageSize"),
        ("near_", "near"),
        ("pages", "page"),
    ] {
        let error = refused(&json!({"listingType": "sale", name: 1}).to_string());
        assert_eq!(error.problems[0].detail, format!("unknown field; did you mean {meant}?"));
    }
    let nested = json!({"type": "radius", "center": {"lat": 1, "lng": 1, "alt": 5}, "radiusKm": 1, "radius": 5});
    let (kind, places) = with("geoFilter", nested);
    assert_eq!(kind, Kind::UnknownFilter);
    assert_eq!(places, ["#/geoFilter/center/alt", "#/geoFilter/radius"]);
    // Of several kinds: all of them, as one invalid search.
    let error = refused(r#"{"listingType":"sale","priceMin":-1,"colour":"red","cursor":"%%"}"#);
    assert_eq!((error.kind, error.problems.len()), (Kind::InvalidSearch, 3));
    assert_eq!(error.detail(), "3 fields are wrong");
}

#[test]
fn forbidden_filters_are_refused() {
    let rules =
        SearchRules { forbidden_filters: vec!["neighborhoods".into()], ..SearchRules::default() };
    let body = br#"{"listingType":"sale","neighborhoods":["Brera"]}"#;
    let error = SearchRequest::from_json(body, &rules).unwrap_err();
    assert_eq!((error.kind.slug(), error.kind.status()), ("filter-forbidden", 422));
    assert_eq!(error.problems[0].place.to_string(), "#/neighborhoods");
    assert!(
        MapRequest::from_query_string("listingType=sale&resolution=5&neighborhoods=x", &rules)
            .is_err()
    );
    assert!(
        SearchRequest::from_json(br#"{"listingType":"sale","neighborhoods":null}"#, &rules).is_ok()
    );
}

#[test]
fn query_strings_name_parameters() {
    let rules = SearchRules::default();
    let refused = |query: &str| SearchRequest::from_query_string(query, &rules).unwrap_err();
    for (query, parameter, detail) in [
        ("listingType=sale&limit=x", "limit", "must be a number, not `x`"),
        ("listingType=sale&limit=5&limit=6", "limit", "is given 2 times"),
        ("listingType=sale&priceMin=", "priceMin", "must be a number, not ``"),
        ("listingType=sale&priceMin=NaN", "priceMin", "must be a finite number"),
        ("listingType=sale&priceMin=1e999", "priceMin", "must be a finite number"),
        ("listingType=sale&amenitys=x", "amenitys", "unknown field; did you mean amenities?"),
        ("listingType=sale&query=%zz", "query", "is not percent-encoded UTF-8"),
        ("listingType=sale&geoFilter=5", "geoFilter", "must be an object, not `5`"),
        (
            "listingType=sale&geoFilter.type=radius&geoFilter.center.lat=1&geoFilter.center.lng=x&geoFilter.radiusKm=5",
            "geoFilter.center.lng",
            "must be a number, not `x`",
        ),
        (
            "listingType=sale&geoFilter.type=polygon&geoFilter.points.1.lat=5",
            "geoFilter.points",
            "must be numbered from 0, or repeat in parallel",
        ),
        ("listingType=sale&near.lat=1&near.lng=x", "near.lng", "must be a number, not `x`"),
        ("listingType=sale&near=1,2", "near", "must be an object, not `1,2`"),
        ("listingType=sale&limit=5&limit=6", "limit", "is given 2 times"),
        (
            "listingType=sale&limit=5&pageSize=6",
            "pageSize",
            "is another name of limit, which is given with another value",
        ),
        (
            "listingType=sale&page=1",
            "page",
            "must be 0: pages are not numbered, follow pagination.cursor to the next one",
        ),
        ("listingType=sale&facetMode=own", "facetMode", "must be one of all, excludeOwn"),
    ] {
        let error = refused(query);
        assert_eq!(error.problems.len(), 1, "{query}: {error:?}");
        assert_eq!(error.problems[0].place, ProblemPlace::Parameter(parameter.to_owned()));
        assert_eq!(error.problems[0].detail, detail, "{query}");
    }
    let parallel = "listingType=sale&geoFilter.type=polygon&geoFilter.points.lat=0&geoFilter.points.lng=0\
        &geoFilter.points.lat=1&geoFilter.points.lng=0&geoFilter.points.lat=0&geoFilter.points.lng=1";
    let numbered = "listingType=sale&geoFilter.type=polygon&geoFilter.points.0.lat=0&geoFilter.points.0.lng=0\
        &geoFilter.points.1.lat=1&geoFilter.points.1.lng=0&geoFilter.points.2.lat=0&geoFilter.points.2.lng=1";
    assert_eq!(
        SearchRequest::from_query_string(parallel, &rules).unwrap(),
        SearchRequest::from_query_string(numbered, &rules).unwrap()
    );
}

#[test]
fn map_views_and_suggestions_are_checked_too() {
    let rules = SearchRules::default();
    for (body, pointer) in [
        (r#"{"listingType":"sale"}"#, "#/resolution"),
        (r#"{"listingType":"sale","resolution":2}"#, "#/resolution"),
        (r#"{"listingType":"sale","resolution":10}"#, "#/resolution"),
        (r#"{"listingType":"sale","resolution":5,"minCount":0}"#, "#/minCount"),
        (r#"{"listingType":"sale","resolution":5,"sortBy":"newest"}"#, "#/sortBy"),
        (r#"{"listingType":"sale","resolution":5,"limit":0}"#, "#/limit"),
        (r#"{"listingType":"sale","resolution":5,"limit":10001}"#, "#/limit"),
        (r#"{"listingType":"sale","resolution":5,"bound":1}"#, "#/bound"),
        (r#"{"listingType":"sale","resolution":5,"bounds":[1]}"#, "#/bounds"),
        (
            r#"{"listingType":"sale","resolution":5,"bounds":{"topLeft":{"lat":1,"lng":1}}}"#,
            "#/bounds/bottomRight",
        ),
        (
            r#"{"listingType":"sale","resolution":5,"bounds":{"topLeft":{"lat":1,"lng":1},
                "bottomRight":{"lat":2,"lng":2}}}"#,
            "#/bounds/topLeft/lat",
        ),
        (
            r#"{"listingType":"sale","resolution":5,"bounds":{"type":"bbox",
                "topLeft":{"lat":1,"lng":1},"bottomRight":{"lat":0,"lng":2}}}"#,
            "#/bounds/type",
        ),
    ] {
        let error = MapRequest::from_json(body.as_bytes(), &rules).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{body}: {error:?}");
        assert_eq!(error.problems[0].place.to_string(), pointer);
    }
    for (query, parameter) in [
        ("", "q"),
        ("q=", "q"),
        ("q=%20-", "q"),
        ("q=a&limit=51", "limit"),
        ("q=a&limit=0", "limit"),
        ("q=a&x=1", "x"),
    ] {
        let error = SuggestRequest::from_query_string(query).unwrap_err();
        assert_eq!(error.problems[0].place.to_string(), parameter, "{query}");
    }
    assert_eq!(
        SuggestRequest::from_query_string("q=Citt%C3%A0+al").unwrap().query.prefix,
        "citta al"
    );
}

#[test]
fn the_order_and_repetition_of_lists_do_not_matter() {
    let canonical = |body: &str| {
        SearchRequest::from_json(body.as_bytes(), &SearchRules::default())
            .unwrap()
            .query
            .canonical()
    };
    assert_eq!(
        canonical(
            r#"{"listingType":"sale","amenities":["b","a","b"],"facets":["bedrooms","propertyTypes"],"priceMin":1e3}"#
        ),
        canonical(
            r#"{"facets":["propertyTypes","bedrooms","bedrooms"],"priceMin":1000.0,"amenities":["a","b"],"listingType":"sale","limit":20,"query":" "}"#
        )
    );
    assert_eq!(
        canonical(
            r#"{"listingType":"sale","ids":["b","a","b"],"pageSize":5,"page":0,"near":{"lat":-0.0,"lng":1}}"#
        ),
        canonical(
            r#"{"listingType":"sale","near":{"lng":1.0,"lat":0},"limit":5,"ids":["a","b"],"facetMode":"all"}"#
        )
    );
    let plain = canonical(r#"{"listingType":"sale"}"#);
    for other in [
        r#"{"listingType":"rent"}"#,
        r#"{"listingType":"sale","ids":["a"]}"#,
        r#"{"listingType":"sale","near":{"lat":0,"lng":0}}"#,
        r#"{"listingType":"sale","facetMode":"excludeOwn"}"#,
        r#"{"listingType":"sale","pageSize":5}"#,
    ] {
        assert_ne!(plain, canonical(other), "{other}");
    }
    let mut request =
        SearchRequest::from_json(br#"{"listingType":"sale"}"#, &SearchRules::default()).unwrap();
    let pages = request.query.pages_hash();
    request.accept_language("it", &SearchRules::default());
    assert_ne!(plain, request.query.canonical());
    assert_eq!(pages, request.query.pages_hash());
}
