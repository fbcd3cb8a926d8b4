//! Stores responses as the policy of the HTTP cache lets it, and asks for them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hexpop_router::fuzz::policy(bytes));
