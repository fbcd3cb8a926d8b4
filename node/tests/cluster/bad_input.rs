//! Whatever is wrong with a request is the client's to know, by name, and never an internal error.

use serde_json::{Value, json};

use crate::{client, mesh::Mesh};

const SEARCH: &str = "/api/v1/search";
const MAP: &str = "/api/v1/search/map";
const SESSIONS: &str = "/api/v1/sessions";
const JSON: &str = "application/json";

/// A request that is wrong, what it is answered, and the field that the answer must name.
struct Wrong {
    method: &'static str,
    path: &'static str,
    content_type: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: String,
    status: u16,
    field: Option<&'static str>,
}

fn post(path: &'static str, body: &str, status: u16, field: &'static str) -> Wrong {
    Wrong {
        method: "POST",
        path,
        content_type: JSON,
        headers: &[],
        body: body.to_owned(),
        status,
        field: (!field.is_empty()).then_some(field),
    }
}

fn get(path: &'static str, status: u16, field: &'static str) -> Wrong {
    Wrong { method: "GET", content_type: "", ..post(path, "", status, field) }
}

/// A search with these members besides its listing type.
fn search(members: &str, field: &'static str) -> Wrong {
    post(SEARCH, &format!(r#"{{"listingType":"sale",{members}}}"#), 422, field)
}

fn polygon(points: &Value, field: &'static str) -> Wrong {
    search(&format!(r#""geoFilter":{{"type":"polygon","points":{points}}}"#), field)
}

fn points(corners: &[(f64, f64)]) -> Value {
    corners.iter().map(|(lat, lng)| json!({"lat": lat, "lng": lng})).collect()
}

fn wrong_searches() -> Vec<Wrong> {
    let deep = "[".repeat(20_000);
    vec![
        post(SEARCH, "", 400, ""),
        post(SEARCH, "{", 400, ""),
        post(SEARCH, r#"{"listingType":"sale""#, 400, ""),
        post(SEARCH, "\u{feff}nonsense", 400, ""),
        post(SEARCH, &deep, 400, ""),
        post(SEARCH, r#"{"listingType":"sale","priceMin":NaN}"#, 400, ""),
        post(SEARCH, r#"{"listingType":"sale","priceMin":Infinity}"#, 400, ""),
        post(SEARCH, "[]", 422, "#"),
        post(SEARCH, "{}", 422, "#/listingType"),
        post(SEARCH, r#"{"listingType":"lease"}"#, 422, "#/listingType"),
        post(SEARCH, r#"{"listingType":7}"#, 422, "#/listingType"),
        search(r#""priceMin":"cheap""#, "#/priceMin"),
        search(r#""priceMin":-1"#, "#/priceMin"),
        search(r#""propertyTypes":"apartment""#, "#/propertyTypes"),
        search(r#""propertyTypes":["castle"]"#, "#/propertyTypes"),
        search(r#""colour":"red""#, "#/colour"),
        search(r#""a/b~c":1"#, "#/a~1b~0c"),
        search(r#""limit":0"#, "#/limit"),
        search(r#""limit":201"#, "#/limit"),
        search(r#""limit":2.5"#, "#/limit"),
        search(r#""sortBy":"beauty""#, "#/sortBy"),
        search(r#""sortBy":"distance""#, "#/sortBy"),
        search(r#""facets":["beauty"]"#, "#/facets"),
        search(r#""territories":["Italy"]"#, "#/territories"),
        search(r#""publishedAfter":"yesterday""#, "#/publishedAfter"),
        search(r#""cursor":"nonsense""#, "#/cursor"),
        search(r#""cursor":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA""#, "#/cursor"),
        search(r#""cursor":7"#, "#/cursor"),
        search(r#""geoFilter":{"type":"circle"}"#, "#/geoFilter"),
        search(r#""geoFilter":{"type":"radius","radiusKm":5}"#, "#/geoFilter/center"),
        search(
            r#""geoFilter":{"type":"radius","center":{"lat":91,"lng":0},"radiusKm":5}"#,
            "#/geoFilter/center",
        ),
        search(
            r#""geoFilter":{"type":"radius","center":{"lat":0,"lng":0},"radiusKm":-5}"#,
            "#/geoFilter/radiusKm",
        ),
        search(
            r#""geoFilter":{"type":"bbox","topLeft":{"lat":1,"lng":0},"bottomRight":{"lat":2,"lng":1}}"#,
            "#/geoFilter",
        ),
        polygon(&points(&[(0.0, 0.0), (1.0, 1.0)]), "#/geoFilter/points"),
        polygon(&points(&[(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]), "#/geoFilter/points"),
        // A bow tie.
        polygon(&points(&[(0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)]), "#/geoFilter/points"),
        polygon(&points(&[(0.0, 0.0), (1.0, 999.0), (0.0, 1.0)]), "#/geoFilter/points"),
        polygon(&json!("everywhere"), "#/geoFilter/points"),
        polygon(
            &(0..20_000).map(|n| json!({"lat": f64::from(n) / 1e3, "lng": 1})).collect::<Value>(),
            "#/geoFilter/points",
        ),
        search(r#""ids":"a""#, "#/ids"),
        search(r#""near":{"lat":91,"lng":0}"#, "#/near/lat"),
        search(r#""facetMode":"own""#, "#/facetMode"),
        search(r#""page":1"#, "#/page"),
        search(r#""limit":5,"pageSize":6"#, "#/pageSize"),
        post(MAP, r#"{"listingType":"sale","resolution":2}"#, 422, "#/resolution"),
        post(MAP, r#"{"listingType":"sale","resolution":9,"limit":1}"#, 422, "#/resolution"),
        post(MAP, r#"{"listingType":"sale","resolution":"fine"}"#, 422, "#/resolution"),
        get("/api/v1/listings?listingType=sale&limit=0", 422, "limit"),
        get("/api/v1/listings?listingType=sale&priceMin=much", 422, "priceMin"),
        get("/api/v1/listings?listingType=sale&colour=red", 422, "colour"),
        get("/api/v1/listings", 422, "listingType"),
    ]
}

fn wrong_sessions() -> Vec<Wrong> {
    let put = |path, body: &str, status, field| Wrong {
        method: "PUT",
        ..post(path, body, status, field)
    };
    let with = |headers, wrong: Wrong| Wrong { headers, ..wrong };
    let valid = r#"{"userId":"u"}"#;
    vec![
        post(SESSIONS, "{", 400, ""),
        post(SESSIONS, "[]", 422, "#"),
        post(SESSIONS, r#"{"territory":"IT","userId":"u"}"#, 422, "#/territory"),
        post(SESSIONS, r#"{"territory":"IT:Lazio!","userId":"u"}"#, 422, "#/territory"),
        post(SESSIONS, r#"{"userId":"u"}"#, 422, "#/territory"),
        post(SESSIONS, r#"{"territory":"IT:lazio"}"#, 422, "#/userId"),
        post(SESSIONS, r#"{"territory":"IT:lazio","userId":7}"#, 422, "#/userId"),
        post(
            SESSIONS,
            r#"{"territory":"IT:lazio","userId":"u","ttlSeconds":0}"#,
            422,
            "#/ttlSeconds",
        ),
        post(
            SESSIONS,
            r#"{"territory":"IT:lazio","userId":"u","ttlSeconds":2592001}"#,
            422,
            "#/ttlSeconds",
        ),
        post(
            SESSIONS,
            r#"{"territory":"IT:lazio","userId":"u","ttlSeconds":1.5}"#,
            422,
            "#/ttlSeconds",
        ),
        post(
            SESSIONS,
            r#"{"territory":"IT:lazio","userId":"u","sliding":"yes"}"#,
            422,
            "#/sliding",
        ),
        post(SESSIONS, r#"{"territory":"IT:lazio","userId":"u","colour":"red"}"#, 422, "#/colour"),
        put(
            "/api/v1/sessions/it-lazio.x",
            r#"{"territory":"IT:lazio","userId":"u"}"#,
            422,
            "#/territory",
        ),
        with(
            &[("if-match", "unquoted")],
            put("/api/v1/sessions/it-lazio.x", valid, 400, "If-Match"),
        ),
        with(
            &[("idempotency-key", "\"unclosed")],
            post(SESSIONS, r#"{"territory":"IT:lazio","userId":"u"}"#, 422, "Idempotency-Key"),
        ),
        with(
            &[("hexpop-consistency", "psychic")],
            get("/api/v1/sessions/it-lazio.x", 400, "Hexpop-Consistency"),
        ),
        with(
            &[("hexpop-token", "nonsense")],
            get("/api/v1/sessions/it-lazio.x", 400, "Hexpop-Token"),
        ),
    ]
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
    let mesh = Mesh::shared();
    let mut failures = Vec::new();
    for (number, wrong) in wrong_searches().into_iter().chain(wrong_sessions()).enumerate() {
        let node = &mesh.nodes[number % mesh.nodes.len()];
        let mut headers = wrong.headers.to_vec();
        if !wrong.content_type.is_empty() {
            headers.push(("content-type", wrong.content_type));
        }
        let answer = node.send(wrong.method, wrong.path, &headers, &wrong.body);
        let shown: String = wrong.body.chars().take(120).collect();
        let context = format!("{} {} {:?} {shown}", wrong.method, wrong.path, wrong.headers);
        if answer.status != wrong.status
            || answer.header("content-type") != "application/problem+json"
        {
            failures.push(format!("{context}: {} {}", answer.status, answer.text()));
            continue;
        }
        let problem = answer.problem(wrong.status);
        let named = |field: &str| {
            problem["errors"].as_array().into_iter().flatten().any(|error| {
                ["pointer", "parameter", "header"].iter().any(|kind| {
                    error[*kind].as_str().is_some_and(|place| {
                        place.to_ascii_lowercase().starts_with(&field.to_ascii_lowercase())
                    })
                })
            })
        };
        if wrong.field.is_some_and(|field| !named(field)) {
            failures.push(format!("{context}: does not name {:?}: {problem}", wrong.field));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(mesh.defects_logged(), Vec::<String>::new());
}

#[test]
fn numbers_beyond_all_bounds_are_refused_or_harmless() {
    let mesh = Mesh::shared();
    for members in [
        r#""priceMin":1e999"#,
        r#""priceMax":-1e999"#,
        r#""bedroomsMin":1e308"#,
        r#""geoFilter":{"type":"radius","center":{"lat":1e999,"lng":0},"radiusKm":1}"#,
        r#""geoFilter":{"type":"radius","center":{"lat":0,"lng":0},"radiusKm":1e300}"#,
        r#""geoFilter":{"type":"bbox","topLeft":{"lat":90,"lng":-180},"bottomRight":{"lat":-90,"lng":180}}"#,
        r#""limit":99999999999999999999999999"#,
    ] {
        let body = format!(r#"{{"listingType":"sale",{members}}}"#);
        let answer = mesh.node(1).send("POST", SEARCH, &[("content-type", JSON)], &body);
        assert!(
            answer.status == 200 || answer.status == 400 || answer.status == 422,
            "{members}: {} {}",
            answer.status,
            answer.text()
        );
        if members.contains("1e999") {
            assert_ne!(answer.status, 200, "{members}");
        }
    }
    assert_eq!(mesh.defects_logged(), Vec::<String>::new());
}

#[test]
fn bodies_of_another_kind_or_size_are_refused() {
    let mesh = Mesh::shared();
    let node = mesh.node(2);
    let send = |path: &str, content_type: &str, body: &str| {
        node.send("POST", path, &[("content-type", content_type)], body)
    };
    send(SEARCH, "text/plain", r#"{"listingType":"sale"}"#).problem(415);
    node.send("POST", SEARCH, &[], r#"{"listingType":"sale"}"#).problem(415);
    send(SESSIONS, "text/plain", "{}").problem(415);
    send(SEARCH, "application/json; charset=utf-8", r#"{"listingType":"sale"}"#).expect(200);

    let huge = format!(r#"{{"listingType":"sale","query":"{}"}}"#, "x".repeat(32 << 20));
    let url = format!("{}{SEARCH}", node.http);
    // The node may close the connection before it has read everything.
    if let Ok(answer) = client::send("POST", &url, &[("content-type", JSON)], huge) {
        answer.problem(413);
    }
    let session = |data_bytes: usize| {
        json!({"territory": "IT:lazio", "userId": "u", "data": "x".repeat(data_bytes)}).to_string()
    };
    // More than a session may hold, and less than a body may have: it is read, and refused.
    send(SESSIONS, JSON, &session(70_000)).problem(413);
    let url = format!("{}{SESSIONS}", node.http);
    if let Ok(answer) = client::send("POST", &url, &[("content-type", JSON)], session(1 << 20)) {
        answer.problem(413);
    }

    let head = "host: 127.0.0.1\r\nconnection: close\r\n";
    let long = format!("GET /{} HTTP/1.1\r\n{head}\r\n", "x".repeat(20_000));
    assert_eq!(client::raw(&node.http, &long), 414);
    let fields: String = (0..300).map(|number| format!("x-{number}: y\r\n")).collect();
    let many = format!("GET /openapi.json HTTP/1.1\r\n{head}{fields}\r\n");
    assert_eq!(client::raw(&node.http, &many), 431);
    let large = format!("GET /openapi.json HTTP/1.1\r\n{head}x: {}\r\n\r\n", "y".repeat(100_000));
    assert_eq!(client::raw(&node.http, &large), 431);
    assert_eq!(client::raw(&node.http, &format!("GET / HTTP/9.9\r\n{head}\r\n")), 505);
    assert_eq!(client::raw(&node.http, "nonsense\r\n\r\n"), 400);
    for node in &mesh.nodes {
        node.post(SEARCH, &json!({"listingType": "sale"})).expect(200);
    }
    assert_eq!(mesh.defects_logged(), Vec::<String>::new());
}

#[test]
fn ids_that_are_none_and_methods_that_are_not_there() {
    let mesh = Mesh::shared();
    let node = mesh.node(3);
    for id in [
        "nonsense",
        "it-lazio",
        "it-lazio.",
        "IT-lazio.x",
        "it-LAZIO.x",
        "it-.x",
        "-lazio.x",
        "it-lazio.%2F",
        "it-lazio.%00",
        "%FF%FE",
        "it-lazio.x%20y",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let body = if method == "PUT" { r#"{"userId":"u"}"# } else { "" };
            let headers = [("content-type", JSON)];
            let answer = node.send(method, &format!("{SESSIONS}/{id}"), &headers, body);
            assert!((400..500).contains(&answer.status), "{method} {id}: {}", answer.status);
            answer.problem(answer.status);
        }
    }
    let long = format!("it-lazio.{}", "x".repeat(65));
    let status = node.get(&format!("{SESSIONS}/{long}")).status;
    assert!((400..500).contains(&status), "{status}");
    for (method, path) in [
        ("DELETE", SEARCH),
        ("PATCH", SESSIONS),
        ("POST", "/api/v1/users/u/data"),
        ("PUT", "/api/v1/users/u/export"),
        ("POST", "/openapi.json"),
    ] {
        let answer = node.send(method, path, &[("content-type", JSON)], "{}");
        answer.problem(405);
        assert!(!answer.header("allow").is_empty(), "{method} {path}");
    }
    node.get("/openapi.json").expect(200).json();
    assert_eq!(mesh.defects_logged(), Vec::<String>::new());
}

#[test]
fn a_bad_line_of_an_import_never_stops_the_others() {
    let mesh = Mesh::shared();
    let node = mesh.node(1);
    let good = |number: u32| {
        json!({
            "id": format!("imported-{number}"), "listingType": "auction", "status": "draft",
            "price": {"amount": 1, "currency": "EUR"}, "location": {"lat": 45.4, "lng": 9.1},
            "country": "IT", "region": "lombardia", "version": 1,
        })
        .to_string()
    };
    let lines = [
        good(1),
        "{".into(),
        "[]".into(),
        r#"{"id":"x"}"#.into(),
        "\u{0}\u{1}".into(),
        good(2).replace("45.4", "945.4"),
        good(3).replace("auction", "lease"),
        good(4),
    ];
    let url = format!("{}/admin/v1/ingest", node.admin);
    let send = |content_type: &str, body: String| {
        client::send("POST", &url, &[("content-type", content_type)], body).unwrap()
    };
    let report = send("application/x-ndjson", lines.join("\n")).expect(200).json();
    assert_eq!(report["accepted"], 2, "{report}");
    let rejected: Vec<u64> = report["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["line"].as_u64())
        .collect();
    assert_eq!(rejected, [2, 3, 4, 5, 6, 7], "{report}");
    let again = send("application/x-ndjson", good(1)).expect(200).json();
    assert_eq!((&again["accepted"], &again["ignored"]), (&json!(0), &json!(1)), "{again}");
    // Away with them: other tests count.
    let delete =
        |number: u32| json!({"delete": format!("imported-{number}"), "version": 2}).to_string();
    let gone =
        send("application/x-ndjson", format!("{}\n{}", delete(1), delete(4))).expect(200).json();
    assert_eq!(gone["accepted"], 2, "{gone}");
    send("text/plain", good(1)).problem(415);
    assert_eq!(mesh.defects_logged(), Vec::<String>::new());
}
