use std::{
    collections::BTreeSet,
    future::pending,
    io::Write,
    sync::atomic::{AtomicU64, AtomicUsize},
};

use super::*;
use crate::{
    history::HistoryHead, port::Answer, result::Report, verify::Ledger, workload::Workload,
};

/// A target that answers after a while, and knows how many requests it had at once.
#[derive(Debug, Default)]
struct Fake {
    takes: Duration,
    status: u16,
    under_way: AtomicUsize,
    at_once_max: AtomicUsize,
    sent: AtomicU64,
}

impl Target for Fake {
    async fn send(&self, _request: &Request, _deadline: Duration) -> Outcome {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.at_once_max.fetch_max(under_way, Ordering::Relaxed);
        tokio::time::sleep(self.takes).await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        Outcome::Answered(Answer { status: self.status, ..Answer::default() })
    }
}

fn fake(takes_ms: u64, status: u16) -> Arc<Fake> {
    Arc::new(Fake { takes: Duration::from_millis(takes_ms), status, ..Fake::default() })
}

fn options(rate: &str, connections: usize, deadline: Duration) -> Options {
    Options {
        rate: rate.parse().unwrap(),
        duration: Duration::from_millis(400),
        warm_up: Duration::ZERO,
        connections,
        deadline,
        seed: 1,
    }
}

fn requests(name: &str) -> Requests {
    Requests::new(Workload::named(name).unwrap(), Vec::new(), 5, "t".into(), 1)
}

async fn report(target: &Arc<Fake>, options: &Options, history: Option<Arc<History>>) -> Report {
    let workload = Workload::named("mixed").unwrap();
    let run = run(target, requests("mixed"), options, history, Instant::now(), pending()).await;
    Report::new(&workload, options, String::new(), &run.unwrap())
}

#[tokio::test]
async fn waiting_for_a_connection_counts_as_response_time() {
    // 80 requests of 10 ms on one connection take twice the time in which they fall due.
    let target = fake(10, 200);
    let options = options("200/s", 1, Duration::from_secs(60));
    let report = report(&target, &options, None).await;
    let due: Vec<Duration> = Arrivals::new(options.rate, options.duration, options.seed).collect();
    assert_eq!(report.sent, due.len() as u64);
    assert_eq!((report.ok, report.not_started), (report.sent, 0));
    assert_eq!(target.at_once_max.load(Ordering::Relaxed), 1);
    // What a single server with these arrivals and at least 10 ms of service each must show.
    let mut free = Duration::ZERO;
    let mut longest = Duration::ZERO;
    for at in &due {
        free = free.max(*at) + target.takes;
        longest = longest.max(free - *at);
    }
    let seen = report.classes.iter().filter_map(|class| Some(class.response_seconds?.max));
    let seen = seen.max_by(f64::total_cmp).unwrap();
    assert!(seen >= longest.as_secs_f64() * 0.99, "{seen} {longest:?}");
    assert!(report.late_starts > 0);
}

#[tokio::test]
async fn requests_that_cannot_start_are_counted_and_not_sent() {
    let target = fake(50, 200);
    let report = report(&target, &options("1000/s", 2, Duration::from_millis(20)), None).await;
    assert!(report.not_started > 0);
    assert_eq!(report.sent, target.sent.load(Ordering::Relaxed));
    let due = Arrivals::new("1000/s".parse().unwrap(), Duration::from_millis(400), 1).count();
    assert_eq!(report.sent + report.not_started, due as u64);
    assert_eq!(target.at_once_max.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn warm_up_is_sent_and_not_counted() {
    let target = fake(0, 503);
    let options = Options {
        warm_up: Duration::from_millis(300),
        ..options("500/s", 8, Duration::from_secs(5))
    };
    let report = report(&target, &options, None).await;
    assert!(report.sent > 0 && report.sent < target.sent.load(Ordering::Relaxed));
    assert_eq!(report.ok, 0);
    let errors: u64 = report.classes.iter().map(crate::ClassReport::failed).sum();
    assert_eq!(errors, report.sent);
    assert!(report.classes.iter().all(|class| class.response_seconds.is_none()));
    let seconds: u64 = report.timeline.iter().flat_map(|second| second.failed.values()).sum();
    assert_eq!(seconds, report.sent);
}

#[tokio::test]
async fn a_stopped_run_ends_early_and_says_so() {
    let target = fake(0, 200);
    let options = Options {
        duration: Duration::from_secs(600),
        ..options("200/s", 8, Duration::from_secs(5))
    };
    let stop = tokio::time::sleep(Duration::from_millis(100));
    let run = run(&target, requests("mixed"), &options, None, Instant::now(), stop).await.unwrap();
    assert!(run.stopped);
    assert!(run.measured < Duration::from_secs(60));
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn every_session_call_is_in_the_history() {
    let target = fake(1, 201);
    let head = HistoryHead {
        schema: HistoryHead::SCHEMA.into(),
        started_at: "2026-01-01T00:00:00Z".into(),
        ttl_ms: 60_000,
    };
    let out = Shared::default();
    let history = Arc::new(History::begin(Box::new(out.clone()), &head).unwrap());
    let begin = Instant::now();
    let mut requests = requests("sessions");
    let failed =
        fill(&target, requests.fill(), Duration::from_secs(5), Some(&history), begin).await;
    assert_eq!(failed, 0);
    let options = options("300/s", 8, Duration::from_secs(5));
    let run = run(&target, requests, &options, Some(Arc::clone(&history)), begin, pending()).await;
    let workload = Workload::named("sessions").unwrap();
    let report = Report::new(&workload, &options, String::new(), &run.unwrap());
    history.finish().unwrap();
    let writes = report.classes.iter().find(|class| class.class == Class::SessionWrite).unwrap().ok;
    let bytes = out.0.lock().clone();
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(u64::try_from(lines).unwrap(), 1 + 5 + report.sent, "the head, 5 writes, the run");
    let ledger = Ledger::read(bytes.as_slice()).unwrap();
    assert_eq!(ledger.acknowledged(), writes + 5);
    assert_eq!(ledger.promised().collect::<BTreeSet<_>>().len(), 5);
}
