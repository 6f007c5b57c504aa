//! The text of a tunnel file, key by key.

use std::path::Path;

use crate::Sshd;

/// A tunnel file as it is being written. Values are TOML.
#[derive(Clone, Debug, Default)]
pub struct TunnelFile {
    lines: Vec<(String, String)>,
}

impl TunnelFile {
    /// A tunnel to a server at `port` of this machine which is no sshd: with no key at all, the known_hosts file in
    /// `dir`, and nothing of this machine's own ssh_config.
    pub fn without_key(port: u16, dir: &Path) -> TunnelFile {
        TunnelFile::default()
            .set("host", "\"127.0.0.1\"")
            .set("port", port)
            .set("user", "\"somebody\"")
            .set("identity_file", paths(&[&dir.join("no_key")]))
            .set("known_hosts", paths(&[&dir.join("known_hosts")]))
            .set("ssh_config", "\"none\"")
    }

    /// A tunnel to `sshd` with its key and its known_hosts file and nothing of this machine's own ssh_config, wanted
    /// from the start.
    pub fn to(sshd: &Sshd) -> TunnelFile {
        TunnelFile::default()
            .set("host", quoted(&sshd.host().to_string()))
            .set("port", sshd.port())
            .set("user", quoted(sshd.user()))
            .set("identity_file", paths(&[&sshd.user_key()]))
            .set("known_hosts", paths(&[&sshd.known_hosts()]))
            .set("ssh_config", quoted("none"))
            .set("keepalive", "\"2s\"")
            .set("connect_timeout", "\"10s\"")
    }

    /// Sets `key` to a TOML value, in the place of what it was.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> TunnelFile {
        let value = value.to_string();
        match self.lines.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.lines.push((key.to_owned(), value)),
        }
        self
    }

    /// Forwards `localhost:local` (IPv4 and IPv6) to 127.0.0.1:`remote` at the far end. Once for each.
    #[must_use]
    pub fn forward(self, local: u16, remote: u16) -> TunnelFile {
        self.forward_text(&format!("{local}:127.0.0.1:{remote}"))
    }

    /// Adds a forward in the grammar of `ssh -L`.
    #[must_use]
    pub fn forward_text(self, forward: &str) -> TunnelFile {
        let old = self.lines.iter().find(|(key, _)| key == "forward").map(|(_, value)| value.clone());
        let value = match old.as_deref().and_then(|list| list.strip_suffix(']')) {
            Some(list) => format!("{list}, {}]", quoted(forward)),
            None => format!("[{}]", quoted(forward)),
        };
        self.set("forward", value)
    }

    /// The file.
    pub fn text(&self) -> String {
        self.lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }
}

/// A TOML string.
pub fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A TOML list of paths.
pub fn paths(paths: &[&Path]) -> String {
    let list: Vec<_> = paths.iter().map(|path| quoted(&path.to_string_lossy())).collect();
    format!("[{}]", list.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_replaced_and_forwards_add_up() {
        let file = TunnelFile::default().set("port", 1).forward(5, 6).set("port", 2).forward(7, 8);
        assert_eq!(file.text(), "port = 2\nforward = [\"5:127.0.0.1:6\", \"7:127.0.0.1:8\"]\n");
        assert!(toml::from_str::<toml::Table>(&file.text()).is_ok());
    }
}
