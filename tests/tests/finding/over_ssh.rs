//! The same over a session with a real sshd.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nbtunnel_core::{FailureKind, HostKeyPolicy, Policy, Route, SshConfig};
use nbtunnel_proto::Secret;
use nbtunnel_tests::jupyter::{Recipe, Stranger};
use nbtunnel_tests::wait::SOON;
use nbtunnel_tests::{Sshd, net};
use nbtunneld::forward::far_side::FarSide;
use nbtunneld::notebook::{self, Checked, Health, Wanted};
use nbtunneld::ssh::{Account, AgentAt, Link, LinkEvent, Links};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::{on, token};

/// A link that is up; it ends with the value.
struct Up {
    _link: Link,
    _policy: watch::Sender<Policy>,
    far: Arc<dyn FarSide>,
}

async fn log_in(sshd: &Sshd) -> Result<Up> {
    let route = Route {
        port: Some(sshd.port()),
        user: Some(sshd.user().to_owned()),
        identity_files: Some(vec![sshd.user_key()]),
        known_hosts: Some(vec![sshd.known_hosts()]),
        host_key: Some(HostKeyPolicy::Strict),
        ssh_config: SshConfig::Nothing,
        ..Route::to("127.0.0.1")
    };
    let account = Account { home: "/nonexistent".into(), user: "u".into() };
    let links = Links::new(Handle::current(), nbtunneld::wake::stopwatch(), AgentAt::Nowhere, account);
    let policy = watch::Sender::new(Policy::default());
    let (tell, mut told) = mpsc::unbounded_channel();
    let on_event = Arc::new(move |event| drop(tell.send(event)));
    let link = links.spawn_link("test", route, policy.subscribe(), None, on_event);
    let carrier = tokio::time::timeout(Duration::from_secs(30), async {
        while let Some(event) = told.recv().await {
            if let LinkEvent::Carrier(carrier) = event {
                return Some(carrier);
            }
        }
        None
    });
    let far: Arc<dyn FarSide> = carrier.await?.with_context(|| sshd.log())?;
    Ok(Up { _link: link, _policy: policy, far })
}

/// What is found in the end, asked for while all else goes on.
async fn holds<T>(what: &str, find: impl AsyncFn() -> Option<T>) -> Result<T> {
    let asking = async {
        loop {
            match find().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(16)).await,
            }
        }
    };
    tokio::time::timeout(SOON, asking).await.with_context(|| format!("waited in vain: {what}"))
}

fn with_runtime<T>(test: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(test)
}

#[test]
fn a_server_is_found_verified_and_well_and_a_stranger_is_told_nothing() -> Result<()> {
    let mut server = Recipe::new().https().base_url("/me/").start()?;
    let sshd = Sshd::with(&[&format!("SetEnv JUPYTER_RUNTIME_DIR={}", server.runtime_dir().display())])?;
    with_runtime(async {
        let up = log_in(&sshd).await?;
        let seen =
            notebook::find(up.far.clone(), &Wanted::any()).await.map_err(|why| anyhow::anyhow!("{why}"))?;
        assert_eq!((seen.port, token(&seen)), (server.port(), Some(server.token())));
        assert_eq!((seen.checked, seen.self_signed, &*seen.base_url), (Checked::Mine, true, "/me/"));
        assert_eq!(notebook::verify(up.far.clone(), &seen).await, Ok(()));
        assert!(matches!(notebook::look(up.far.clone(), &seen).await, Health::Fine(_)));

        server.kill()?;
        let health = notebook::look(up.far.clone(), &seen).await;
        assert_eq!(health.words(), format!("ssh ok · port refused (no server on {})", seen.port));
        let stranger = Stranger::on(server.port())?;
        let verified = notebook::verify(up.far.clone(), &seen).await;
        assert_eq!(verified.map_err(|why| why.kind), Err(FailureKind::NotYours));
        let wanted = Wanted { token: seen.token.clone(), ..on(server.port()) };
        let found = notebook::find(up.far.clone(), &wanted).await;
        assert_eq!(found.map_err(|why| why.kind), Err(FailureKind::NotYours));
        assert!(!stranger.heard().contains("GET"), "{}", stranger.heard());
        Ok(())
    })
}

#[test]
fn where_no_further_program_may_run_at_a_time_a_stranger_is_told_nothing_either() -> Result<()> {
    let port = net::free_port()?;
    let stranger = Stranger::on(port)?;
    let sshd = Sshd::with(&["MaxSessions 1"])?;
    with_runtime(async {
        let up = log_in(&sshd).await?;
        let pid = sshd.path("pid");
        let hangs = format!("sleep 600 & echo $! >{}; wait", pid.display());
        let hung = tokio::spawn(up.far.clone().run(hangs, SOON));
        let sleeper: u32 =
            holds("it hangs", async || std::fs::read_to_string(&pid).ok()?.trim().parse().ok()).await?;
        hung.abort();
        let wanted = Wanted { token: Some(Secret::new("ours".to_owned())), ..on(port) };
        let found = notebook::find(up.far.clone(), &wanted).await;
        assert_eq!(found.map_err(|why| why.kind), Err(FailureKind::Refused));
        nbtunnel_tests::child::signal_pid(sleeper, nbtunnel_tests::child::Signal::Kill)?;
        // Once it is gone, it is seen whose the port is.
        let found = holds("a program may run again", async || {
            let found = notebook::find(up.far.clone(), &wanted).await.map_err(|why| why.kind);
            assert_eq!(stranger.heard(), "");
            (found != Err(FailureKind::Refused)).then_some(found)
        });
        assert_eq!(found.await?, Err(FailureKind::NotYours));
        assert_eq!(stranger.heard(), "");
        Ok(())
    })
}

#[test]
fn where_no_program_may_run_a_port_and_a_token_of_ours_are_enough() -> Result<()> {
    let server = Recipe::new().start()?;
    let sshd = Sshd::with(&["ForceCommand /bin/false"])?;
    with_runtime(async {
        let up = log_in(&sshd).await?;
        let given = Wanted { token: Some(Secret::new(server.token().to_owned())), ..on(server.port()) };
        let seen = notebook::find(up.far.clone(), &given).await.map_err(|why| anyhow::anyhow!("{why}"))?;
        assert_eq!((seen.checked, seen.token_problem.is_none()), (Checked::NotReadable, true));
        assert_eq!(notebook::verify(up.far.clone(), &seen).await, Ok(()));
        let found = notebook::find(up.far.clone(), &Wanted::any()).await;
        assert_eq!(found.map_err(|why| why.kind), Err(FailureKind::NoShell));
        let free = net::free_port()?;
        let found = notebook::find(up.far, &on(free)).await;
        assert_eq!(found.map_err(|why| why.kind), Err(FailureKind::NotebookMissing));
        Ok(())
    })
}
