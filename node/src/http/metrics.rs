//! Requests as they are counted, and gauges of the mesh that are read when somebody asks.

use std::time::Duration;

use prometheus::{
    Counter, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use rustix::time::{ClockId, clock_gettime};

use crate::context::Context;

/// From 50 microseconds to 10 seconds: the usual defaults would put every hit into one bucket.
const BUCKETS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 10.0,
];

/// What is counted of HTTP on the data port, and gauges of the whole node.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    /// Requests under way.
    pub in_flight: IntGauge,
    faults: IntGauge,
    uptime: IntGauge,
}

impl HttpMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When one of these names is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("hexpop_http_requests_total", "Requests answered on the data port."),
                &["route", "method", "code", "source"],
            )?,
            durations: HistogramVec::new(
                HistogramOpts::new(
                    "hexpop_http_request_duration_seconds",
                    "From the head of a request to the head of its answer.",
                )
                .buckets(BUCKETS.to_vec()),
                &["route", "source"],
            )?,
            in_flight: IntGauge::new(
                "hexpop_http_requests_in_flight",
                "Requests under way on the data port.",
            )?,
            faults: IntGauge::new("hexpop_faults_active", "Fault rules active on this node.")?,
            uptime: IntGauge::new("hexpop_uptime_seconds", "Seconds since the process started.")?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.durations.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.faults.clone()))?;
        registry.register(Box::new(metrics.uptime.clone()))?;
        registry.register(Box::new(ProcessorTime::new()?))?;
        let build = IntGaugeVec::new(
            Opts::new("hexpop_build_info", "1, with the build as labels."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        Ok(metrics)
    }

    /// Counts an answered request.
    pub fn answered(
        &self,
        route: &'static str,
        method: &'static str,
        code: u16,
        source: &'static str,
        took: Duration,
    ) {
        let mut digits = [0_u8; 3];
        let code = three_digits(code, &mut digits);
        self.requests.with_label_values(&[route, method, code, source]).inc();
        self.durations.with_label_values(&[route, source]).observe(took.as_secs_f64());
    }

    /// Reads what gauges show.
    pub fn refresh(&self, context: &Context) {
        let faults = context.faults.list(std::time::Instant::now()).len();
        self.faults.set(to_gauge(faults));
        self.uptime.set(i64::try_from(context.started.elapsed().as_secs()).unwrap_or(i64::MAX));
    }
}

/// Processor time of this process, read when somebody asks.
struct ProcessorTime(Counter);

impl ProcessorTime {
    fn new() -> Result<Self, prometheus::Error> {
        // The name that all Prometheus clients use.
        let help = "Processor time of the process, user and system.";
        Counter::new("process_cpu_seconds_total", help).map(Self)
    }
}

impl Collector for ProcessorTime {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        // A counter of this call alone: two that ask at once must not both add the same time.
        Self::new().map_or_else(
            |_same_name_as_before| Vec::new(),
            |now| {
                now.0.inc_by(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9);
                now.0.collect()
            },
        )
    }
}

fn to_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A status code as text, without allocating on the way of each request.
fn three_digits(code: u16, digits: &mut [u8; 3]) -> &str {
    let digit = |value: u16| b'0' + u8::try_from(value % 10).unwrap_or(0);
    *digits = [digit(code / 100), digit(code / 10), digit(code)];
    std::str::from_utf8(digits).unwrap_or("000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_text() {
        let mut digits = [0; 3];
        assert_eq!(three_digits(503, &mut digits), "503");
        assert_eq!(three_digits(200, &mut digits), "200");
    }

    #[test]
    fn requests_are_counted_by_route_and_outcome() {
        let registry = Registry::new();
        let metrics = HttpMetrics::register(&registry).unwrap();
        metrics.answered("listing", "GET", 200, "replica", Duration::from_micros(80));
        let counter = metrics.requests.with_label_values(&["listing", "GET", "200", "replica"]);
        assert_eq!(counter.get(), 1);
    }

    #[test]
    fn processor_time_only_grows() {
        let time = ProcessorTime::new().unwrap();
        let read = || time.collect()[0].get_metric()[0].get_counter().get_value();
        let first = read();
        assert!(first > 0.0 && read() >= first);
    }
}
