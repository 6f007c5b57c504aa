//! Claims of others: of the dead, of other machines, and of what was edited meanwhile.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use nbtunnel_core::FailureKind;
use nbtunnel_tests::child::{Running, Signal, signal_pid};
use nbtunnel_tests::wait;
use nbtunneld::launch::{Begun, ended, log, start, stop};

use super::yard::{Yard, ask, did, host, lives, on_runtime, ours};

/// A yard in which somebody claimed something, in these words.
fn claimed(words: &str) -> Result<(Yard, nbtunneld::launch::Launch)> {
    let yard = Yard::new()?;
    let launch = yard.launch(yard.small("next"));
    // Where its directory is, only a start tells.
    did(start(yard.far(), &launch))?;
    did(stop(yard.far(), &launch, None))?;
    symlink(words, yard.state()?.join("claim.7"))?;
    Ok((yard, launch))
}

#[test]
fn a_claim_of_the_dead_is_taken_over() -> Result<()> {
    let (yard, launch) = claimed(&format!("{} 4194304 1", host()?))?;
    let (_, port) = ours(&did(start(yard.far(), &launch))?)?;
    ask(port)?;
    let left: Vec<_> = fs::read_dir(yard.state()?)?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(left.iter().any(|name| name == "claim.8"), "{left:?}");
    ensure!(!left.iter().any(|name| name == "claim.7"), "old claims are cleared away: {left:?}");
    Ok(())
}

#[test]
fn a_process_that_has_a_dead_ones_number_is_neither_taken_for_it_nor_killed() -> Result<()> {
    let mut bystander = Running::spawn(Command::new("sleep").arg("600"))?;
    // It began at another time than that.
    let (yard, launch) = claimed(&format!("{} {} 12", host()?, bystander.id()))?;
    did(stop(yard.far(), &launch, None))?;
    ensure!(bystander.ended().is_none(), "it is not killed");
    ours(&did(start(yard.far(), &launch))?)?;
    ensure!(bystander.ended().is_none(), "it is not killed");
    Ok(())
}

/// A process group without its leader, and the process of user `uid` that is left in it.
fn left_behind(yard: &Yard, uid: &str) -> Result<(u32, u32)> {
    let line = "sleep 600 >/dev/null 2>&1 & echo $$ $!";
    let words = ["--reuid", uid, "--clear-groups", "setsid", "-f", "sh", "-c", line];
    let said = Command::new("setpriv").args(words).env("HOME", yard.home()).output()?.stdout;
    let said = String::from_utf8(said)?;
    let (group, left) = said.trim().split_once(' ').context("two numbers")?;
    let (group, left) = (group.parse()?, left.parse()?);
    wait::until("its leader is gone", wait::SOON, || !lives(group))?;
    Ok((group, left))
}

/// That a claim of such a group is neither taken for one that lives nor has that group killed.
fn is_left_alone(uid: &str, began: &str) -> Result<()> {
    let bystanders = Yard::new()?;
    let (group, left) = left_behind(&bystanders, uid)?;
    let (yard, launch) = claimed(&format!("{} {group} {began}", host()?))?;
    did(stop(yard.far(), &launch, None))?;
    ensure!(lives(left), "it is not killed");
    ask(ours(&did(start(yard.far(), &launch))?)?.1)?;
    ensure!(lives(left), "it is not killed");
    Ok(())
}

#[test]
fn what_another_user_runs_in_a_group_of_a_dead_ones_number_is_not_taken_for_it() -> Result<()> {
    is_left_alone("12345", "1")
}

#[test]
fn a_claim_from_before_the_machine_was_booted_is_one_of_the_dead() -> Result<()> {
    is_left_alone("0", "1@00000000")?;
    // Whatever has that number now, and should it have begun as long after this boot.
    let mut bystander = Running::spawn(Command::new("sleep").arg("600"))?;
    let stat = fs::read_to_string(format!("/proc/{}/stat", bystander.id()))?;
    let began = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(19)).context("22 words")?;
    let (yard, launch) = claimed(&format!("{} {} {began}@00000000", host()?, bystander.id()))?;
    did(stop(yard.far(), &launch, None))?;
    ensure!(bystander.ended().is_none(), "it is not killed");
    ours(&did(start(yard.far(), &launch))?)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let claim = yard.claim().context("it is claimed")?;
    ensure!(claim.contains(&format!("@{} ", &boot[..8])), "{claim}");
    Ok(())
}

#[test]
fn a_claim_of_another_machine_stands_and_names_it_until_that_machine_says_it_is_over() -> Result<()> {
    let (yard, launch) = claimed("login7 4242 12")?;
    let why = on_runtime(start(yard.far(), &launch)).expect_err("whether it lives is not known");
    ensure!(why.kind == FailureKind::NotebookFailed && why.message.contains("login7"), "{why}");
    let why = on_runtime(stop(yard.far(), &launch, None)).expect_err("it cannot be ended from here");
    ensure!(why.message.contains("login7") && why.message.contains("4242"), "{why}");
    ensure!(yard.servers().is_empty());
    fs::write(yard.state()?.join("over.7"), "0\n")?;
    ours(&did(start(yard.far(), &launch))?)?;
    Ok(())
}

/// The last sign of life of claim 7 came so long ago.
fn last_sign(yard: &Yard, ago: Duration) -> Result<()> {
    let sign = File::create(yard.state()?.join("alive.7"))?;
    Ok(sign.set_modified(SystemTime::now() - ago)?)
}

#[test]
fn a_claim_of_a_machine_that_is_gone_is_taken_over_and_that_is_said() -> Result<()> {
    let (yard, launch) = claimed("login7 4242 12")?;
    last_sign(&yard, Duration::from_secs(60))?;
    let why = on_runtime(start(yard.far(), &launch)).expect_err("it was there a minute ago");
    ensure!(why.message.contains("login7") && why.hint.contains("kill -- -4242"), "{why}");
    last_sign(&yard, Duration::from_secs(600))?;
    let begun = did(start(yard.far(), &launch))?;
    ensure!(begun.news().is_some_and(|news| news.contains("login7")), "{begun:?}");
    ask(ours(&begun)?.1)?;
    Ok(())
}

#[test]
fn what_a_machine_that_is_gone_had_is_ended_for_good_if_it_comes_back() -> Result<()> {
    let (yard, launch) = claimed("login7 4242 12")?;
    // It went before it gave any other sign than its claim.
    let claim = yard.state()?.join("claim.7");
    ensure!(Command::new("touch").args(["-h", "-d", "10 minutes ago"]).arg(&claim).status()?.success());
    let stopped = did(stop(yard.far(), &launch, None))?;
    ensure!(stopped.news.is_some_and(|news| news.contains("login7")));
    let claim = yard.claim().context("what follows its claim tells it so")?;
    ensure!(claim.starts_with(&format!("{} ", host()?)), "{claim}");
    ours(&did(start(yard.far(), &launch))?)?;
    Ok(())
}

#[test]
fn a_server_gives_signs_of_life_and_ends_when_its_machine_was_taken_for_gone() -> Result<()> {
    let yard = Yard::new()?;
    let launch = yard.launch(yard.small("fenced"));
    let (pid, port) = ours(&did(start(yard.far(), &launch))?)?;
    let server = ask(port)?.pid;
    let sign = yard.state()?.join("alive.1");
    wait::until("it gives a sign of life", wait::SOON, || sign.exists())?;
    // So does one whose starter was killed.
    signal_pid(pid, Signal::Kill)?;
    let long_ago = SystemTime::now() - Duration::from_secs(600);
    File::options().write(true).open(&sign)?.set_modified(long_ago)?;
    let is_new = || fs::metadata(&sign).and_then(|sign| sign.modified()).is_ok_and(|at| at > long_ago);
    wait::until("it gives another one", Duration::from_secs(90), is_new)?;
    ensure!(lives(server));
    symlink("login7 4242 12", yard.state()?.join("claim.2"))?;
    wait::until("it ends", Duration::from_secs(90), || !lives(server))?;
    Ok(())
}

#[test]
fn a_directory_that_is_removed_ends_no_server() -> Result<()> {
    let yard = Yard::new()?;
    let launch = yard.launch(yard.small("kept"));
    let server = ask(ours(&did(start(yard.far(), &launch))?)?.1)?.pid;
    fs::remove_dir_all(yard.state()?)?;
    // Longer than a vigil sleeps.
    wait::throughout("it lives", Duration::from_secs(20), || lives(server))
}

#[test]
fn an_edited_command_means_the_same_server_and_another_directory_another() -> Result<()> {
    let yard = Yard::new()?;
    let launch = yard.launch(yard.small("before"));
    let (pid, port) = ours(&did(start(yard.far(), &launch))?)?;
    ask(port)?;
    let mut edited = yard.launch(yard.small("after"));
    let begun = did(start(yard.far(), &edited))?;
    ensure!(begun == Begun::Running { pid, port: Some(port), edited: true }, "{begun:?}");
    ensure!(begun.news().is_some_and(|news| news.contains("edited")), "{begun:?}");
    ensure!(did(log(yard.far(), &edited, 9))?.contains("listening"));

    edited.port = Some(port + 1);
    let why = on_runtime(start(yard.far(), &edited)).expect_err("it runs on another port");
    ensure!(why.message.contains(&port.to_string()) && why.hint.contains("restart"), "{why}");
    edited.port = None;

    let elsewhere = nbtunneld::launch::Launch { dir: Some("work".into()), ..edited.clone() };
    fs::create_dir(yard.home().join("work"))?;
    ask(ours(&did(start(yard.far(), &elsewhere))?)?.1)?;
    did(stop(yard.far(), &edited, None))?;
    ensure!(!lives(pid) && yard.servers().len() == 1, "the other one is left alone: {:?}", yard.servers());
    let said = ask(ours(&did(start(yard.far(), &edited))?)?.1)?;
    ensure!(said.words[1..] == ["after"], "{:?}", said.words);
    Ok(())
}

#[test]
fn what_ends_after_it_was_started_is_told_with_its_last_words() -> Result<()> {
    let yard = Yard::new()?;
    let launch =
        yard.launch("echo no licence ?token=secret; while [ ! -e ~/go ]; do sleep 0.1; done; exit 3");
    let (pid, _) = ours(&did(start(yard.far(), &launch))?)?;
    ensure!(on_runtime(ended(yard.far(), &launch)).is_none(), "it is still to come");
    yard.write("go", "")?;
    let verdict = || wait::until_some("it ends", wait::SOON, || on_runtime(ended(yard.far(), &launch)));
    let why = verdict()?;
    ensure!(why.message.contains("status 3") && why.message.contains("no licence ?token=…"), "{why}");
    wait::until("who started it ends, too", wait::SOON, || !lives(pid))?;

    fs::remove_file(yard.home().join("go"))?;
    let (pid, _) = ours(&did(start(yard.far(), &launch))?)?;
    wait::until("it says something", wait::SOON, || {
        on_runtime(log(yard.far(), &launch, 5)).is_ok_and(|log| log.contains("no licence"))
    })?;
    let group = format!("-{pid}");
    ensure!(Command::new("kill").args(["-KILL", "--", &group]).status()?.success());
    let why = verdict()?;
    ensure!(why.message.contains("was ended") && why.message.contains("no licence"), "{why}");
    Ok(())
}
