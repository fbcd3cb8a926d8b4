//! What was measured, for people: a table and a verdict per measure.

use crate::{
    churn::Churn,
    rates::Rate,
    raw::Raw,
    recovery::Recovery,
    text::{aligned, millis, row, times},
};

/// What differs by less is the same: so much moves from run to run.
const NOISE: f64 = 0.15;

/// One store beside its name.
pub(crate) type Named<T> = (&'static str, T);

/// All stores with one number of writers and one size of entry.
pub(crate) struct RateLine {
    pub(crate) writers: u64,
    pub(crate) entry_bytes: usize,
    pub(crate) raw: Raw,
    pub(crate) raw_growing: Raw,
    /// Ours first.
    pub(crate) stores: Vec<Named<Rate>>,
}

/// Appends a second and how long they take.
pub(crate) fn rates(lines: &[RateLine]) -> String {
    let head = ["entry", "writers", "store", "appends/s", "p50 ms", "p99 ms", "of the limit"];
    let mut rows = vec![row(head)];
    for line in lines {
        let mut push = |name: &str, per_second: f64, spread: crate::spread::Spread| {
            rows.push(vec![
                line.entry_bytes.to_string(),
                line.writers.to_string(),
                name.to_owned(),
                format!("{per_second:.0}"),
                millis(spread.p50 * 1e3),
                millis(spread.p99 * 1e3),
                times(per_second / line.raw.per_second),
            ]);
        };
        push("raw, prepared file", line.raw.per_second, line.raw.spread);
        push("raw, growing file", line.raw_growing.per_second, line.raw_growing.spread);
        for (name, rate) in &line.stores {
            push(name, rate.per_second, rate.spread);
        }
    }
    let mut text = format!("\nappends, each waited for\n{}", aligned(&rows, 0));
    for line in lines {
        let about = format!("{} B, {} writers", line.entry_bytes, line.writers);
        let values = line.stores.iter().map(|(name, rate)| (*name, rate.per_second));
        text.push_str(&verdict(&format!("appends/s, {about}"), true, &values.collect::<Vec<_>>()));
        let values = line.stores.iter().map(|(name, rate)| (*name, rate.spread.p99));
        text.push_str(&verdict(&format!("p99, {about}"), false, &values.collect::<Vec<_>>()));
    }
    text
}

/// Opening after a kill.
pub(crate) fn recovery(mib: u64, stores: &[Named<Recovery>]) -> String {
    let mut rows = vec![row(["store", "open ms", "open and read all ms"])];
    for (name, recovery) in stores {
        let cells = [recovery.open, recovery.replay].map(|seconds| millis(seconds * 1e3));
        rows.push(vec![(*name).to_owned(), cells[0].clone(), cells[1].clone()]);
    }
    let mut text = format!("\na log of {mib} MiB after a kill\n{}", aligned(&rows, 1));
    let values = |of: fn(&Recovery) -> f64| -> Vec<_> {
        stores.iter().map(|(name, recovery)| (*name, of(recovery))).collect()
    };
    text.push_str(&verdict("opening", false, &values(|it| it.open)));
    text.push_str(&verdict("opening and reading all", false, &values(|it| it.replay)));
    text
}

/// Bytes on disk against bytes needed.
pub(crate) fn churn(stores: &[Named<Churn>]) -> String {
    let head = ["store", "appended MiB", "live MiB", "on disk, middle", "most", "end", "disk/live"];
    let mut rows = vec![row(head)];
    for (name, churn) in stores {
        let mib = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(1 << 20));
        rows.push(vec![
            (*name).to_owned(),
            mib(churn.appended),
            mib(churn.live),
            mib(churn.middle),
            mib(churn.most),
            mib(churn.end),
            times(churn.middle as f64 / churn.live as f64),
        ]);
    }
    let mut text = format!("\ndisk while entries come and go\n{}", aligned(&rows, 1));
    let values: Vec<_> = stores.iter().map(|(name, it)| (*name, it.middle as f64)).collect();
    text.push_str(&verdict("disk in the steady state", false, &values));
    text
}

/// Whether the first of them is better than the others.
fn verdict(measure: &str, more_is_better: bool, values: &[Named<f64>]) -> String {
    let Some(((ours, value), others)) = values.split_first() else { return String::new() };
    let said: Vec<String> = others
        .iter()
        .map(|(name, other)| {
            let better = if more_is_better { value / other } else { other / value };
            let said = match better {
                better if better > 1.0 + NOISE => format!("{} better than", times(better)),
                better if better < 1.0 - NOISE => format!("{} worse than", times(1.0 / better)),
                _ => "as good as".to_owned(),
            };
            format!("{said} {name}")
        })
        .collect();
    format!("  {measure}: {ours} is {}\n", said.join(", "))
}
