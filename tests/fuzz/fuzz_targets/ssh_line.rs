//! Any bytes for `ssh_line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (nbtunnel_tests::fuzz::target("ssh_line").feed)(bytes));
