//! `nbctl open`, `url`, `token` and `notebook`: what they ask, what they print, and that a token is shown to nobody but
//! whoever asked for it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nbtunnel_proto::{Fault, FaultCode, NotebookAsk, NotebookAt, Reply, Request, Secret};

use crate::support::{Bed, Daemon, Ran, write_program};

const TOKEN: &str = "s3cr3t-t0k3n";

/// Nobody sits at this machine.
const HEADLESS: [(&str, &str); 4] =
    [("BROWSER", ""), ("DISPLAY", ""), ("WAYLAND_DISPLAY", ""), ("WSL_DISTRO_NAME", "")];

fn alice() -> NotebookAt {
    NotebookAt {
        host: "localhost".into(),
        tunnel: "lab".into(),
        name: "alice".into(),
        local_port: 6000,
        https: false,
        base_url: "/user/alice/".into(),
        token: Some(Secret::new(TOKEN.into())),
        password: false,
        kind: "jupyter-server".into(),
        notes: vec!["its kernels are new".into()],
    }
}

fn daemon_with(bed: &Bed, at: NotebookAt) -> Daemon {
    bed.daemon(move |_| {
        let progress = ["looking for alice at host", "looking for alice at host", "alice answers"];
        let mut replies: Vec<Reply> =
            progress.iter().map(|text| Reply::Progress((*text).to_owned())).collect();
        replies.push(Reply::Notebook(Box::new(at.clone())));
        replies
    })
}

fn asked(daemon: &Daemon) -> NotebookAsk {
    match daemon.asked().last() {
        Some(Request::Notebook { name, ask }) if name == "alice" => *ask,
        other => panic!("{other:?}"),
    }
}

/// A browser that writes down how it was called, and leaves the rest to the test.
struct Browser {
    dir: tempfile::TempDir,
}

impl Browser {
    fn new() -> Browser {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" > '{0}/new'; tr '\\0' '\\n' < /proc/self/environ > '{0}/environ'\nmv '{0}/new' '{0}/called'\n",
            dir.path().display()
        );
        write_program(&dir.path().join("browser"), &script);
        Browser { dir }
    }

    fn program(&self) -> String {
        self.dir.path().join("browser").display().to_string()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The last word of its command line, when it was called.
    fn address(&self) -> (SocketAddr, String) {
        let called = wait_for_file(&self.file("called"));
        let address = called.lines().last().unwrap();
        let rest = address.strip_prefix("http://").unwrap();
        let (at, path) = rest.split_once('/').unwrap();
        (at.parse().unwrap(), format!("/{path}"))
    }
}

fn wait_for_file(path: &Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) => return text,
            Err(error) => assert!(Instant::now() < deadline, "{}: {error}", path.display()),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn fetch(at: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at)?;
    stream.write_all(format!("{request}\r\nHost: {at}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Runs `nbctl` with this browser, and `meanwhile` beside it.
fn beside(bed: &Bed, args: &[&str], browser: &str, meanwhile: impl FnOnce()) -> Ran {
    std::thread::scope(|scope| {
        let ran = scope.spawn(|| bed.nbctl_env(args, &[("BROWSER", browser)]));
        meanwhile();
        ran.join().unwrap()
    })
}

#[test]
fn a_browser_gets_there_once_and_its_command_line_tells_no_token() {
    let (bed, browser) = (Bed::new(), Browser::new());
    let daemon = daemon_with(&bed, alice());
    // A browser that is not there, and one that fails, are passed over.
    let browsers = format!("/nonexistent/firefox:false:{} --new-window %s", browser.program());
    let ran = beside(&bed, &["open", "alice", "--lab"], &browsers, || {
        let (at, path) = browser.address();
        assert!(at.ip().is_loopback() && path.len() == 33, "{at}{path}");
        for wrong in [
            "GET / HTTP/1.1".to_owned(),
            "GET /favicon.ico HTTP/1.1".to_owned(),
            format!("GET {path}/ HTTP/1.1"),
            format!("HEAD {path} HTTP/1.1"),
            format!("POST {path} HTTP/1.1"),
        ] {
            let answer = fetch(at, &wrong).unwrap();
            assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains(TOKEN), "{wrong}: {answer}");
        }
        // One that says nothing keeps nobody out.
        let _silent = TcpStream::connect(at).unwrap();
        let answer = fetch(at, &format!("GET {path} HTTP/1.1")).unwrap();
        assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
        let location = format!("Location: http://localhost:6000/user/alice/lab?token={TOKEN}\r\n");
        for header in [&location, "Referrer-Policy: no-referrer\r\n", "Cache-Control: no-store\r\n"] {
            assert!(answer.contains(header), "{answer}");
        }
        let again = fetch(at, &format!("GET {path} HTTP/1.1"));
        assert!(!again.is_ok_and(|answer| answer.contains("302")), "it is spent");
    });
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(asked(&daemon), NotebookAsk::Open);
    let called = std::fs::read_to_string(browser.file("called")).unwrap();
    assert!(called.starts_with("--new-window\nhttp://127.0.0.1:"), "{called}");
    let environ = std::fs::read_to_string(browser.file("environ")).unwrap();
    for shown in [&called, &environ, &ran.stdout, &ran.stderr] {
        assert!(!shown.contains(TOKEN), "{shown}");
    }
    assert_eq!(ran.stdout, "");
    let expected = "looking for alice at host\nalice answers\nnote: its kernels are new\n\
                    opened http://localhost:6000/user/alice/lab\n";
    assert_eq!(ran.stderr, expected);
}

#[cfg(target_os = "linux")]
#[test]
fn another_user_who_knows_the_address_is_not_let_in() {
    let (bed, browser) = (Bed::new(), Browser::new());
    if !Command::new("setpriv").args(["--reuid=65534", "--clear-groups", "true"]).status().unwrap().success()
    {
        assert!(!rustix_is_root(), "root can be anybody");
        return;
    }
    let _daemon = daemon_with(&bed, alice());
    let ran = beside(&bed, &["open", "alice"], &browser.program(), || {
        let (at, path) = browser.address();
        let script = format!(
            "exec 3<>/dev/tcp/{}/{}; printf 'GET {path} HTTP/1.1\\r\\n\\r\\n' >&3; cat <&3",
            at.ip(),
            at.port()
        );
        let stranger = ["--reuid=65534", "--clear-groups", "bash", "-c", &script];
        let output = Command::new("setpriv").args(stranger).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "a stranger gets no byte");
        let answer = fetch(at, &format!("GET {path} HTTP/1.1")).unwrap();
        assert!(answer.contains(TOKEN), "and spends nothing: {answer}");
    });
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[cfg(target_os = "linux")]
fn rustix_is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line.starts_with("Uid:\t0\t"))
}

#[test]
fn a_browser_that_cannot_be_had_is_said_and_so_is_what_to_do() {
    let bed = Bed::new();
    let _daemon = daemon_with(&bed, alice());
    let ran = bed.nbctl_env(&["open", "alice"], &[("BROWSER", "false:/nonexistent/x")]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("alice was not opened: false failed; /nonexistent/x cannot"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("`nbctl url alice`") && !ran.stderr.contains(TOKEN), "{}", ran.stderr);
    let ran = bed.nbctl_env(&["open", "alice"], &HEADLESS);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "http://localhost:6000/user/alice/\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("no browser here") && ran.stderr.contains("`nbctl url alice`"));
    let ran = bed.nbctl_env(&["open", "alice", "--no-browser", "--json"], &[("BROWSER", "false")]);
    let json = ran.json();
    assert_eq!(
        (json["opened"].as_bool(), ran.stdout.contains(TOKEN)),
        (Some(false), false),
        "{}",
        ran.stdout
    );
    let ran = bed.nbctl_env(&["open", "alice", "--print", "--tree"], &[("BROWSER", "false")]);
    assert_eq!(ran.stdout, format!("http://localhost:6000/user/alice/tree?token={TOKEN}\n"));
    assert_eq!(bed.nbctl(&["open", "alice", "--lab", "--tree"]).code, 2);
}

#[test]
fn url_and_token_print_what_they_are_asked_for_and_start_nothing() {
    let bed = Bed::new();
    let daemon = daemon_with(&bed, NotebookAt { https: true, ..alice() });
    let whole = format!("https://localhost:6000/user/alice/?token={TOKEN}");
    let ran = bed.nbctl(&["-q", "url", "alice"]);
    assert_eq!((ran.code, ran.stdout, ran.stderr), (0, format!("{whole}\n"), String::new()));
    assert_eq!(asked(&daemon), NotebookAsk::Find);
    let ran = bed.nbctl(&["token", "alice"]);
    assert_eq!((ran.code, ran.stdout), (0, format!("{TOKEN}\n")));
    assert_eq!(asked(&daemon), NotebookAsk::Find);
    let json = bed.nbctl(&["url", "alice", "--json"]).json();
    assert_eq!((json["url"].as_str(), json["token"].as_str()), (Some(whole.as_str()), Some(TOKEN)));
    assert_eq!(bed.nbctl(&["token", "alice", "--json"]).json()["token"], TOKEN);
}

#[test]
fn a_server_without_a_token_needs_you() {
    let bed = Bed::new();
    let daemon = daemon_with(&bed, NotebookAt { token: None, password: true, ..alice() });
    for command in ["url", "token"] {
        let ran = bed.nbctl(&[command, "alice"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("alice asks for a password and has no token"), "{}", ran.stderr);
        let json = bed.nbctl(&[command, "alice", "--json"]).json();
        assert_eq!(json["error"]["code"], "needs_you");
        assert_eq!(json["url"], "http://localhost:6000/user/alice/");
    }
    drop(daemon);
    // It may need none at all.
    let _daemon = daemon_with(&bed, NotebookAt { token: None, ..alice() });
    assert_eq!(bed.nbctl(&["token", "alice"]).code, 4);
    let ran = bed.nbctl(&["url", "alice"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "http://localhost:6000/user/alice/\n"));
}

#[test]
fn what_the_daemon_says_of_a_name_is_passed_on() {
    let bed = Bed::new();
    let _daemon = bed.daemon(|_| {
        let hint = "say lab/alice or home/alice";
        let fault = Fault::new(FaultCode::Usage, "two tunnels have a notebook alice: lab and home", hint);
        vec![Reply::Progress("looking".into()), Reply::Fault(fault)]
    });
    for command in [&["open"][..], &["url"], &["token"], &["notebook", "stop"]] {
        let ran = bed.nbctl(&[command, &["alice"]].concat());
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("error: two tunnels have") && ran.stderr.contains("say lab/alice"));
    }
}

#[test]
fn a_server_is_stopped_restarted_and_read() {
    let bed = Bed::new();
    let daemon = bed.daemon(|request| match request {
        Request::Notebook { ask: NotebookAsk::Stop, .. } => vec![Reply::Done],
        Request::Notebook { ask: NotebookAsk::Restart, .. } => {
            vec![Reply::Progress("ending it".into()), Reply::Notebook(Box::new(alice()))]
        }
        Request::Notebook { ask: NotebookAsk::Log { .. }, .. } => {
            vec![Reply::Text("Serving at /home\n\x1b[31mport is taken\n".into())]
        }
        other => panic!("{other:?}"),
    });
    let ran = bed.nbctl(&["notebook", "stop", "alice"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "alice is stopped\n"));
    let ran = bed.nbctl(&["notebook", "restart", "alice"]);
    assert!(
        ran.code == 0 && ran.stderr.contains("runs anew at http://localhost:6000/user/alice/"),
        "{}",
        ran.stderr
    );
    let ran = bed.nbctl(&["notebook", "log", "alice", "-n", "7"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "Serving at /home\n [31mport is taken\n"));
    assert_eq!(asked(&daemon), NotebookAsk::Log { lines: 7 });
    assert_eq!(bed.nbctl(&["notebook"]).code, 2);
}
