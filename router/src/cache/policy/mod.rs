//! What a shared cache may store, and what it may do with what it stored: functions of the request,
//! the stored response, the time and the configuration. Pure.
//!
//! | here | standard |
//! |---|---|
//! | [`text`], [`date`] | RFC 9110 §5.6, RFC 9111 §1.2 |
//! | [`control`] | RFC 9111 §5.2, RFC 9213, directives of RFC 5861 and RFC 8246 |
//! | [`storing`], [`freshness`] | RFC 9111 §3, §4.2 |
//! | [`reuse`], [`vary`] | RFC 9111 §4, §4.1, §4.2.4, §5.2.1 |
//! | [`validation`] | RFC 9111 §3.2, §4.3 |
//! | [`precondition`] | RFC 9110 §13 |
//! | [`range`], [`partial`] | RFC 9110 §14, §15.3.7, RFC 9111 §3.3, §3.4 |
//! | [`tags`] | RFC 9875, `Surrogate-Key`, `Cache-Tag` |
//!
//! A published policy crate was looked at and not taken: it has neither `Vary` with several stored
//! responses, nor ranges, nor fields of `no-cache` and `private`, nor RFC 9213.

pub(crate) mod control;
pub(crate) mod date;
pub(crate) mod freshness;
pub(crate) mod partial;
pub(crate) mod precondition;
pub(crate) mod range;
pub(crate) mod reuse;
pub(crate) mod storing;
pub(crate) mod tags;
pub(crate) mod text;
pub(crate) mod validation;
pub(crate) mod vary;
