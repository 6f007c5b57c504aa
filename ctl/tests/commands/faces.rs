//! `--lab`, `--notebook` and `--tree`, where the server has them and where it does not.

use std::io::{Read, Write};
use std::net::TcpListener;

use nbtunnel_proto::{NotebookAt, Reply, Secret};

use crate::support::{Bed, Daemon, Ran};

fn daemon(bed: &Bed, at: NotebookAt) -> Daemon {
    bed.daemon(move |_| vec![Reply::Notebook(Box::new(at.clone()))])
}

fn alice(local_port: u16) -> NotebookAt {
    NotebookAt {
        host: "127.0.0.1".into(),
        tunnel: "lab".into(),
        name: "alice".into(),
        local_port,
        https: false,
        base_url: "/team/".into(),
        token: Some(Secret::new("t0k3n".into())),
        password: false,
        kind: "notebook6".into(),
        notes: vec![],
    }
}

/// Runs nbctl beside a server that answers with this; what it was asked as well.
fn beside(answer: &str, args: &[&str]) -> (Ran, String, u16) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let bed = Bed::new();
    let _daemon = daemon(&bed, alice(port));
    std::thread::scope(|scope| {
        let asked = scope.spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        let ran = bed.nbctl(args);
        (ran, asked.join().unwrap(), port)
    })
}

#[test]
fn a_page_that_is_not_there_is_said_and_the_servers_own_is_shown() {
    for (face, what) in [
        ("--lab", "JupyterLab"),
        ("--tree", "page of Jupyter Notebook"),
        ("--notebook", "page of Jupyter Notebook"),
    ] {
        for command in [&["open", "alice", "--print"][..], &["url", "alice"]] {
            let args = [command, &[face]].concat();
            let (ran, asked, port) = beside("HTTP/1.1 404 Not Found\r\n\r\n", &args);
            assert_eq!(ran.stdout, format!("http://127.0.0.1:{port}/team/?token=t0k3n\n"), "{}", ran.stderr);
            assert!(ran.stderr.contains(&format!("has no {what}")), "{}", ran.stderr);
            let path = if face == "--lab" { "lab" } else { "tree" };
            assert!(asked.starts_with(&format!("GET /team/{path} HTTP/1.1\r\n")), "{asked}");
            assert!(asked.contains(&format!("\r\nHost: 127.0.0.1:{port}\r\n")), "{asked}");
            assert!(asked.contains("\r\nAuthorization: token t0k3n\r\n"), "{asked}");
        }
    }
    let (ran, ..) = beside("HTTP/1.1 404 Not Found\r\n\r\n", &["--json", "url", "alice", "--lab"]);
    assert!(ran.json()["notes"][0].as_str().unwrap().contains("JupyterLab"), "{}", ran.stdout);
}

#[test]
fn whatever_else_the_server_answers_its_page_is_shown() {
    for answer in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 302 Found\r\n\r\n",
        "HTTP/1.1 403 404\r\n\r\n",
        "",
        "\r\n\r\n404 404 404",
    ] {
        for (face, path) in [("--lab", "lab"), ("--notebook", "tree"), ("--tree", "tree")] {
            let (ran, _, port) = beside(answer, &["url", "alice", face]);
            let url = format!("http://127.0.0.1:{port}/team/{path}?token=t0k3n\n");
            assert_eq!((ran.stdout, ran.stderr.as_str()), (url, ""), "{answer}");
        }
    }
}

#[test]
fn behind_https_it_goes_by_the_kind_of_the_server() {
    for (kind, face, path) in
        [("notebook6", "--lab", ""), ("notebook6", "--tree", "tree"), ("jupyter-server", "--lab", "lab")]
    {
        let bed = Bed::new();
        let _daemon = daemon(&bed, NotebookAt { https: true, kind: kind.into(), ..alice(1) });
        let ran = bed.nbctl(&["url", "alice", face]);
        assert_eq!(ran.stdout, format!("https://127.0.0.1:1/team/{path}?token=t0k3n\n"), "{kind} {face}");
        assert_eq!(ran.stderr.contains("has no JupyterLab"), path.is_empty(), "{}", ran.stderr);
    }
}
