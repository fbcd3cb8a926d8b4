//! The result of a run as a table for people.

use std::fmt::Write as _;

use crate::{
    histogram::Quantiles,
    result::{ClassReport, Report, SourceCounts},
};

/// Blanks between columns.
const GAP: usize = 2;

/// Seconds as milliseconds with three digits: `0.31`, `22.4`, `1204`.
pub(crate) fn millis(seconds: f64) -> String {
    let millis = seconds * 1e3;
    match millis {
        ..9.995 => format!("{millis:.2}"),
        ..99.95 => format!("{millis:.1}"),
        _ => format!("{millis:.0}"),
    }
}

/// 12345 as `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The whole report.
#[must_use]
pub fn table(report: &Report, no_header: bool) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ok = writeln!(
        text,
        "{}  {}/s open loop, {} connections, {}, {:.0} s{}    sent {}   ok {}   late starts {}   not started {}",
        report.workload,
        report.target_rate,
        report.connections,
        report.protocol,
        report.duration_seconds,
        if report.stopped { " (stopped)" } else { "" },
        grouped(report.sent),
        grouped(report.ok),
        grouped(report.late_starts),
        grouped(report.not_started),
    );
    text.push_str(&classes(report, no_header));
    for class in &report.classes {
        text.push_str(&failures(class));
    }
    for target in report.targets.iter().filter(|one| one.unreachable > 0) {
        let _ok = writeln!(
            text,
            "{} was unreachable {} times; {} requests went elsewhere",
            target.url,
            target.unreachable,
            grouped(target.skipped + target.unreachable),
        );
    }
    if !report.limits.is_empty() {
        let rows = report.limits.iter().map(|one| {
            let verdict = if one.passed { "ok" } else { "MISSED" };
            vec![one.limit.clone(), one.observed_text(), verdict.to_owned()]
        });
        text.push_str(&aligned(&["LIMIT", "OBSERVED", "VERDICT"], rows.collect(), no_header));
    }
    let cores = |cores: Option<f64>| cores.map_or_else(|| "-".to_owned(), |c| format!("{c:.2}"));
    let _ok = writeln!(
        text,
        "cpu {} cores server, {} generator    seed {}",
        cores(report.cpu.server),
        cores(report.cpu.generator),
        report.seed,
    );
    text
}

fn classes(report: &Report, no_header: bool) -> String {
    const HEADS: [&str; 10] = [
        "CLASS",
        "RATE",
        "OK",
        "RESPONSE p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "SERVICE p99",
        "SOURCE hit/peer/origin",
    ];
    let rows = report.classes.iter().map(|class| {
        let mut row = vec![
            class.class.as_str().to_owned(),
            format!("{:.0}/s", class.rate),
            share(class.ok, class.due()),
        ];
        let response = class.response_seconds.as_ref();
        let latency = |of: fn(&Quantiles) -> f64, quantiles: Option<&Quantiles>| {
            quantiles.map_or_else(|| "-".to_owned(), |quantiles| millis(of(quantiles)))
        };
        row.push(response.map_or_else(|| "-".to_owned(), |q| format!("{} ms", millis(q.p50))));
        row.push(latency(|q| q.p90, response));
        row.push(latency(|q| q.p99, response));
        row.push(latency(|q| q.p999, response));
        row.push(latency(|q| q.max, response));
        let service = class.service_seconds.as_ref();
        row.push(service.map_or_else(|| "-".to_owned(), |q| format!("{} ms", millis(q.p99))));
        row.push(sources(&class.sources));
        row
    });
    aligned(&HEADS, rows.collect(), no_header)
}

/// `100 %` only if it is all of them.
fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        "-".to_owned()
    } else if part == whole {
        "100 %".to_owned()
    } else {
        // Rounded down, so that a single failure shows.
        let hundredths = u128::from(part) * 10_000 / u128::from(whole);
        format!("{}.{:02} %", hundredths / 100, hundredths % 100)
    }
}

fn sources(counts: &SourceCounts) -> String {
    let said = counts.hit + counts.peer + counts.origin;
    if said == 0 {
        return "-".to_owned();
    }
    let percent = |count: u64| format!("{:.1}", count as f64 * 100.0 / said as f64);
    format!("{} / {} / {} %", percent(counts.hit), percent(counts.peer), percent(counts.origin))
}

fn failures(class: &ClassReport) -> String {
    let kinds: Vec<String> = class
        .errors
        .iter()
        .filter(|(_kind, count)| **count > 0)
        .map(|(kind, count)| format!("{kind} {}", grouped(*count)))
        .collect();
    if kinds.is_empty() {
        return String::new();
    }
    format!(
        "{} failed: {}; longest time without a success {:.2} s\n",
        class.class.as_str(),
        kinds.join(", "),
        class.gap_seconds
    )
}

fn aligned(heads: &[&str], rows: Vec<Vec<String>>, no_header: bool) -> String {
    let mut lines: Vec<Vec<String>> = Vec::with_capacity(rows.len() + 1);
    if !no_header {
        lines.push(heads.iter().map(|head| (*head).to_owned()).collect());
    }
    lines.extend(rows);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            let _ok = write!(row, "{cell:<width$}", width = width + GAP);
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests::report;

    #[test]
    fn limits_stand_beside_what_was_observed() {
        let mut report = report();
        report.judge(&["p99<5ms".parse().unwrap(), "listing.p99<1ms".parse().unwrap()]);
        let text = table(&report, false);
        let line =
            |begin: &str| text.lines().find(|line| line.starts_with(begin)).unwrap().to_owned();
        assert_eq!(line("p99<5ms"), "p99<5ms          3.90 ms   ok");
        assert_eq!(line("listing.p99<1ms"), "listing.p99<1ms  1.10 ms   MISSED");
        assert!(line("listing ").contains("99.00 %"), "{text}");
        assert!(line("listing ").ends_with("97.1 / 2.4 / 0.5 %"), "{text}");
        assert!(line("search ").contains("100 %"), "{text}");
        assert!(line("listing failed").contains("status-503 10"), "{text}");
        assert!(!table(&report, true).contains("CLASS"));
    }

    #[test]
    fn numbers_have_three_digits_and_failures_are_never_rounded_away() {
        assert_eq!(millis(0.000_31), "0.31");
        assert_eq!(millis(0.022_4), "22.4");
        assert_eq!(millis(1.204), "1204");
        assert_eq!(share(999_999, 1_000_000), "99.99 %");
        assert_eq!(share(3, 3), "100 %");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
