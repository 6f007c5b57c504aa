//! `nbctl export putty`: a session a tunnel, as a file for regedit, and the line for plink.

use nbtunnel_proto::SshHost;

use super::{hosts, proxy, warn};
use crate::args::ExportNamesArgs;
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;

/// Where PuTTY keeps its sessions.
const SESSIONS: &str = r"HKEY_CURRENT_USER\Software\SimonTatham\PuTTY\Sessions";

/// A proxy that is a local command (`PROXY_CMD` in PuTTY).
const LOCAL_COMMAND: u32 = 5;

pub(super) async fn run(
    args: ExportNamesArgs,
    daemon: &Daemon,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let found = hosts(args.names, daemon).await?;
    warn(&found, printer);
    let mut text = "Windows Registry Editor Version 5.00\r\n".to_owned();
    for to in &found {
        text.push_str(&session(to, &proxy(&to.name, daemon)?));
    }
    printer.data(&text)?;
    for to in &found {
        printer.say(&format!("plink -load {}", session_name(to)));
    }
    Ok(Exit::Done)
}

/// Not the tunnel's own name: importing would put it over a session of the user's.
fn session_name(to: &SshHost) -> String {
    format!("nbt-{}", to.name)
}

fn session(to: &SshHost, proxy: &[String]) -> String {
    let quote = |word: &String| if word.contains(' ') { format!("\"{word}\"") } else { word.clone() };
    let command = proxy.iter().map(quote).collect::<Vec<_>>().join(" ");
    // PuTTY takes backslashes and percent signs of the command for its own.
    let command = command.replace('\\', r"\\").replace('%', "%%");
    let mut text = format!("\r\n[{SESSIONS}\\{}]\r\n", session_name(to));
    let values = [
        ("HostName", &*to.host),
        ("UserName", &*to.user),
        ("Protocol", "ssh"),
        ("ProxyTelnetCommand", &*command),
    ];
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
    use super::*;

    #[test]
    fn a_session_goes_by_a_local_command_that_is_escaped_twice() {
        let to = SshHost {
            name: "alice".into(),
            host: "h".into(),
            port: 22,
            user: "me".into(),
            alias: None,
            identity_files: vec![],
            known_hosts: vec![],
            asks: false,
        };
        let text = session(&to, &[r"C:\my tools\nbctl.exe".into(), "proxy".into(), "alice".into()]);
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
    }
}
