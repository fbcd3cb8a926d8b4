//! What the disk tier counts.

use prometheus::{IntCounterVec, IntGauge, Opts, core::Collector};

/// The disk tier's metrics. Clones count into the same numbers.
#[derive(Debug, Clone)]
pub(crate) struct DiskMetrics {
    outcomes: IntCounterVec,
    bytes: IntGauge,
    entries: IntGauge,
    up: IntGauge,
}

impl DiskMetrics {
    /// Makes them.
    ///
    /// # Errors
    /// [`prometheus::Error`]: never with these names.
    pub(crate) fn create() -> Result<Self, prometheus::Error> {
        Ok(Self {
            outcomes: IntCounterVec::new(
                Opts::new(
                    "hexpop_cache_disk_total",
                    "Responses by what became of them at the disk tier: hit, busy (could not be read in time), stored, dropped (too much to write), evicted, recovered, damaged.",
                ),
                &["outcome"],
            )?,
            bytes: IntGauge::new("hexpop_cache_disk_bytes", "Bytes of files of the disk tier.")?,
            entries: IntGauge::new(
                "hexpop_cache_disk_entries",
                "Responses stored in the disk tier.",
            )?,
            up: IntGauge::new(
                "hexpop_cache_disk_up",
                "Whether the disk tier is used; 0 also where there is none.",
            )?,
        })
    }

    pub(crate) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.outcomes.clone()),
            Box::new(self.bytes.clone()),
            Box::new(self.entries.clone()),
            Box::new(self.up.clone()),
        ]
    }

    fn count(&self, outcome: &str, by: u64) {
        self.outcomes.with_label_values(&[outcome]).inc_by(by);
    }

    pub(crate) fn hit(&self) {
        self.count("hit", 1);
    }

    pub(crate) fn busy(&self) {
        self.count("busy", 1);
    }

    pub(crate) fn stored(&self) {
        self.count("stored", 1);
    }

    pub(crate) fn dropped(&self) {
        self.count("dropped", 1);
    }

    pub(crate) fn evicted(&self, by: u64) {
        self.count("evicted", by);
    }

    pub(crate) fn recovered(&self) {
        self.count("recovered", 1);
    }

    pub(crate) fn damaged(&self) {
        self.count("damaged", 1);
    }

    pub(crate) fn up(&self, up: bool) {
        self.up.set(i64::from(up));
    }

    pub(crate) fn size(&self, entries: u64, bytes: u64) {
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    #[cfg(test)]
    pub(crate) fn counted(&self, outcome: &str) -> u64 {
        self.outcomes.with_label_values(&[outcome]).get()
    }
}
