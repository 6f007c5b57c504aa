//! Any bytes for `known_hosts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (nbtunnel_tests::fuzz::target("known_hosts").feed)(bytes));
