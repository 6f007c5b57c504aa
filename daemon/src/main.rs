//! The program `nbtunneld`.

mod run;

use std::process::ExitCode;

use clap::Parser;
use nbtunnel_proto::FaultCode;
use nbtunneld::args::Args;

fn main() -> ExitCode {
    run::run(Args::parse()).unwrap_or_else(|fault| {
        run::complain(&fault);
        ExitCode::from(if fault.code == FaultCode::Usage { 2 } else { 1 })
    })
}
