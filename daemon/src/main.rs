//! The program `nbtunneld`.

mod run;

use std::process::ExitCode;

use clap::Parser;
use nbtunneld::args::Args;

fn main() -> ExitCode {
    run::run(Args::parse())
}
