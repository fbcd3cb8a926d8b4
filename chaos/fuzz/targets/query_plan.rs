//! Puts questions to the engine and to a scan.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hexpop_fuzz::plan(bytes));
