//! `nbctl key`: the public keys of this user, and what servers make of them.

mod show;
mod test;

use std::path::{Path, PathBuf};

use nbtunnel_proto::{Keys, OfferedKey};
use ssh_key::PublicKey;

use crate::args::{KeyArgs, KeyCommand};
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::keys::find::{self, Found};
use crate::printer::Printer;

pub(crate) async fn run(args: KeyArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    match args.command {
        KeyCommand::Show(args) => show::run(args, daemon, printer).await,
        KeyCommand::Test(args) => test::run(args, daemon, printer).await,
    }
}

/// There is nothing to offer.
fn no_key(keys: &Keys) -> CommandError {
    let why = match keys.notes.as_slice() {
        [] => String::new(),
        notes => format!(": {}", notes.join("; ")),
    };
    CommandError::new(
        Exit::NeedsYou,
        format!("there is no key for {}{why}", keys.account),
        "make one with `nbctl keygen`, add one to your SSH agent (ssh-add), or name one in the tunnel's file (identity_file)",
    )
    .with_code("no_credentials")
}

/// The public half of an offered key, where it is known: with its comment, which only the file beside it may have.
fn known(key: &OfferedKey) -> Option<Found> {
    let file = key.file.as_deref().map(Path::new);
    let beside = file.and_then(|file| find::of_file(file).ok());
    let Some(public) = key.public.as_deref().and_then(|line| PublicKey::from_openssh(line).ok()) else {
        // An old format keeps it to itself.
        return beside;
    };
    let beside = beside.filter(|beside| beside.public.key_data() == public.key_data());
    Some(beside.unwrap_or_else(|| Found { public, file: file.map(PathBuf::from), note: None }))
}

/// Which key it is, for people.
fn which(key: &OfferedKey) -> String {
    let place = key.file.as_deref().unwrap_or("agent");
    let of = key.certificate.as_ref().map(|name| format!("certificate {name:?} of ")).unwrap_or_default();
    match &key.fingerprint {
        Some(print) => format!("{of}{print} ({place})"),
        None => format!("{of}{place}"),
    }
}
