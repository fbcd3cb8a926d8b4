//! Request ids and W3C trace context.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// Makes ids that differ between processes and within one.
#[derive(Debug)]
pub struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// `process` is random.
    #[must_use]
    pub const fn new(process: u64) -> Self {
        Self { process, next: AtomicU64::new(1) }
    }

    /// The next number: mixed, so that ids do not look like a sequence.
    fn next(&self) -> u64 {
        // The finaliser of splitmix64: a bijection, so that ids of one process never repeat.
        let mut z = self
            .next
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(self.process);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The context of a new request, continuing the caller's trace if it sent one.
    #[must_use]
    pub fn begin(&self, traceparent: Option<&str>) -> TraceContext {
        let span = self.next().max(1);
        match traceparent.and_then(TraceContext::parse) {
            Some(parent) => TraceContext { span, ..parent },
            None => TraceContext {
                trace: (u128::from(self.process) << 64) | u128::from(self.next().max(1)),
                span,
                flags: 0,
            },
        }
    }
}

/// A place in a trace: <https://www.w3.org/TR/trace-context/>, version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent`; `None` for anything that is not a valid one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower_hex = |text: &str, len: usize| {
            text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !lower_hex(version, 2)
            || !lower_hex(trace, 32)
            || !lower_hex(span, 16)
            || !lower_hex(flags, 2)
        {
            return None;
        }
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let context = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()?,
        };
        (context.trace != 0 && context.span != 0).then_some(context)
    }

    /// The id of the request: its span.
    #[must_use]
    pub fn request_id(&self) -> String {
        format!("{:016x}", self.span)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_with_a_new_span() {
        let ids = RequestIds::new(7);
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = ids.begin(Some(text));
        assert!(context.to_string().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
        assert!(context.to_string().ends_with("-01"));
        assert_ne!(context.to_string(), text);
    }

    #[test]
    fn what_is_no_trace_context_begins_a_new_trace() {
        let ids = RequestIds::new(7);
        for wrong in [
            "",
            "00-0-0-0",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(wrong), None, "{wrong}");
        }
        assert_ne!(ids.begin(None).request_id(), ids.begin(None).request_id());
    }
}
