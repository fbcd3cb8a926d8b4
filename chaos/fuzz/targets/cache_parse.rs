//! Reads bytes as every header field that the HTTP cache looks at.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hexpop_router::fuzz::parse(bytes));
