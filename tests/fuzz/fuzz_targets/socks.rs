//! Any bytes for `socks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (nbtunnel_tests::fuzz::target("socks").feed)(bytes));
