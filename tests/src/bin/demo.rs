//! `cargo demo`: shows what nbtunnel does, with the real programs, in half a minute.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use nbtunnel_tests::demo::{self, Options};
use nbtunnel_tests::wait;

/// Shows a tunnel that is cut, holds a request, and comes back.
#[derive(Parser)]
#[command(name = "cargo demo")]
struct Args {
    /// End by itself; the exit code is 0 only if every step held
    #[arg(long)]
    once: bool,
    /// Use a real sshd instead of the SSH server inside this program
    #[arg(long)]
    sshd: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    std::thread::spawn(interrupt_on_signal);
    match demo::run(Options { sshd: args.sshd, once: args.once }) {
        Ok(()) => ExitCode::SUCCESS,
        // As a shell reports a program that Ctrl-C ended.
        Err(_) if wait::interrupted() => ExitCode::from(130),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "The demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for the first signal that asks us to end: then every wait fails, and everything is cleaned up.
fn interrupt_on_signal() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(asked_to_end());
    wait::interrupt();
}

#[cfg(unix)]
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut hup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
        _ = hup.recv() => {}
    }
}

#[cfg(not(unix))]
async fn asked_to_end() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
