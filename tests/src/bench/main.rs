//! Measures nbtunnel beside what people use, on the same sshd and in turns. Only ratios within one run mean
//! anything: `cargo bench-tunnel`, or `cargo bench-tunnel --only latency`.
//!
//! One file a section; a new one is a new line in [`SECTIONS`].

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use clap::builder::PossibleValuesParser;

mod fleet;
mod idle;
mod inside;
mod jumps;
mod latency;
mod memory;
#[cfg(target_os = "linux")]
mod outages;
mod process;
mod sides;
mod start;
mod table;
mod throughput;
mod traffic;

use table::Table;

/// How much is measured.
#[derive(Parser)]
#[command(name = "cargo bench-tunnel", about = "Measures nbtunnel beside what people use")]
struct Args {
    /// Only these sections; all without it
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(SECTIONS.iter().map(|s| s.name)))]
    only: Vec<String>,
    /// How often everything is measured; medians are shown
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// MiB of each download and upload on loopback; less over a distance
    #[arg(long, default_value_t = 128)]
    mib: u64,
    /// Round trips of one byte in each round
    #[arg(long, default_value_t = 2000)]
    pings: usize,
    /// Tunnels in the comparisons of memory and of idling
    #[arg(long, default_value_t = 50)]
    tunnels: usize,
    /// Tunnels of the fleet
    #[arg(long, default_value_t = 500)]
    fleet: usize,
    /// Seconds of idling
    #[arg(long, default_value_t = 30)]
    idle: u64,
}

/// A part of the bench that can be run by itself.
struct Section {
    name: &'static str,
    measure: fn(&Args) -> Result<Table>,
}

const SECTIONS: &[Section] = &[
    Section { name: "start", measure: start::measure },
    Section { name: "traffic", measure: traffic::measure },
    Section { name: "throughput", measure: throughput::measure },
    Section { name: "inside", measure: inside::measure },
    Section { name: "jumps", measure: jumps::measure },
    Section { name: "latency", measure: latency::measure },
    Section { name: "memory", measure: memory::measure },
    Section { name: "idle", measure: idle::measure },
    #[cfg(target_os = "linux")]
    Section { name: "outages", measure: outages::measure },
    Section { name: "fleet", measure: fleet::measure },
];

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "The bench failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let began = Instant::now();
    for section in SECTIONS {
        if args.only.is_empty() || args.only.iter().any(|name| name == section.name) {
            let table = (section.measure)(args).with_context(|| section.name)?;
            writeln!(stdout(), "{}: {table}", section.name)?;
        }
    }
    writeln!(
        stdout(),
        "in {:.0} s; only ratios within one run mean anything",
        began.elapsed().as_secs_f64()
    )?;
    Ok(())
}
