//! nbctl, the command line of nbtunnel. It asks nbtunneld over the control socket, and reads and writes the
//! config directory; it knows no SSH and keeps no state.

mod args;
mod browser;
mod checker;
mod clipboard;
mod commands;
mod daemon;
mod exit;
mod face;
mod findings;
mod keys;
mod notebook;
mod opener;
mod pasted;
mod person;
mod printer;
#[cfg_attr(unix, path = "raw_unix.rs")]
#[cfg_attr(windows, path = "raw_windows.rs")]
mod raw;
mod signals;
mod ssh_program;
mod table;
mod text;
mod tunnel_file;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(pasted::set_apart(std::env::args_os().collect())) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let printer = Printer::new(cli.globals.json, cli.globals.quiet);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let message = format!("nbctl cannot start: {error}");
            return end(
                &printer,
                CommandError::new(Exit::Failed, message, "close some programs and try again"),
            );
        }
    };
    let daemon = Daemon::new(cli.globals);
    match runtime.block_on(commands::run(cli.command, &daemon, &printer)) {
        Ok(exit) => exit.into(),
        Err(error) => end(&printer, error),
    }
}

fn end(printer: &Printer, error: CommandError) -> ExitCode {
    printer.error(&error);
    error.exit.into()
}

/// Help, the version, or what is wrong with the command line. Here `--json` is looked for by hand, since
/// nothing was parsed.
fn usage(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--json");
    if !error.use_stderr() || !wants_json {
        // clap's own colours and streams; a closed stream leaves nobody to tell.
        let _ = error.print();
        return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
    }
    let text = error.to_string();
    // The first paragraph says what is wrong, the rest is advice for people.
    let first: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let first = first.join(" ");
    let message = first.strip_prefix("error: ").unwrap_or(&first);
    let hint = "run the command with --help";
    end(&Printer::new(true, false), CommandError::new(Exit::Usage, message, hint))
}
