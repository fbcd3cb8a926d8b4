use serde_json::Value;

use super::*;

fn quantiles(p99_ms: f64) -> Quantiles {
    Quantiles {
        p50: p99_ms / 4e3,
        p90: p99_ms / 2e3,
        p99: p99_ms / 1e3,
        p999: p99_ms / 500.0,
        max: p99_ms / 100.0,
        mean: p99_ms / 3e3,
    }
}

fn class(class: Class, p99_ms: f64, failed: u64) -> ClassReport {
    ClassReport {
        class,
        rate: 99.0,
        ok: 1_000 - failed,
        errors: BTreeMap::from([(ErrorKind::Status(503), failed)]),
        late_starts: 0,
        response_seconds: Some(quantiles(p99_ms)),
        service_seconds: Some(quantiles(p99_ms)),
        gap_seconds: 0.25,
        sources: SourceCounts { hit: 971, peer: 24, origin: 5, unsaid: 0 },
    }
}

/// Listings with a p99 of 1.1 ms and 10 of 1,000 failed, searches with 3.9 ms and none.
pub(crate) fn report() -> Report {
    let second =
        Second { second: 0, ok: BTreeMap::from([(Class::Listing, 9)]), failed: BTreeMap::new() };
    Report {
        schema: "hexpop.bench/1",
        version: "0.1.0",
        workload: "browse",
        seed: 1,
        started_at: "2026-01-01T00:00:00Z".into(),
        protocol: "HTTP/1.1",
        target_rate: 200.0,
        connections: 64,
        warm_up_seconds: 2.0,
        duration_seconds: 10.0,
        stopped: false,
        sent: 2_000,
        ok: 1_990,
        late_starts: 0,
        not_started: 0,
        classes: vec![class(Class::Listing, 1.1, 10), class(Class::Search, 3.9, 0)],
        timeline: vec![second],
        targets: vec![TargetReport {
            url: "http://127.0.0.1:8080".into(),
            ..TargetReport::default()
        }],
        limits: Vec::new(),
        cpu: Cpu { generator: Some(0.44), server: None },
    }
}

/// Enough of JSON Schema for ours: `type`, `properties`, `required`, `additionalProperties`,
/// `items`, `enum`, `const`, `$ref` to `$defs`.
fn check(schema: &Value, value: &Value, root: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        return check(target, value, root, at);
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{at}: unknown type {other}"),
    };
    match &schema["type"] {
        Value::String(name) => assert!(is(name), "{at}: {value} is not {name}"),
        Value::Array(names) => {
            assert!(names.iter().any(|name| is(name.as_str().unwrap())), "{at}: {value}");
        }
        _ => {}
    }
    if let Some(constant) = schema.get("const") {
        assert_eq!(value, constant, "{at}");
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at}: {value}");
    }
    if let Value::Object(fields) = value {
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(fields.contains_key(name.as_str().unwrap()), "{at}: {name} is missing");
        }
        for (name, field) in fields {
            let at = format!("{at}/{name}");
            match schema["properties"].get(name) {
                Some(schema) => check(schema, field, root, &at),
                None if schema["additionalProperties"].is_object() => {
                    check(&schema["additionalProperties"], field, root, &at);
                }
                None => panic!("{at} is not in the schema"),
            }
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], item, root, &format!("{at}/{index}"));
    }
}

#[test]
fn the_report_is_what_the_published_schema_says() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut report = report();
    assert!(!report.judge(&["p99<5ms".parse().unwrap(), "session-read.p99<1s".parse().unwrap()]));
    check(&schema, &serde_json::to_value(&report).unwrap(), &schema, "");
    report.classes[0].response_seconds = None;
    check(&schema, &serde_json::to_value(&report).unwrap(), &schema, "");
}
