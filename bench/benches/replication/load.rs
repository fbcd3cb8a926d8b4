//! Clients that wait for one answer before they ask again, spread over the nodes.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{client::Client, clock, options::Options, spread::Spread};

/// What is asked for, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Every client replaces a session of its own.
    Write,
    /// Every client reads its session, at this level.
    Read(&'static str),
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [
        Self::Write,
        Self::Read("strong"),
        Self::Read("bounded; max-staleness=5000"),
        Self::Read("eventual"),
    ];
}

/// What the mesh reached.
#[derive(Debug, Clone)]
pub(crate) struct Reached {
    pub(crate) per_second: f64,
    pub(crate) spread: Spread,
    /// Answers that were not what was asked for, and one of them.
    pub(crate) failed: usize,
    pub(crate) failure: Option<String>,
}

/// Asks for `duration`.
pub(crate) async fn run(
    nodes: &[String],
    options: &Options,
    clients: usize,
    kind: Kind,
    duration: Duration,
) -> Reached {
    let mut running = JoinSet::new();
    for n in 0..clients {
        let mut client = Client::connect(&nodes[n % nodes.len()]).await;
        let territory = &options.territories[n / nodes.len() % options.territories.len()];
        let path = format!("/api/v1/sessions/{territory}.bench-{n}");
        let value = "v".repeat(options.value_bytes);
        let body =
            format!(r#"{{"userId":"bench-{n}","ttlSeconds":3600,"data":{{"value":"{value}"}}}}"#);
        let json = "content-type: application/json\r\n";
        let write = client.request("PUT", &path, json, &body);
        let request = match kind {
            Kind::Write => write.clone(),
            Kind::Read(level) => {
                client.request("GET", &path, &format!("hexpop-consistency: {level}\r\n"), "")
            }
        };
        running.spawn(async move {
            // The session, and its user's key, are there before anything is timed.
            let made = client.send(&write).await;
            assert!(matches!(made, Ok(200 | 201)), "{path}: {made:?}");
            let until = clock::now() + duration;
            let (mut seconds, mut failures) = (Vec::new(), Vec::new());
            loop {
                let before = clock::now();
                if before >= until {
                    break (seconds, failures);
                }
                match client.send(&request).await {
                    Ok(200 | 201) => seconds.push(before.elapsed().as_secs_f64()),
                    Ok(status) => failures.push(format!("{path}: {status}")),
                    // The connection is not usable any more.
                    Err(error) => {
                        failures.push(format!("{path}: {error}"));
                        break (seconds, failures);
                    }
                }
            }
        });
    }
    let (mut seconds, mut failures) = (Vec::new(), Vec::new());
    for (times, failed) in running.join_all().await {
        seconds.extend(times);
        failures.extend(failed);
    }
    Reached {
        per_second: seconds.len() as f64 / duration.as_secs_f64(),
        spread: Spread::of(seconds),
        failed: failures.len(),
        failure: failures.pop(),
    }
}
