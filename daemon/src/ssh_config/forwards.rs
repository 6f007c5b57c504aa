//! Forwards as `ssh -G` prints them, turned into the grammar of `ssh -L`, `-R` and `-D`.
//!
//! It prints `LISTEN TARGET`, where LISTEN is `port`, `[address]:port` or a path. A target `[socks]:0` is a remote
//! forward that speaks SOCKS. OpenSSH prints a local forward to a socket a second time, as if it were dynamic.

/// The three kinds, in the grammar of their options.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Forwards {
    pub(super) local: Vec<String>,
    pub(super) remote: Vec<String>,
    pub(super) dynamic: Vec<String>,
}

/// `gateway` is GatewayPorts: what names no address listens on every one.
pub(super) fn read(local: &[&str], remote: &[&str], dynamic: &[&str], gateway: bool) -> Forwards {
    let mut forwards = Forwards::default();
    let mut twice: Vec<&str> = Vec::new();
    for line in local {
        let (listen, target) = split(line);
        if !target.starts_with('[') {
            twice.push(listen);
        }
        forwards.local.push(format!("{}:{}", opened(listen, gateway), place(target)));
    }
    for line in remote {
        let (listen, target) = split(line);
        match target {
            "[socks]:0" => forwards.remote.push(place(listen)),
            _ => forwards.remote.push(format!("{}:{}", place(listen), place(target))),
        }
    }
    for listen in dynamic {
        match twice.iter().position(|other| other == listen) {
            Some(at) => drop(twice.swap_remove(at)),
            None => forwards.dynamic.push(opened(listen, gateway)),
        }
    }
    forwards
}

/// Where the target begins. Only a path can have spaces, and they are not quoted.
fn split(line: &str) -> (&str, &str) {
    let in_path = line.starts_with(|c: char| c != '[' && !c.is_ascii_digit());
    let at = match in_path {
        false => line.find(' '),
        true => line.rfind(" [").or_else(|| line.rfind(" /")).or_else(|| line.rfind(' ')),
    };
    match at {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, ""),
    }
}

fn opened(listen: &str, gateway: bool) -> String {
    let shown = place(listen);
    if gateway && !shown.is_empty() && shown.bytes().all(|b| b.is_ascii_digit()) {
        format!("*:{shown}")
    } else {
        shown
    }
}

/// A port, an address and a port, or a path: with brackets only where they are needed.
fn place(text: &str) -> String {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|inner| inner.rsplit_once(']')) {
        return match host {
            "" => format!("*{rest}"),
            _ if host.contains(':') => text.to_owned(),
            _ => format!("{host}{rest}"),
        };
    }
    if text.contains('/') && text.contains(':') { format!("[{text}]") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_prints_becomes_what_its_options_take() {
        let local = [
            "6000 [localhost]:7000",
            "[*]:6001 [::1]:7000",
            "[]:80 [a]:1",
            "[::1]:6002 /run/x.sock",
            "/tmp/a /tmp/b",
            "[127.0.0.1]:6003 [host.x]:80",
            "/tmp/with space [h]:80",
            "/tmp/a:b [h]:80",
        ];
        let remote = [
            "9000 [localhost]:22",
            "9001 [socks]:0",
            "[127.0.0.1]:9002 [socks]:0",
            "0 [localhost]:1",
            "/tmp/rs /tmp/ls",
            "[]:9 [a]:2",
        ];
        let dynamic = ["[::1]:6002", "/tmp/a", "1080", "[localhost]:1081", "[*]:1082"];
        let found = read(&local, &remote, &dynamic, false);
        assert_eq!(
            found.local,
            [
                "6000:localhost:7000",
                "*:6001:[::1]:7000",
                "*:80:a:1",
                "[::1]:6002:/run/x.sock",
                "/tmp/a:/tmp/b",
                "127.0.0.1:6003:host.x:80",
                "/tmp/with space:h:80",
                "[/tmp/a:b]:h:80",
            ]
        );
        assert_eq!(
            found.remote,
            ["9000:localhost:22", "9001", "127.0.0.1:9002", "0:localhost:1", "/tmp/rs:/tmp/ls", "*:9:a:2"]
        );
        assert_eq!(found.dynamic, ["1080", "localhost:1081", "*:1082"]);
        for forward in &found.local {
            forward.parse::<nbtunnel_core::ForwardSpec>().unwrap();
        }
    }

    #[test]
    fn gateway_ports_open_what_names_no_address() {
        let found =
            read(&["6000 [h]:1", "[localhost]:6001 [h]:1", "/s [h]:1"], &["9 [h]:1"], &["1080"], true);
        assert_eq!(found.local, ["*:6000:h:1", "localhost:6001:h:1", "/s:h:1"]);
        assert_eq!((found.remote, found.dynamic), (vec!["9:h:1".into()], vec!["*:1080".into()]));
    }
}
