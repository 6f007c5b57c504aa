//! The line that each test prints.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, ensure};
use nbtunnel_tests::callers::Called;

/// Says what came of it, past the capture of the test runner: these lines are a result. Fails if anybody was
/// refused.
pub(crate) fn told(what: &str, outcome: &str, soon: Duration, called: Option<Called>) -> Result<()> {
    let seconds = soon.as_secs_f64();
    let mut line = format!("chaos: {what:<58} {outcome:<24} {seconds:>7.2} s");
    if let Some(Called { answered, refused, cut_off, longest, .. }) = called {
        let longest = longest.as_secs_f64();
        line.push_str(&format!("  {answered} answered (longest {longest:.1} s)"));
        line.push_str(&format!(", {cut_off} cut off, {refused} refused"));
    }
    writeln!(std::io::stdout(), "{line}")?;
    ensure!(called.is_none_or(|called| called.refused == 0), "somebody was refused: {line}");
    Ok(())
}
