//! Any bytes for `frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (nbtunnel_tests::fuzz::target("frames").feed)(bytes));
