//! The notebook that a tunnel leads to: one whose address was given, or whichever the user has there, where the line
//! forwards nothing.

use nbctl::server_url::ServerUrl;
use nbctl::ssh_line::Tunnel;
use toml_edit::{Item, Table, value};

/// What `[notebook.NAME]` says.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Notebook {
    /// Nothing: it is looked for.
    remote_port: Option<u16>,
    /// Its machine, where that is not the SSH server.
    host: Option<String>,
    local_port: Option<u16>,
    token: Option<String>,
    is_https: bool,
}

impl Notebook {
    /// One that is looked for.
    pub(super) fn to_be_found() -> Notebook {
        Notebook::default()
    }

    /// The one at `server`. A forward of `tunnel` that leads to the same port, or that the address was read off at this
    /// end, becomes the notebook's own.
    pub(super) fn at(server: ServerUrl, tunnel: &mut Tunnel) -> Notebook {
        let host =
            (!server.is_loopback() && !is_same(&server.host, &tunnel.host)).then(|| server.host.clone());
        let leads_there = |ports: &Ports| match &host {
            None if ports.leads_home && ports.local == server.port => true,
            None => ports.leads_home && ports.remote == server.port,
            Some(_) => false,
        };
        let found = tunnel.forwards.iter().enumerate().find_map(|(at, forward)| {
            let ports = Ports::of(forward)?;
            leads_there(&ports).then_some((at, ports))
        });
        let (remote_port, local_port) = match found {
            Some((at, ports)) => {
                tunnel.forwards.remove(at);
                (ports.remote, Some(ports.local))
            }
            None => (server.port, None),
        };
        let ServerUrl { is_https, token, .. } = server;
        Notebook { remote_port: Some(remote_port), host, local_port, token, is_https }
    }

    /// What must not be shown.
    pub(super) fn secret(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Where it is, in words.
    pub(super) fn shown(&self) -> String {
        match (&self.host, self.remote_port) {
            (Some(host), Some(port)) => format!("the notebook at {host}:{port}"),
            (None, Some(port)) => format!("the notebook on port {port}"),
            (_, None) => "the notebook that runs there".to_owned(),
        }
    }

    /// The section of the file.
    pub(super) fn section(&self) -> Item {
        let mut section = Table::new();
        match self.remote_port {
            Some(port) => section["remote_port"] = value(i64::from(port)),
            None => section["find"] = value("auto"),
        }
        if let Some(host) = &self.host {
            section["host"] = value(host);
        }
        if let Some(port) = self.local_port {
            section["local_port"] = value(i64::from(port));
        }
        if let Some(token) = &self.token {
            section["token"] = value(token);
        }
        if self.is_https {
            section["scheme"] = value("https");
        }
        Item::Table(section)
    }
}

/// Whether both name one machine: people and servers shorten names to their first label.
fn is_same(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    let is_start = long.get(..short.len()).is_some_and(|start| start.eq_ignore_ascii_case(short));
    is_start && matches!(long.as_bytes().get(short.len()), None | Some(b'.')) && short.parse::<u8>().is_err()
}

/// The plain case of a forward: from a loopback port here to a port there.
struct Ports {
    local: u16,
    remote: u16,
    /// It ends at the SSH server itself.
    leads_home: bool,
}

impl Ports {
    fn of(forward: &str) -> Option<Ports> {
        let parts: Vec<&str> = forward.split(':').collect();
        let is_loopback = |host: &str| matches!(host, "localhost" | "127.0.0.1");
        let (local, host, remote) = match parts.as_slice() {
            [local, host, remote] => (local, host, remote),
            [bind, local, host, remote] if is_loopback(bind) => (local, host, remote),
            _ => return None,
        };
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        Some(Ports { local: port(local)?, remote: port(remote)?, leads_home: is_loopback(host) })
    }
}

#[cfg(test)]
mod tests {
    use nbctl::{server_url, ssh_line};

    use super::*;

    /// The section, and the forwards that are left.
    fn shown(line: &str, url: &str) -> (String, Vec<String>) {
        let mut tunnel = ssh_line::parse_line(line).unwrap();
        let notebook = Notebook::at(server_url::parse(url).unwrap(), &mut tunnel);
        let section = notebook.section().to_string();
        let lines: Vec<&str> = section.lines().filter(|line| !line.is_empty()).collect();
        (lines.join(", "), tunnel.forwards)
    }

    #[test]
    fn an_address_says_what_it_says() {
        for (line, url, section) in [
            ("ssh h", "http://localhost:8888/?token=abc", "remote_port = 8888, token = \"abc\""),
            ("ssh h", "https://127.0.0.1:1/", "remote_port = 1, scheme = \"https\""),
            ("ssh login", "http://gpu7:8888/lab", "remote_port = 8888, host = \"gpu7\""),
            ("ssh gpu7.example.org", "http://GPU7:8888/lab", "remote_port = 8888"),
            ("ssh gpu7", "http://gpu7.example.org:8888/lab", "remote_port = 8888"),
            ("ssh gpu7", "http://gpu71:8888/lab", "remote_port = 8888, host = \"gpu71\""),
        ] {
            assert_eq!(shown(line, url), (section.to_owned(), vec![]), "{line} {url}");
        }
    }

    #[test]
    fn the_forward_that_leads_there_becomes_the_notebooks_own() {
        let there = "remote_port = 7000, local_port = 6000";
        for (line, url, section, left) in [
            ("ssh -L 6000:localhost:7000 h", "http://localhost:7000/", there, None),
            ("ssh -L localhost:6000:127.0.0.1:7000 h", "http://localhost:6000/", there, None),
            (
                "ssh -L 6000:gpu7:7000 h",
                "http://localhost:7000/",
                "remote_port = 7000",
                Some("6000:gpu7:7000"),
            ),
            (
                "ssh -L *:6000:localhost:7000 h",
                "http://localhost:7000/",
                "remote_port = 7000",
                Some("*:6000:localhost:7000"),
            ),
            ("ssh -L 1:localhost:2 h", "http://localhost:8888/", "remote_port = 8888", Some("1:localhost:2")),
        ] {
            let left: Vec<String> = left.into_iter().map(str::to_owned).collect();
            assert_eq!(shown(line, url), (section.to_owned(), left), "{line} {url}");
        }
    }
}
