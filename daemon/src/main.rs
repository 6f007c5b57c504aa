//! The program `nbtunneld`: puts the parts together and runs the loop.

use std::process::ExitCode;

use clap::Parser;
use nbtunneld::args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    match nbtunneld::run::run(args) {
        Ok(code) => code,
        Err(fault) => {
            nbtunneld::run::complain(&fault);
            ExitCode::FAILURE
        }
    }
}
