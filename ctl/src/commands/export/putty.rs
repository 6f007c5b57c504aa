//! `nbctl export putty`: a session a tunnel, as a file for regedit, and the line for plink.

use std::io;
use std::path::Path;

use nbtunnel_proto::SshHost;
use serde_json::json;

use super::{find, proxy};
use crate::args::ExportPuttyArgs;
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;
use crate::tunnel_file::Draft;

/// Where PuTTY keeps its sessions.
const SESSIONS: &str = r"HKEY_CURRENT_USER\Software\SimonTatham\PuTTY\Sessions";

/// A proxy that is a local command (`PROXY_CMD` in PuTTY).
const LOCAL_COMMAND: u32 = 5;

pub(super) async fn run(
    args: ExportPuttyArgs,
    daemon: &Daemon,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let found = find(args.names, daemon, printer).await?.hosts;
    let mut text = "Windows Registry Editor Version 5.00\r\n".to_owned();
    for to in &found {
        let key = key(to, &|path| path.is_file());
        if let Key::Foreign(key) = &key {
            printer.note(&format!("{}: PuTTY wants this key as {key}.ppk: {}", to.name, conversion(key)));
        }
        text.push_str(&session(to, &key, &proxy(&to.name, daemon)?));
    }
    let file = args.file.map(|file| std::path::absolute(&file).unwrap_or(file));
    if let Some(file) = &file {
        write(file, &registry(&text), args.yes, printer)?;
    }
    if printer.is_json() {
        let sessions: Vec<String> = found.iter().map(session_name).collect();
        let printed = file.is_none().then_some(&text);
        printer.json(&json!({"exported": {"sessions": sessions, "file": file, "registry": printed}}))?;
    } else if file.is_none() {
        printer.data(&text)?;
    }
    if let Some(file) = &file {
        let import = shell_words::join(["reg", "import", &file.to_string_lossy()]);
        printer.say(&format!("wrote {}: on Windows open it, or run `{import}`", file.display()));
    }
    for to in &found {
        printer.say(&format!("plink -load {}", session_name(to)));
    }
    Ok(Exit::Done)
}

/// A file as regedit itself writes it (UTF-16, little end first, with its mark): read so, no character is another one
/// by the code page of that machine.
fn registry(text: &str) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// Puts the file there; over another one only if somebody says so.
fn write(file: &Path, bytes: &[u8], yes: bool, printer: &Printer) -> Result<(), CommandError> {
    let failed = |error: io::Error| CommandError::file("written", file, &error);
    match Draft::write(file, bytes)?.place_new(file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        placed => return placed.map_err(failed),
    }
    let question = format!("{} is there already. Write over it?", file.display());
    let agreed = yes || printer.can_ask() && printer.confirm(&question);
    if !agreed {
        let message = format!("{} is there already, and nothing was written", file.display());
        return Err(
            CommandError::new(Exit::NeedsYou, message, "give another name, or say --yes").with_code("exists")
        );
    }
    Draft::write(file, bytes)?.place_over(file).map_err(failed)
}

/// Not the tunnel's own name: importing would put it over a session of the user's.
fn session_name(to: &SshHost) -> String {
    format!("nbt-{}", to.name)
}

/// The first key of a tunnel that there is.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    /// In PuTTY's own format, the only one that it logs in with.
    Ppk(String),
    Foreign(String),
    /// None, or none but those of an agent.
    Nowhere,
}

fn key(to: &SshHost, is_there: &dyn Fn(&Path) -> bool) -> Key {
    let is_there = |file: &str| is_there(Path::new(file));
    let ppk = |file: &String| if file.ends_with(".ppk") { file.clone() } else { format!("{file}.ppk") };
    let mut files = to.identity_files.iter();
    if let Some(ppk) = files.clone().map(ppk).find(|ppk| is_there(ppk)) {
        return Key::Ppk(ppk);
    }
    files.find(|file| is_there(file)).map_or(Key::Nowhere, |file| Key::Foreign(file.clone()))
}

/// How PuTTY's own format is made of a key.
fn conversion(key: &str) -> String {
    if cfg!(windows) {
        return format!("open {key} in puttygen and save the private key, then export again");
    }
    let words = ["puttygen".to_owned(), key.to_owned(), "-o".to_owned(), format!("{key}.ppk")];
    format!("run `{}`, then export again", shell_words::join(words))
}

fn session(to: &SshHost, key: &Key, proxy: &[String]) -> String {
    let quote = |word: &String| if word.contains(' ') { format!("\"{word}\"") } else { word.clone() };
    let command = proxy.iter().map(quote).collect::<Vec<_>>().join(" ");
    // PuTTY takes backslashes and percent signs of the command for its own.
    let command = command.replace('\\', r"\\").replace('%', "%%");
    let mut text = format!("\r\n[{SESSIONS}\\{}]\r\n", session_name(to));
    let mut values = vec![
        ("HostName", &*to.host),
        ("UserName", &*to.user),
        ("Protocol", "ssh"),
        ("ProxyTelnetCommand", &*command),
    ];
    if let Key::Ppk(file) = key {
        values.push(("PublicKeyFile", file));
    }
    for (name, value) in values {
        text.push_str(&format!("\"{name}\"=\"{}\"\r\n", value.replace('\\', r"\\").replace('"', "\\\"")));
    }
    for (name, value) in [("PortNumber", to.port.into()), ("ProxyMethod", LOCAL_COMMAND)] {
        text.push_str(&format!("\"{name}\"=dword:{value:08x}\r\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::hosts::tests::alice;
    use super::*;

    #[test]
    fn a_session_goes_by_a_local_command_that_is_escaped_twice() {
        let to = SshHost { host: "h".into(), port: 22, ..alice() };
        let proxy = [r"C:\my tools\nbctl.exe".into(), "proxy".into(), "alice".into()];
        let text = session(&to, &Key::Nowhere, &proxy);
        assert!(
            text.contains("\\Sessions\\nbt-alice]\r\n\"HostName\"=\"h\"\r\n\"UserName\"=\"me\"\r\n"),
            "{text}"
        );
        let command = r#""ProxyTelnetCommand"="\"C:\\\\my tools\\\\nbctl.exe\" proxy alice""#;
        assert!(text.contains(command), "{text}");
        assert!(
            text.ends_with("\"PortNumber\"=dword:00000016\r\n\"ProxyMethod\"=dword:00000005\r\n"),
            "{text}"
        );
        assert!(!text.contains("PublicKeyFile"), "{text}");
        let text = session(&to, &Key::Ppk(r"C:\k.ppk".into()), &proxy);
        assert!(text.contains("\"PublicKeyFile\"=\"C:\\\\k.ppk\"\r\n"), "{text}");
    }

    #[test]
    fn a_file_is_what_regedit_writes_itself() {
        assert_eq!(registry("a\u{fc}\u{1f511}"), b"\xff\xfea\0\xfc\0\x3d\xd8\x11\xdd");
    }

    #[test]
    fn only_a_key_in_its_own_format_is_named_to_putty() {
        let to = SshHost { identity_files: vec!["/a".into(), "/b".into()], ..alice() };
        let with = |there: &'static [&'static str]| {
            key(&to, &|path| there.iter().any(|there| path == Path::new(there)))
        };
        assert_eq!(with(&[]), Key::Nowhere);
        assert_eq!(with(&["/b"]), Key::Foreign("/b".into()));
        assert_eq!(with(&["/a", "/b", "/b.ppk"]), Key::Ppk("/b.ppk".into()));
        let own = SshHost { identity_files: vec!["/c.ppk".into()], ..alice() };
        assert_eq!(key(&own, &|_| true), Key::Ppk("/c.ppk".into()));
    }
}
