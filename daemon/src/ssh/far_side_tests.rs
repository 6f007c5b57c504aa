use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::forward::Carrier;
use crate::ssh::AgentAt;
use crate::ssh::testbed::{Sshd, Watched, free_port, links, start, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// An sshd with these lines, and a link to it.
async fn up(extra: &str) -> (Sshd, Watched) {
    let sshd = Sshd::start("ed25519", extra);
    let mut link = start(&links(AgentAt::Nowhere), sshd.route());
    link.up().await;
    (sshd, link)
}

fn far(link: &Watched) -> Arc<dyn FarSide> {
    let carrier: Arc<dyn Carrier> = link.carrier.clone().unwrap();
    carrier
}

async fn run(link: &Watched, script: &str) -> Result<Ran, Failure> {
    far(link).run(script.to_owned(), PATIENCE).await
}

fn output(ran: &Ran) -> &str {
    std::str::from_utf8(&ran.output).unwrap()
}

#[tokio::test]
async fn a_script_gives_its_output_its_errors_and_its_status() {
    let (_sshd, link) = up("").await;
    let ran = run(&link, "echo one; printf two\necho bad >&2\nexit 7").await.unwrap();
    assert_eq!((output(&ran), &*ran.errors, ran.status), ("one\ntwo", "bad", Some(7)));
    let ran = run(&link, "# only a comment").await.unwrap();
    assert_eq!((output(&ran), ran.status), ("", Some(0)));
    // What reads the standard input does not read the script.
    let ran = run(&link, "cat\necho still here").await.unwrap();
    assert_eq!((output(&ran), ran.status), ("still here\n", Some(0)));
    // A shell that cannot read it says so.
    let ran = run(&link, "if").await.unwrap();
    assert!(ran.status != Some(0), "{ran:?}");
    let ran = run(&link, "kill -9 $$").await.unwrap();
    assert_eq!(ran.status, None);
}

#[tokio::test]
async fn any_login_shell_and_whatever_it_prints_will_do() {
    let within = "echo welcome; echo oops >&2; sh -c \"$SSH_ORIGINAL_COMMAND\"; echo bye; echo bye >&2";
    for shell in ["tcsh -c \"$SSH_ORIGINAL_COMMAND\"", "fish -c \"$SSH_ORIGINAL_COMMAND\"", within] {
        let (_sshd, link) = up(&format!("ForceCommand {shell}")).await;
        let script = "case $((1 + 1)) in 2) echo \"it's ${0}\" ;; esac\necho e >&2\nfalse";
        let ran = run(&link, script).await.unwrap();
        assert_eq!((output(&ran), &*ran.errors, ran.status), ("it's sh\n", "e", Some(1)), "{shell}");
    }
}

#[tokio::test]
async fn what_a_script_leaves_running_is_not_waited_for() {
    let (sshd, link) = up("").await;
    let pid = sshd.at("pid");
    // It holds the output open.
    let ran = run(&link, &format!("sleep 600 & echo $! >{}; echo started", pid.display())).await.unwrap();
    assert_eq!(output(&ran), "started\n");
    let pid = std::fs::read_to_string(pid).unwrap();
    assert!(std::process::Command::new("kill").arg(pid.trim()).status().unwrap().success(), "it runs");
}

#[tokio::test]
async fn too_much_output_fails_and_harms_nobody() {
    let (_sshd, link) = up("").await;
    let failure = run(&link, "yes").await.unwrap_err();
    assert!(failure.message.contains("1024 KiB"), "{failure}");
    let ran = run(&link, "head -c 1048576 /dev/zero; yes 2>&1 | head -c 9999999 >&2").await.unwrap();
    assert_eq!((ran.output.len(), ran.status), (Ran::MOST, Some(0)));
    assert!(ran.errors.len() <= 4096 && ran.errors.ends_with('y'));
}

#[tokio::test]
async fn a_script_that_hangs_ends_with_patience_and_leaves_no_channel() {
    let (sshd, link) = up("").await;
    let alive = sshd.at("alive");
    // It ends with its channel, since what it writes goes nowhere.
    let script = format!(
        "trap '' PIPE; trap 'rm {a}' EXIT; : >{a}; while echo .; do sleep 0.05; done",
        a = alive.display()
    );
    let failure = far(&link).run(script.clone(), Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut);
    until("its shell is gone", || !alive.exists()).await;
    // Nor does one whose caller went.
    let running = tokio::spawn(far(&link).run(script, PATIENCE));
    until("it runs", || alive.exists()).await;
    running.abort();
    until("its shell is gone", || !alive.exists()).await;
    assert_eq!(output(&run(&link, "echo fine").await.unwrap()), "fine\n");
}

#[tokio::test]
async fn where_nothing_may_run_the_hint_says_what_to_do() {
    let shells = [
        "ForceCommand /usr/sbin/nologin",
        "ForceCommand git-shell -c \"$SSH_ORIGINAL_COMMAND\"",
        "ForceCommand internal-sftp",
        "ForceCommand /bin/false",
        "MaxSessions 0",
    ];
    for line in shells {
        let (_sshd, link) = up(line).await;
        let failure = run(&link, "echo no").await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::NoShell, "{line}: {failure}");
        assert!(failure.hint.contains("remote_port"), "{failure}");
        if line.contains("nologin") {
            assert!(failure.message.contains("This account is currently not available"), "{failure}");
        }
    }
}

#[tokio::test]
async fn where_few_may_run_at_once_they_take_turns() {
    for most in 1..=3 {
        let (_sshd, link) = up(&format!("MaxSessions {most}")).await;
        let all: Vec<_> = (0..20).map(|_| tokio::spawn(far(&link).run("echo ok".into(), PATIENCE))).collect();
        for ran in all {
            let ran = ran.await.unwrap().unwrap_or_else(|why| panic!("MaxSessions {most}: {why}"));
            assert_eq!(output(&ran), "ok\n");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_busy_with_what_we_left_there_is_none_that_runs_nothing() {
    let sshd = Sshd::start("ed25519", "MaxSessions 1");
    let links = links(AgentAt::Nowhere);
    let route = || nbtunnel_core::Route { share: true, ..sshd.route() };
    let (mut first, mut second) = (start(&links, route()), start(&links, route()));
    first.up().await;
    second.up().await;
    let pid = sshd.at("pid");
    let hangs = format!("sleep 600 & echo $! >{}; wait", pid.display());
    let running = tokio::spawn(far(&first).run(hangs, PATIENCE));
    let told = || std::fs::read_to_string(&pid).unwrap_or_default();
    until("it hangs", || told().ends_with('\n')).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    // Whichever of them asks: they share the session.
    for link in [&first, &second] {
        let failure = run(link, "echo no").await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Refused, "{failure}");
        assert!(failure.hint.contains("MaxSessions"), "{failure}");
    }
    assert!(std::process::Command::new("kill").arg(told().trim()).status().unwrap().success());
    timeout(PATIENCE, async { while run(&second, "echo fine").await.is_err() {} }).await.unwrap();
}

#[tokio::test]
async fn a_shell_that_ran_before_and_not_this_time_is_not_forbidden() {
    let dir = tempfile::tempdir().unwrap();
    let full = dir.path().join("full").display().to_string();
    let within =
        format!("test ! -e {full} || {{ echo fork failed >&2; exit 1; }}; sh -c \"$SSH_ORIGINAL_COMMAND\"");
    let (_sshd, link) = up(&format!("ForceCommand {within}")).await;
    std::fs::write(&full, "").unwrap();
    assert_eq!(run(&link, "echo no").await.unwrap_err().kind, FailureKind::NoShell);
    std::fs::remove_file(&full).unwrap();
    assert_eq!(output(&run(&link, "echo fine").await.unwrap()), "fine\n");
    std::fs::write(&full, "").unwrap();
    let failure = run(&link, "echo no").await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused, "{failure}");
    assert!(failure.message.contains("fork failed"), "{failure}");
}

#[test]
fn whatever_keeps_a_program_from_running_is_said_in_a_sentence_with_a_hint() {
    for why in [cut("h"), no_chance(), short("h"), busy("h"), no_program("h")] {
        for text in [&why.message, &why.hint] {
            let is_sentence = !text.starts_with(char::is_uppercase) && !text.ends_with(['.', ' ', ':']);
            assert!(is_sentence && !text.is_empty(), "{why}");
        }
    }
}

#[tokio::test]
async fn many_run_at_once_and_a_cut_ends_them_all() {
    let (sshd, link) = up("").await;
    let all: Vec<_> = (0..20).map(|n| tokio::spawn(far(&link).run(format!("echo {n}"), PATIENCE))).collect();
    for (number, ran) in all.into_iter().enumerate() {
        assert_eq!(output(&ran.await.unwrap().unwrap()), format!("{number}\n"));
    }
    let began = sshd.at("began");
    let script = format!(": >{}; sleep 30", began.display());
    let running = tokio::spawn(far(&link).run(script, PATIENCE));
    until("it runs", || began.exists()).await;
    sshd.kill_sessions();
    let failure = running.await.unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Disconnected, "{failure}");
    assert_eq!(run(&link, "echo late").await.unwrap_err().kind, FailureKind::Disconnected);
}

fn tcp(port: u16) -> Target {
    Target::Tcp("127.0.0.1".into(), port)
}

#[tokio::test]
async fn a_stream_goes_both_ways_to_both_ends_and_closes_when_dropped() {
    let (_sshd, link) = up("").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = tcp(listener.local_addr().unwrap().port());
    let mut stream = far(&link).open(target.clone()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    stream.write_all(b"question").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = String::new();
    server.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "question");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    heard.clear();
    stream.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "answer");
    drop(stream);
    let stream = far(&link).open(target).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    drop(stream);
    let mut rest = Vec::new();
    timeout(PATIENCE, server.read_to_end(&mut rest)).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_does_not_read_stalls_nobody_and_is_cut_off() {
    let (_sshd, link) = up("").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = far(&link).open(tcp(listener.local_addr().unwrap().port())).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    // More than may wait, and than the windows and sockets between take in.
    let flood = tokio::spawn(async move {
        let piece = vec![b'x'; 1 << 20];
        while server.write_all(&piece).await.is_ok() {}
    });
    let ran = run(&link, "echo meanwhile").await.unwrap();
    assert_eq!(output(&ran), "meanwhile\n");
    timeout(PATIENCE, async {
        let mut all = Vec::new();
        // Nobody reads until it is too late.
        while !flood.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if stream.write_all(b".").await.is_err() {
                break;
            }
        }
        assert_eq!(stream.read_to_end(&mut all).await.unwrap_err().kind(), std::io::ErrorKind::OutOfMemory);
        assert!(all.len() <= MOST_UNREAD + (1 << 20), "{}", all.len());
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_cut_is_a_reset_and_a_refusal_says_who_refused() {
    let (sshd, link) = up("").await;
    let Err(refused) = far(&link).open(tcp(free_port())).await else { panic!("opened") };
    assert!(matches!(&refused, Unopened::Denied(why) if why.kind == FailureKind::Refused), "{refused:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = tcp(listener.local_addr().unwrap().port());
    let mut stream = far(&link).open(target.clone()).await.unwrap();
    let _server = listener.accept().await.unwrap();
    sshd.kill_sessions();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let Err(gone) = far(&link).open(target).await else { panic!("opened") };
    assert!(matches!(gone, Unopened::LinkGone(_)), "{gone:?}");
}
