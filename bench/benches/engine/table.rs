//! Aligned tables for people.

use std::fmt::Write as _;

use crate::{
    report::{MarketReport, QueryLine, UpdatesLine},
    text::{aligned, millis, row, times},
};

/// Bytes per listing to stay within, documents and text not counted.
const MEMORY_GOAL_BYTES: f64 = 120.0;
/// How much more what should be constant may cost at the last size than at the first, however far
/// apart they are: caches and a logarithm explain that much. Of sizes that are nearer to each other
/// than the square of it, growth with the root of their ratio is too much already.
const CONSTANT_GROWTH_MAX: f64 = 4.0;
/// How much slower a reader may be while updates are applied.
const UPDATES_GOAL_RATIO: f64 = 1.5;

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

/// The queries of one market.
pub(crate) fn queries(report: &MarketReport) -> String {
    let mut text = format!("\n{} listings: {}\n", report.listings, report.market);
    let head =
        ["", "query", "n", "matches", "engine p50", "p99", "scan p50", "scan/engine", "goal"];
    let mut rows = vec![row(head)];
    for line in &report.lines {
        let goal = line.goal_ms.filter(|_| report.has_goals).map_or_else(String::new, |goal| {
            format!("{goal} {}", verdict(line.engine_p50_ms <= goal))
        });
        rows.push(vec![
            line.name.clone(),
            line.what.clone(),
            line.queries.to_string(),
            line.matches.to_string(),
            millis(line.engine_p50_ms),
            millis(line.engine_p99_ms),
            millis(line.scan_p50_ms),
            times(line.scan_p50_ms / line.engine_p50_ms),
            goal,
        ]);
    }
    text.push_str(&aligned(&rows, 2));
    text.push_str("milliseconds of one core; n = different queries; matches = median of a query\n");
    text
}

/// The memory of one market. `columns_only` is the same per listing of a market without texts.
pub(crate) fn memory(report: &MarketReport, columns_only: Option<f64>) -> String {
    let mut text = format!("\nmemory, {} listings: {}\n", report.listings, report.market);
    let mut rows = vec![row(["part", "bytes", "per listing", "goal"])];
    let mut push = |name: &str, bytes: usize, goal: String| {
        let each = format!("{:.1}", report.per_listing(bytes));
        rows.push(vec![name.to_owned(), bytes.to_string(), each, goal]);
    };
    for part in &report.parts {
        push(&part.name, part.bytes, String::new());
    }
    let goal = || {
        let each = report.per_listing(report.index_bytes());
        let met = verdict(each <= MEMORY_GOAL_BYTES);
        if report.has_texts { String::new() } else { format!("{MEMORY_GOAL_BYTES} {met}") }
    };
    if report.parts.is_empty() {
        push("resident set, index alone", report.resident_bytes, goal());
    } else {
        push("all parts", report.index_bytes(), goal());
        push("resident set, index alone", report.resident_bytes, String::new());
    }
    push("scan's columns", report.scan_bytes, String::new());
    text.push_str(&aligned(&rows, 1));
    if let Some(columns) = columns_only.filter(|_| report.has_texts) {
        // Writing to a string cannot fail.
        let texts = report.per_listing(report.index_bytes()) - columns;
        let _ok = writeln!(text, "of it for texts: {texts:.1} bytes per listing");
    }
    let _ok = writeln!(text, "storing a listing took {:.2} microseconds", report.insert_us);
    text
}

/// Readers while updates are applied.
pub(crate) fn updates(lines: &[UpdatesLine]) -> String {
    let mut text = "\na reader while updates are applied\n".to_owned();
    let mut rows = vec![row([
        "publish",
        "query",
        "quiet p50",
        "p99",
        "updated p50",
        "p99",
        "p99 ratio",
        "goal",
        "answers",
        "torn",
        "updates/s",
        "update p50",
        "p99",
    ])];
    for line in lines {
        let ratio = line.p99_ms / line.quiet_p99_ms;
        rows.push(vec![
            line.publish.to_owned(),
            line.query.to_owned(),
            millis(line.quiet_p50_ms),
            millis(line.quiet_p99_ms),
            millis(line.p50_ms),
            millis(line.p99_ms),
            times(ratio),
            format!("{UPDATES_GOAL_RATIO} {}", verdict(ratio <= UPDATES_GOAL_RATIO)),
            line.answers.to_string(),
            line.torn.to_string(),
            format!("{:.0}", line.updates_per_second),
            millis(line.update_p50_ms),
            millis(line.update_p99_ms),
        ]);
    }
    text.push_str(&aligned(&rows, 2));
    text.push_str("milliseconds that passed; an update's time includes its publication\n");
    text
}

/// Cost against size.
pub(crate) fn sizes(reports: &[MarketReport]) -> String {
    let (Some(first), Some(last)) = (reports.first(), reports.last()) else {
        return String::new();
    };
    let larger = last.listings as f64 / first.listings.max(1) as f64;
    let growth_max = larger.sqrt().min(CONSTANT_GROWTH_MAX);
    let mut text = format!("\ncost against size: {}\n", first.market);
    let mut head = row(["", "query, engine p50"]);
    head.extend(reports.iter().map(|report| report.listings.to_string()));
    head.push("growth".to_owned());
    head.extend(row(["scan's", "constant"]));
    let mut rows = vec![head];
    for line in &last.lines {
        let find = |report: &MarketReport| -> Option<(f64, f64)> {
            let found = report.lines.iter().find(|it| it.name == line.name)?;
            Some((found.engine_p50_ms, found.scan_p50_ms))
        };
        let mut cells =
            vec![line.name.clone(), format!("{}{}", line.what, spread_of(reports, line))];
        let shown = |report| find(report).map_or_else(|| "-".to_owned(), |it| millis(it.0));
        cells.extend(reports.iter().map(shown));
        if let Some((engine, scan)) = find(first) {
            let growth = line.engine_p50_ms / engine;
            cells.push(times(growth));
            cells.push(times(line.scan_p50_ms / scan));
            if line.constant && reports.len() > 1 {
                cells.push(verdict(growth <= growth_max).to_owned());
            }
        }
        rows.push(cells);
    }
    let mut memory = row(["", "bytes per listing"]);
    let each = |report: &MarketReport| report.per_listing(report.index_bytes());
    memory.extend(reports.iter().map(|report| format!("{:.1}", each(report))));
    memory.push(times(each(last) / each(first)));
    rows.push(memory);
    let mut insert = row(["", "microseconds to store a listing"]);
    insert.extend(reports.iter().map(|report| format!("{:.2}", report.insert_us)));
    insert.push(times(last.insert_us / first.insert_us));
    rows.push(insert);
    let mut cut = row(["", "microseconds per listing to cut 2,000 off"]);
    let each = |report: &MarketReport| report.cut_us.unwrap_or(f64::NAN);
    cut.extend(reports.iter().map(|report| format!("{:.2}", each(report))));
    cut.push(times(each(last) / each(first)));
    rows.push(cut);
    text.push_str(&aligned(&rows, 2));
    let _ok = writeln!(
        text,
        "milliseconds of one core; growth from the first size to the last, {larger:.0} times as \
         large; constant = at most {growth_max:.1}x"
    );
    text
}

/// How many listings a query matches at the least and the greatest size.
fn spread_of(reports: &[MarketReport], line: &QueryLine) -> String {
    let found = reports.iter().flat_map(|report| &report.lines).filter(|it| it.name == line.name);
    let matches: Vec<u64> = found.map(|it| it.matches).collect();
    match (matches.iter().min(), matches.iter().max()) {
        (Some(min), Some(max)) if min != max => format!(" ({min}..{max} matches)"),
        (Some(min), _) => format!(" ({min} matches)"),
        (None, _) => String::new(),
    }
}
