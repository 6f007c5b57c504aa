//! `cargo sim -- --seed N --steps N`: the simulated world by hand, one seed after the other, as long as wanted.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use nbtunnel_tests::sim;

/// Runs the core in simulated worlds and checks what must hold after every step.
#[derive(Parser)]
#[command(name = "cargo sim")]
struct Args {
    /// The first world
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many steps each world has
    #[arg(long, default_value_t = 100_000)]
    steps: u64,
    /// How many worlds
    #[arg(long, default_value_t = 1)]
    worlds: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    for seed in args.seed..args.seed.saturating_add(args.worlds) {
        let said = match sim::run(seed, args.steps) {
            Ok(report) => writeln!(std::io::stdout(), "seed {seed}: {report:?}"),
            Err(broken) => {
                let _ = writeln!(std::io::stderr(), "{broken}");
                return ExitCode::FAILURE;
            }
        };
        if said.is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
