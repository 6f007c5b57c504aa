//! The tests.

mod asked;
mod fleet;
mod notebooks;
mod planted;
mod progress;
mod remotes;
mod successor;
mod tunnel;

use std::fmt::Display;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};

/// So many runs, and the failed ones of earlier days before them.
fn runs(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/regressions.txt"
        )))),
        ..Config::default()
    }
}

fn reported<T>(result: Result<T, impl Display>) -> Result<T, TestCaseError> {
    result.map_err(|broken| TestCaseError::fail(broken.to_string()))
}
