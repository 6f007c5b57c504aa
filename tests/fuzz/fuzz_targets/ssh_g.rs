//! Any bytes for `ssh_g`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (nbtunnel_tests::fuzz::target("ssh_g").feed)(bytes));
