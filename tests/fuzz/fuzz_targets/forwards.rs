//! Any bytes for `forwards`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (nbtunnel_tests::fuzz::target("forwards").feed)(bytes));
