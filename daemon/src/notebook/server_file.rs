//! What a server writes down of itself: `jpserver-PID.json`, `nbserver-PID.json`. Read strictly: whatever is used of
//! it goes into a URL, a header, or a message.

use nbtunnel_proto::Secret;
use serde::Deserialize;

/// The longest base URL that is believed.
const LONGEST_PATH: usize = 512;

/// What stands in such a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ServerFile {
    /// The address that it was told to listen on.
    pub(super) hostname: String,
    pub(super) port: u16,
    pub(super) https: bool,
    /// It begins and ends with a slash.
    pub(super) base_url: String,
    /// None where everybody may come in, and where it is not told.
    pub(super) token: Option<Secret>,
    pub(super) root_dir: Option<String>,
    pub(super) pid: Option<u32>,
    /// It is notebook 6 or older.
    pub(super) classic: bool,
}

/// Why a file tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// No server wrote it so.
    Malformed,
    /// No server writes so much.
    Huge,
    /// It listens on a Unix socket.
    Socket,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    hostname: String,
    port: u32,
    #[serde(default)]
    secure: bool,
    base_url: String,
    #[serde(default)]
    token: Option<String>,
    root_dir: Option<String>,
    notebook_dir: Option<String>,
    pid: Option<u32>,
    #[serde(default)]
    sock: String,
}

/// Reads one file.
pub(super) fn read(bytes: &[u8]) -> Result<ServerFile, Unfit> {
    let raw: Raw = serde_json::from_slice(bytes).map_err(|_| Unfit::Malformed)?;
    raw.checked()
}

/// Reads what `jupyter server list --jsonlist` prints, or `jupyter notebook list --json`: a list, or an object a line.
pub(super) fn listed(bytes: &[u8]) -> Vec<ServerFile> {
    let together: Option<Vec<Raw>> = serde_json::from_slice(bytes).ok();
    let each = || bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let raw = together.unwrap_or_else(|| each().collect());
    raw.into_iter().filter_map(|raw| raw.checked().ok()).collect()
}

impl Raw {
    fn checked(self) -> Result<ServerFile, Unfit> {
        let token = self.token.filter(|token| !token.is_empty()).map(Secret::new);
        if !self.sock.is_empty() {
            return Err(Unfit::Socket);
        }
        let port = u16::try_from(self.port).ok().filter(|port| *port != 0).ok_or(Unfit::Malformed)?;
        let base_url = base_url(&self.base_url).ok_or(Unfit::Malformed)?;
        if token.as_ref().is_some_and(|token| !is_token(token.expose())) || !is_plain(&self.hostname, 255) {
            return Err(Unfit::Malformed);
        }
        // Only shown, and compared.
        let root_dir =
            self.root_dir.or(self.notebook_dir).filter(|dir| !dir.is_empty() && is_plain(dir, 4096));
        Ok(ServerFile {
            hostname: self.hostname,
            port,
            https: self.secure,
            base_url,
            token,
            classic: false,
            root_dir,
            pid: self.pid.filter(|pid| *pid > 1),
        })
    }
}

/// Whether a token can stand in a header.
pub(super) fn is_token(token: &str) -> bool {
    !token.is_empty() && token.len() <= 2048 && token.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// The path under which a server's pages lie, if it is one that cannot lead elsewhere.
pub(super) fn base_url(path: &str) -> Option<String> {
    let usual = |byte: u8| byte.is_ascii_graphic() && !b"\"'<>\\^`{|}?#;".contains(&byte);
    let path = if path.is_empty() { "/" } else { path };
    let lower = path.to_ascii_lowercase();
    let hidden = ["%2e", "%2f", "%5c", "%00", "%0a", "%0d"].iter().any(|code| lower.contains(code));
    let dots = path.split('/').any(|part| part == "." || part == "..");
    let fits = path.len() <= LONGEST_PATH && path.starts_with('/') && !path.contains("//");
    if !fits || hidden || dots || !path.bytes().all(usual) {
        return None;
    }
    Some(if path.ends_with('/') { path.to_owned() } else { format!("{path}/") })
}

fn is_plain(text: &str, longest: usize) -> bool {
    text.len() <= longest && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"base_url": "/", "hostname": "localhost", "password": false, "pid": 77, "port": 8888,
        "root_dir": "/home/me", "secure": false, "sock": "", "token": "abc", "url": "http://localhost:8888/",
        "version": "2.21.1"}"#;

    #[test]
    fn what_servers_write_is_read() {
        let file = read(GOOD.as_bytes()).unwrap();
        assert_eq!((file.port, file.pid, file.https, &*file.base_url), (8888, Some(77), false, "/"));
        assert_eq!(file.token.as_ref().map(Secret::expose), Some("abc"));
        assert_eq!(file.root_dir.as_deref(), Some("/home/me"));
        assert!(!format!("{file:?}").contains("abc"));
        let listed = |text: &str| listed(text.as_bytes()).len();
        assert_eq!(listed(&format!("[{GOOD}, {GOOD}]")), 2);
        let line = GOOD.replace('\n', " ");
        assert_eq!(listed(&format!("{line}\nnoise\n{line}\n")), 2);
        assert_eq!(listed(""), 0);
    }

    #[test]
    fn what_no_server_writes_is_refused() {
        let swapped = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "{from}");
            read(GOOD.replacen(from, to, 1).as_bytes())
        };
        for port in ["0", "65536", "99999", "-1", "\"8888\"", "1e3", "null", "8888.5"] {
            assert_eq!(swapped("8888", port), Err(Unfit::Malformed), "{port}");
        }
        for path in [
            "alice",
            "//evil",
            "/a//b",
            "/../",
            "/a/..",
            "/./",
            "/a\\r\\nX: y",
            "/a b",
            "/a?b",
            "/a#b",
            "/a\\\\b",
            "/%2e%2e/",
            "/%2F",
            "/%0d%0a",
            "/ü/",
            "/a\\u0000",
            "http://evil/",
            "/<x>",
            "/\\\"",
        ] {
            assert_eq!(swapped("\"/\"", &format!("\"{path}\"")), Err(Unfit::Malformed), "{path}");
        }
        assert_eq!(swapped("\"/\"", &format!("\"/{}\"", "a".repeat(600))), Err(Unfit::Malformed));
        for token in ["a\\r\\nX: y", "a\\u0000", "é", &"a".repeat(3000)] {
            assert_eq!(swapped("abc", token), Err(Unfit::Malformed), "{token}");
        }
        assert_eq!(swapped("\"sock\": \"\"", "\"sock\": \"/run/x\""), Err(Unfit::Socket));
        assert_eq!(swapped("localhost", "local\\u001bhost"), Err(Unfit::Malformed));
        assert_eq!(swapped("\"secure\": false", "\"secure\": \"no\""), Err(Unfit::Malformed));
        assert_eq!(swapped("/home/me", "/home/\\u0007").unwrap().root_dir, None);
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        for text in ["", "null", "[]", "{}", "\u{1}", &deep, &GOOD[..40]] {
            assert_eq!(read(text.as_bytes()), Err(Unfit::Malformed));
        }
    }

    #[test]
    fn base_urls_end_with_a_slash() {
        assert_eq!(base_url("/user/me@x").as_deref(), Some("/user/me@x/"));
        assert_eq!(base_url("").as_deref(), Some("/"));
        assert_eq!(base_url("/~me/%40/").as_deref(), Some("/~me/%40/"));
    }
}
