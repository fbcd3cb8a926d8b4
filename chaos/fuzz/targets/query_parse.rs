//! Reads bytes as requests of every kind, and answers those that are valid.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hexpop_fuzz::parse(bytes));
