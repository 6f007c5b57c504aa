//! One file a command.

mod add;
mod check;
#[cfg(debug_assertions)]
mod debug_hang;
mod doctor;
mod edit;
mod events;
mod export;
mod import;
mod key;
mod keygen;
mod logs;
mod notebook;
mod open;
mod order;
mod proxy;
mod reload;
mod rm;
mod status;
mod token;
mod trust;
mod unlock;
mod url;

use nbtunnel_proto::Order;

use crate::args::Command;
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;

/// Carries out one command.
///
/// # Errors
/// Why it did not do what it was asked to, with the exit code.
pub(crate) async fn run(command: Command, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    match command {
        Command::Status(args) => status::run(args, daemon, printer).await,
        Command::Start(args) => order::run(Order::Start, args, daemon, printer).await,
        Command::Stop(args) => order::run(Order::Stop, args, daemon, printer).await,
        Command::Restart(args) => order::run(Order::Restart, args, daemon, printer).await,
        Command::Reload => reload::run(daemon, printer).await,
        Command::Check(args) => check::run(&args, daemon, printer).await,
        Command::Logs(args) => logs::run(args, daemon, printer).await,
        Command::Events => events::run(daemon, printer).await,
        Command::Add(args) => add::run(*args, daemon, printer).await,
        Command::Import(args) => import::run(&args, daemon, printer).await,
        Command::Rm(args) => rm::run(&args, daemon, printer).await,
        Command::Edit(args) => edit::run(&args, daemon, printer).await,
        Command::Trust(args) => trust::run(args, daemon, printer).await,
        Command::Unlock(args) => unlock::run(args, daemon, printer).await,
        Command::Export(args) => export::run(args.what, daemon, printer).await,
        Command::Proxy(args) => proxy::run(args, daemon, printer).await,
        Command::Doctor(args) => doctor::run(args, daemon, printer).await,
        Command::Open(args) => open::run(args, daemon, printer).await,
        Command::Url(args) => url::run(args, daemon, printer).await,
        Command::Token(args) => token::run(args, daemon, printer).await,
        Command::Notebook(command) => notebook::run(command, daemon, printer).await,
        Command::Keygen(args) => keygen::run(args, printer).await,
        Command::Key(args) => key::run(args, daemon, printer).await,
        #[cfg(debug_assertions)]
        Command::DebugHang => debug_hang::run(daemon).await,
    }
}
