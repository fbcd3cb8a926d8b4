//! Limits that decide whether a run passed: `p99<5ms`, `listing.p99<2ms`, `errors<0.1%`.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{
    histogram::Quantiles,
    result::{ClassReport, Report},
    workload::Class,
};

/// One limit, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    text: String,
    class: Option<Class>,
    metric: Metric,
    comparison: Comparison,
    bound: f64,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    Response(Quantile),
    Service(Quantile),
    /// Longest time without a success.
    Gap,
    Errors,
    Rate,
    Late,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantile {
    P50,
    P90,
    P99,
    P999,
    Max,
    Mean,
}

impl Quantile {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "p50" => Self::P50,
            "p90" => Self::P90,
            "p99" => Self::P99,
            "p99.9" => Self::P999,
            "max" => Self::Max,
            "mean" => Self::Mean,
            _ => return None,
        })
    }

    const fn of(self, quantiles: &Quantiles) -> f64 {
        match self {
            Self::P50 => quantiles.p50,
            Self::P90 => quantiles.p90,
            Self::P99 => quantiles.p99,
            Self::P999 => quantiles.p999,
            Self::Max => quantiles.max,
            Self::Mean => quantiles.mean,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
}

impl Comparison {
    fn holds(self, observed: f64, bound: f64) -> bool {
        let ordering = observed.partial_cmp(&bound);
        match self {
            Self::Less => ordering == Some(Ordering::Less),
            Self::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => ordering == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
            Self::Equal => ordering == Some(Ordering::Equal),
        }
    }
}

/// What a bound and an observation are measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Unit {
    Seconds,
    Ratio,
    Requests,
    RequestsPerSecond,
}

/// Text that is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a limit: {why}")]
pub struct ParseLimitError {
    text: String,
    why: &'static str,
}

impl FromStr for Limit {
    type Err = ParseLimitError;

    fn from_str(text: &str) -> Result<Self, ParseLimitError> {
        let wrong = |why| ParseLimitError { text: text.to_owned(), why };
        let (subject, comparison, bound) = split(text)
            .ok_or_else(|| wrong("write METRIC<BOUND, such as p99<5ms or errors<0.1%"))?;
        let (class, metric) = Class::ALL
            .into_iter()
            .find_map(|class| {
                let metric = subject.strip_prefix(class.as_str())?.strip_prefix('.')?;
                Some((Some(class), metric))
            })
            .unwrap_or((None, subject));
        let metric = metric_named(metric).ok_or_else(|| {
            wrong(
                "the metric is p50, p90, p99, p99.9, max, mean, service.p99 and so on, gap, errors, \
                 rate or late, with a class in front if wanted: listing., search., session-read., \
                 session-write.",
            )
        })?;
        let (bound, unit) = match metric {
            Metric::Response(_) | Metric::Service(_) | Metric::Gap => {
                let seconds = seconds(bound);
                (
                    seconds.ok_or_else(|| wrong("the bound is a time: 500us, 5ms, 1.5s"))?,
                    Unit::Seconds,
                )
            }
            Metric::Errors => share_or_count(bound)
                .ok_or_else(|| wrong("the bound is a share or a number: 0.1%, 0"))?,
            Metric::Late => share_or_count(bound)
                .ok_or_else(|| wrong("the bound is a share or a number: 0.1%, 0"))?,
            Metric::Rate => {
                let rate = bound.strip_suffix("/s").and_then(number);
                (rate.ok_or_else(|| wrong("the bound is a rate: 1900/s"))?, Unit::RequestsPerSecond)
            }
        };
        Ok(Self { text: text.to_owned(), class, metric, comparison, bound, unit })
    }
}

fn split(text: &str) -> Option<(&str, Comparison, &str)> {
    const SIGNS: [(&str, Comparison); 5] = [
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
        ("=", Comparison::Equal),
    ];
    SIGNS.into_iter().find_map(|(sign, comparison)| {
        let (subject, bound) = text.split_once(sign)?;
        Some((subject.trim(), comparison, bound.trim()))
    })
}

fn metric_named(name: &str) -> Option<Metric> {
    if let Some(quantile) = name.strip_prefix("service.") {
        return Quantile::named(quantile).map(Metric::Service);
    }
    match name {
        "gap" => Some(Metric::Gap),
        "errors" => Some(Metric::Errors),
        "rate" => Some(Metric::Rate),
        "late" => Some(Metric::Late),
        _ => Quantile::named(name).map(Metric::Response),
    }
}

fn number(text: &str) -> Option<f64> {
    let number: f64 = text.trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

fn seconds(text: &str) -> Option<f64> {
    // The longer suffixes first: `ms` ends in `s`.
    for (suffix, factor) in [("us", 1e6), ("ms", 1e3), ("s", 1.0)] {
        if let Some(amount) = text.strip_suffix(suffix) {
            return number(amount).map(|amount| amount / factor);
        }
    }
    None
}

fn share_or_count(text: &str) -> Option<(f64, Unit)> {
    match text.strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| (percent / 100.0, Unit::Ratio)),
        None => number(text).map(|count| (count, Unit::Requests)),
    }
}

impl Limit {
    /// Judges a run. Without a class a latency or a gap is that of the worst class, and counts are
    /// those of all classes. What was not observed at all is missed.
    #[must_use]
    pub fn judge(&self, report: &Report) -> Verdict {
        let classes: Vec<&ClassReport> = report
            .classes
            .iter()
            .filter(|one| self.class.is_none_or(|class| class == one.class))
            .collect();
        let observed = self.observe(&classes);
        Verdict {
            limit: self.text.clone(),
            observed,
            unit: self.unit,
            passed: observed.is_some_and(|observed| self.comparison.holds(observed, self.bound)),
        }
    }

    fn observe(&self, classes: &[&ClassReport]) -> Option<f64> {
        let sum = |count: fn(&ClassReport) -> u64| -> f64 {
            classes.iter().map(|class| count(class)).sum::<u64>() as f64
        };
        let worst = |quantile: Quantile, of: fn(&ClassReport) -> Option<&Quantiles>| {
            classes
                .iter()
                .filter_map(|class| of(class))
                .map(|q| quantile.of(q))
                .max_by(f64::total_cmp)
        };
        let share_or_count = |count: f64| match self.unit {
            Unit::Ratio => (sum(ClassReport::due) > 0.0).then(|| count / sum(ClassReport::due)),
            Unit::Seconds | Unit::Requests | Unit::RequestsPerSecond => Some(count),
        };
        match self.metric {
            Metric::Response(quantile) => worst(quantile, |class| class.response_seconds.as_ref()),
            Metric::Service(quantile) => worst(quantile, |class| class.service_seconds.as_ref()),
            Metric::Gap => classes.iter().map(|class| class.gap_seconds).max_by(f64::total_cmp),
            Metric::Errors => share_or_count(sum(ClassReport::failed)),
            Metric::Late => share_or_count(sum(|class| class.late_starts)),
            Metric::Rate => (!classes.is_empty()).then(|| classes.iter().map(|one| one.rate).sum()),
        }
    }
}

/// A limit and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The limit, as it was written.
    pub limit: String,
    /// What was observed, in `unit`; null if nothing was.
    pub observed: Option<f64>,
    unit: Unit,
    /// Whether the limit was kept.
    pub passed: bool,
}

impl Verdict {
    /// What was observed, with its unit.
    #[must_use]
    pub fn observed_text(&self) -> String {
        let Some(observed) = self.observed else { return "nothing".to_owned() };
        match self.unit {
            Unit::Seconds => format!("{} ms", crate::print::millis(observed)),
            Unit::Ratio => format!("{:.2} %", observed * 100.0),
            Unit::Requests => format!("{observed:.0}"),
            Unit::RequestsPerSecond => format!("{observed:.0}/s"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests::report;

    fn judge(limit: &str) -> Verdict {
        limit.parse::<Limit>().unwrap().judge(&report())
    }

    #[test]
    fn limits_are_judged_by_the_worst_class_or_the_named_one() {
        // Listings: p99 1.1 ms, 10 of 1,000 failed; searches: p99 3.9 ms, none of 1,000 failed.
        assert_eq!(judge("p99<5ms").observed_text(), "3.90 ms");
        assert!(judge("p99<5ms").passed);
        assert!(!judge("p99<3.9ms").passed);
        assert!(judge("p99 <= 3900us").passed);
        assert!(judge("listing.p99<2ms").passed);
        assert!(!judge("listing.service.p99<1ms").passed);
        assert!(judge("errors<0.6%").passed);
        assert!(!judge("errors<0.5%").passed);
        assert!(!judge("listing.errors<1%").passed);
        assert_eq!(judge("errors=10").observed_text(), "10");
        assert!(judge("search.errors=0").passed);
        assert!(judge("rate>=190/s").passed);
        assert!(judge("search.gap<1s").passed);
        assert!(judge("late=0").passed);
    }

    #[test]
    fn what_was_not_observed_is_missed() {
        let verdict = judge("session-write.p99<1s");
        assert_eq!((verdict.passed, verdict.observed_text().as_str()), (false, "nothing"));
        let json = serde_json::to_value(judge("p99<5ms")).unwrap();
        assert_eq!(json["passed"], true);
        assert_eq!(json["unit"], "seconds");
    }

    #[test]
    fn what_is_no_limit_is_told_why() {
        for wrong in [
            "",
            "p99",
            "p98<5ms",
            "p99<5",
            "p99<5%",
            "errors<5ms",
            "rate>5",
            "p99<-1ms",
            "x.p99<1s",
            "p99<NaNs",
        ] {
            let error = wrong.parse::<Limit>().unwrap_err().to_string();
            assert!(error.contains("is not a limit"), "{error}");
        }
    }
}
