//! Servers that are started from here, and ended.

use std::net::TcpStream;
use std::thread;

use anyhow::{Context, Result};
use nbtunnel_tests::child::{Signal, signal_pid};
use nbtunnel_tests::jupyter::Stranger;
use nbtunnel_tests::{http, net, programs, wait};

use super::lab::Lab;

/// A section whose server is a real one.
fn section() -> String {
    let jupyter = programs::repository().join("target/jupyter/bin/jupyter");
    let start = format!("{} server --no-browser --allow-root --port={{port}}", jupyter.display());
    format!("[notebook.alice]\nfind = \"auto\"\nstart = \"{start}\"\n")
}

#[test]
fn ten_who_open_it_at_once_start_one_server_which_outlives_the_session_until_it_is_stopped() -> Result<()> {
    let lab = Lab::new(&section())?;
    lab.world.wait_for("lab", "up")?;
    let told: Vec<_> = thread::scope(|scope| {
        let open = || lab.nbctl(&["open", "alice", "--print"]);
        let all: Vec<_> = (0..10).map(|_| scope.spawn(open)).collect();
        all.into_iter().map(|one| one.join().expect("no panic")).collect::<Result<_>>()
    })?;
    for one in &told {
        assert_eq!((one.code, &one.stdout), (0, &told[0].stdout), "{one:?}");
    }
    assert_eq!(lab.servers().len(), 1, "{:?}", lab.servers());
    let (port, token) = (lab.port("alice")?, lab.says("token", "alice")?);
    let headers = [("Authorization", format!("token {token}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(http::get(port, "/api/status", &headers, wait::SOON)?.status, 200);

    assert!(lab.sshd.kill_sessions() > 0);
    lab.world.wait_until("lab", "the tunnel is back", |tunnel| tunnel["reconnects"].as_u64() >= Some(1))?;
    assert_eq!(http::get(port, "/api/status", &headers, wait::SOON)?.status, 200);
    assert_eq!(lab.says("token", "alice")?, token);

    let log = lab.nbctl(&["notebook", "log", "alice"])?;
    assert!(log.code == 0 && log.stdout.contains("Jupyter Server"), "{log:?}");
    assert!(!log.stdout.contains(&token), "{log:?}");

    let told = lab.nbctl(&["notebook", "restart", "alice"])?;
    assert_eq!(told.code, 0, "{told:?}");
    assert_ne!(lab.says("token", "alice")?, token);
    assert_eq!(lab.port("alice")?, port);

    let told = lab.nbctl(&["notebook", "stop", "alice"])?;
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(lab.servers(), Vec::<u32>::new());
    let told = lab.nbctl(&["url", "alice"])?;
    assert_eq!(told.code, 1, "{told:?}");
    Ok(())
}

#[test]
fn a_command_that_ends_while_it_is_waited_for_is_told_then_and_not_when_patience_is_over() -> Result<()> {
    let start = "sleep 5; echo the licence of this lab is over >&2; exit 3";
    let lab = Lab::new(&format!("[notebook.alice]\nfind = \"auto\"\nstart = \"{start}\"\n"))?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.stderr.contains("status 3: the licence of this lab is over"), "{told:?}");
    assert!(!told.stderr.contains("not there after"), "{told:?}");
    Ok(())
}

#[test]
fn a_command_that_ends_at_once_is_told_with_its_last_words() -> Result<()> {
    let start = "echo the licence of this lab is over >&2; exit 3";
    let lab = Lab::new(&format!("[notebook.alice]\nfind = \"auto\"\nstart = \"{start}\"\n"))?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.stderr.contains("the licence of this lab is over"), "{told:?}");
    let alice = lab.until("alice", "it is told", |notebook| notebook["problem"].is_object())?;
    let message = alice["problem"]["message"].as_str().context("no message")?;
    assert!(message.contains("the licence"), "{alice:#}");
    Ok(())
}

#[test]
fn two_that_look_for_whatever_runs_and_start_are_two_notebooks() -> Result<()> {
    let lab = Lab::new(&format!("{}{}", section(), section().replace("alice", "bob")))?;
    for (name, servers) in [("alice", 1), ("bob", 2)] {
        let told = lab.nbctl(&["open", name, "--print"])?;
        assert_eq!((told.code, lab.servers().len()), (0, servers), "{told:?}");
    }
    let (alice, bob) = (lab.says("token", "alice")?, lab.says("token", "bob")?);
    assert_ne!(alice, bob);
    let told = lab.nbctl(&["notebook", "stop", "alice"])?;
    assert_eq!((told.code, lab.servers().len()), (0, 1), "{told:?}");
    let told = lab.nbctl(&["notebook", "stop", "alice"])?;
    assert_eq!((told.code, lab.servers().len()), (0, 1), "what is left is Bob's: {told:?}");
    assert_eq!(lab.says("token", "bob")?, bob);

    // Who starts none may use it, and does not end it.
    let text = std::fs::read_to_string(lab.world.tunnel_path("lab"))?;
    lab.world.write_text(
        "lab",
        format!("{text}[notebook.carol]\nfind = \"auto\"\nlocal_port = {}\n", net::free_port()?),
    )?;
    lab.found("carol")?;
    let told = lab.nbctl(&["notebook", "stop", "carol"])?;
    assert_eq!((told.code, lab.servers().len()), (1, 1), "{told:?}");
    assert!(told.stderr.contains("was started for another notebook"), "{told:?}");

    // Somebody starts one in a terminal of Bob's notebook: that is nobody's in particular.
    let environment = std::fs::read(format!("/proc/{}/environ", lab.servers()[0]))?;
    let environment = String::from_utf8_lossy(&environment);
    let of_bob = environment.split('\0').filter_map(|one| one.split_once('='));
    let marks = of_bob.filter(|(name, _)| name.starts_with("NBTUNNEL_"));
    let by_hand = marks.fold(lab.recipe(), |recipe, (name, value)| recipe.env(name, value)).start()?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    assert_eq!((told.code, lab.servers().len()), (0, 2), "{told:?}");
    assert_eq!(lab.says("token", "alice")?, by_hand.token());
    Ok(())
}

#[test]
fn what_nothing_can_start_again_is_not_ended_for_a_restart() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let jupyter = lab.recipe().start()?;
    lab.found("alice")?;
    let told = lab.nbctl(&["notebook", "restart", "alice"])?;
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.stderr.contains("nothing says how the server of alice is started"), "{told:?}");
    assert!(TcpStream::connect(("127.0.0.1", jupyter.port())).is_ok());
    Ok(())
}

#[test]
fn a_server_that_hangs_is_stopped_though_it_answers_nothing() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let jupyter = lab.recipe().start()?;
    lab.found("alice")?;
    signal_pid(jupyter.pid(), Signal::Stop)?;
    let told = lab.nbctl(&["notebook", "stop", "alice"])?;
    assert_eq!(told.code, 0, "{told:?}");
    wait::until("nobody listens there", wait::SOON, || {
        TcpStream::connect(("127.0.0.1", jupyter.port())).is_err()
    })
}

#[test]
fn on_a_strangers_port_nothing_is_said_to_be_stopped() -> Result<()> {
    let port = net::free_port()?;
    let lab = Lab::new(&format!("[notebook.alice]\nremote_port = {port}\n"))?;
    lab.world.wait_for("lab", "up")?;
    let _stranger = Stranger::on(port)?;
    let told = lab.nbctl(&["notebook", "stop", "alice"])?;
    assert_ne!(told.code, 0, "{told:?}");
    assert!(told.stderr.contains("belongs to another user"), "{told:?}");
    Ok(())
}

#[test]
fn a_server_that_its_login_files_have_write_elsewhere_is_found() -> Result<()> {
    let elsewhere = tempfile::tempdir()?;
    let command = format!("export JUPYTER_RUNTIME_DIR={}; ", elsewhere.path().display());
    let lab = Lab::new(&section().replace("start = \"", &format!("start = \"{command}")))?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    let stopped = lab.nbctl(&["notebook", "stop", "alice"])?;
    assert_eq!((told.code, stopped.code), (0, 0), "{told:?} {stopped:?}");
    Ok(())
}
