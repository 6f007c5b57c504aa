//! `nbctl keygen`: makes a key pair that ssh(1) and nbtunnel use, and says what to do with it.

use std::path::{Path, PathBuf};

use nbtunnel_proto::Secret;
use serde_json::json;

use crate::args::KeygenArgs;
use crate::exit::{CommandError, Exit};
use crate::keys::find::same_file;
use crate::keys::home;
use crate::keys::make::{Kind, fingerprint, make};
use crate::keys::place::{check_free, make_dir, place, public_path};
use crate::person::{NoAnswer, Person};
use crate::printer::Printer;

/// How often somebody may type two passphrases that differ.
const TRIES: u32 = 3;

/// What an empty one means, said before anybody leaves it empty.
const ABOUT: &str = "A passphrase keeps whoever gets the file from using the key. \
                     Without one, whoever has the file can log in as you.";

pub(crate) async fn run(args: KeygenArgs, printer: &Printer) -> Result<Exit, CommandError> {
    let kind = args.rsa.map_or(Kind::Ed25519, Kind::Rsa);
    let ssh_dir = home::ssh_dir();
    let path = match args.file {
        Some(file) => home::expand(file)?,
        None => ssh_dir.clone()?.join(kind.file_name()),
    };
    let comment = args.comment.unwrap_or_else(home::usual_comment);
    check_comment(&comment)?;
    // Nobody types a passphrase for a key that cannot be kept.
    check_free(&path)?;
    make_dir(&path, ssh_dir.ok().as_deref())?;
    check_dir(&path)?;
    let passphrase = if args.no_passphrase { None } else { Some(passphrase().await?) };
    let passphrase = passphrase.filter(|passphrase| !passphrase.expose().is_empty());
    let is_locked = passphrase.is_some();
    if let Kind::Rsa(bits) = kind {
        printer.say(&format!("making an RSA key of {bits} bits, which takes a few seconds"));
    }
    let making =
        tokio::task::spawn_blocking(move || make(kind, &comment, passphrase.as_ref().map(Secret::expose)));
    let pair = making.await.map_err(|_| {
        CommandError::new(
            Exit::Failed,
            "the key could not be made",
            "make one with ssh-keygen, and report this",
        )
    })??;
    place(&path, &pair)?;
    let public = public_path(&path);
    let line = pair.public.to_openssh().unwrap_or_default();
    let print = fingerprint(&pair.public);
    if printer.is_json() {
        printer.json(&json!({"key": {
            "file": path, "public_file": public, "type": pair.public.algorithm().as_str(),
            "fingerprint": print, "public": line, "encrypted": is_locked,
        }}))?;
        return Ok(Exit::Done);
    }
    printer.say(&format!("wrote {}, which stays with you, and {}", path.display(), public.display()));
    printer.say(&format!("its fingerprint is {print}; this is the public key:"));
    printer.data(&line)?;
    printer.say(&next(&path, is_locked));
    Ok(Exit::Done)
}

/// What to do with the new key in `path`.
fn next(path: &Path, is_locked: bool) -> String {
    let usual = home::usual_keys().unwrap_or_default();
    let shown = path.to_string_lossy();
    // What another word for it would show, is another key.
    let is_first = usual.iter().find(|usual| usual.exists()).is_some_and(|first| same_file(first, path));
    let file = if is_first { String::new() } else { format!(" {}", shell_words::quote(&shown)) };
    let mut text = format!(
        "next: paste that line on the platform's page for SSH keys; `nbctl key show{file}` shows and copies it again"
    );
    if !usual.iter().any(|usual| same_file(usual, path)) {
        text += &format!(
            "\nthen name it in the tunnel's file: identity_file = [{}]",
            toml_edit::Value::from(&*shown)
        );
    }
    text += "\nthen `nbctl key test NAME` tells whether the server of the tunnel NAME takes it";
    if is_locked {
        text += "\nits passphrase is asked by `nbctl unlock NAME`, or once a login by `ssh-add`";
    }
    text
}

/// Asks for a passphrase twice.
async fn passphrase() -> Result<Secret, CommandError> {
    let person = Person::find().ok_or_else(|| {
        CommandError::new(
            Exit::NeedsYou,
            "nobody can be asked for a passphrase here: there is no terminal, and no program that asks in a window",
            "run it in a terminal, or give --no-passphrase for a key that whoever has the file can use",
        )
    })?;
    let mut about = ABOUT;
    for _ in 0..TRIES {
        let first = person.secret(about, "passphrase for the new key (empty for none):").await;
        let first = first.map_err(|NoAnswer| given_up())?;
        let again = person.secret("", "the same again:").await.map_err(|NoAnswer| given_up())?;
        if first == again {
            return Ok(first);
        }
        about = "The two differ; once more, from the beginning.";
    }
    Err(CommandError::new(Exit::NeedsYou, "the passphrases differed each time", "try again; no key was made"))
}

fn given_up() -> CommandError {
    CommandError::new(
        Exit::NeedsYou,
        "no passphrase was given, and no key was made",
        "run it again when you can",
    )
}

/// A comment is the rest of one line.
fn check_comment(comment: &str) -> Result<(), CommandError> {
    if !comment.chars().any(char::is_control) {
        return Ok(());
    }
    Err(CommandError::new(
        Exit::Usage,
        "a comment is one line without control characters",
        "give --comment words such as me@laptop",
    ))
}

fn check_dir(path: &Path) -> Result<(), CommandError> {
    let dir = path.parent().map(PathBuf::from).unwrap_or_default();
    if path.file_name().is_some() && dir.is_dir() {
        return Ok(());
    }
    Err(CommandError::new(
        Exit::Failed,
        format!("there is no directory {}", dir.display()),
        "make it first, or name a file in another one",
    ))
}
