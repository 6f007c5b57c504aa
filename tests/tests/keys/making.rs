//! What is written, what is asked, and what is left alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::with_mounts;
use nbtunnel_tests::programs::write_program;
use nbtunnel_tests::sshd::keygen;
use nbtunnel_tests::terminal::Typist;
use nbtunnel_tests::told::tell;
use nbtunnel_tests::{Agent, World, wait};

use super::{json, ssh_keygen, with_path};

const SAID: &str = "open, 5esame";

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
}

#[test]
fn a_key_with_a_passphrase_is_as_ssh_keygen_makes_it() -> Result<()> {
    let world = World::new()?;
    let key = world.path("key");
    let path = key.to_str().context("no text")?;
    let mut person = Typist::run(&world.nbctl_command(["keygen", "--file", path, "--comment", "me@laptop"]))?;
    person.sees("whoever has the file can log in as you")?;
    person.answers("passphrase for the new key", SAID)?;
    person.answers("the same again", "open, 6esame")?;
    person.sees("differ")?;
    person.answers("passphrase for the new key", SAID)?;
    person.answers("the same again", SAID)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    ensure!(!person.shown().contains("esame"), "a passphrase was shown: {}", person.shown());
    ensure!(person.shown().contains("nbctl key test"), "{}", person.shown());

    let public = fs::read_to_string(world.path("key.pub"))?;
    ensure!(public.starts_with("ssh-ed25519 ") && public.ends_with(" me@laptop\n"), "{public}");
    ensure!(ssh_keygen(&["-y", "-P", SAID], &key)? == public.trim(), "another public half");
    ensure!(ssh_keygen(&["-y", "-P", "wrong"], &key).is_err(), "a wrong passphrase opens it");
    let listed = ssh_keygen(&["-l"], &key)?;
    ensure!(listed.starts_with("256 SHA256:") && listed.ends_with("me@laptop (ED25519)"), "{listed}");
    ensure!(person.shown().contains(listed.split(' ').nth(1).unwrap_or("-")), "{}", person.shown());
    ensure!((mode(&key)?, mode(&world.path("key.pub"))?) == (0o600, 0o644), "the modes are wrong");
    // ssh-keygen can write it anew, and so knows all of it.
    ssh_keygen(&["-p", "-P", SAID, "-N", "other words"], &key)?;
    ensure!(ssh_keygen(&["-y", "-P", "other words"], &key)? == public.trim(), "it was changed");
    Ok(())
}

#[test]
fn an_empty_passphrase_is_one_that_somebody_left_empty_twice() -> Result<()> {
    let world = World::new()?;
    let key = world.path("key");
    let mut person =
        Typist::run(&world.nbctl_command(["keygen", "--file", key.to_str().context("no text")?]))?;
    person.answers("empty for none", "")?;
    person.answers("the same again", "")?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    ssh_keygen(&["-y", "-P", ""], &key)?;
    Ok(())
}

#[test]
fn who_is_not_there_or_gives_up_makes_no_key() -> Result<()> {
    let world = World::new()?;
    let key = world.path("key");
    let command = world.nbctl_command(["keygen", "--file", key.to_str().context("no text")?]);
    let told = Typist::without_terminal(&command)?;
    ensure!(told.code == 4 && told.stderr.contains("--no-passphrase"), "{told:?}");
    let mut person = Typist::run(&command)?;
    person.sees("passphrase for the new key")?;
    person.types("half\u{3}")?;
    ensure!(person.ends()? == 4, "{}", person.shown());
    ensure!(person.is_as_before()?, "the terminal shows nothing any more");
    ensure!(!key.exists() && !world.path("key.pub").exists(), "a key was made");
    Ok(())
}

#[test]
fn an_askpass_program_is_asked_where_there_is_no_terminal() -> Result<()> {
    let mut world = World::new()?;
    let ask = world.path("ask");
    write_program(&ask, &format!("#!/bin/sh\necho '{SAID}'\n"))?;
    world.set_env("SSH_ASKPASS", &ask);
    world.set_env("SSH_ASKPASS_REQUIRE", "force");
    let key = world.path("key");
    let told = with_path(&world, &["keygen", "--file"], &key)?;
    ensure!(told.code == 0, "{told:?}");
    ensure!(ssh_keygen(&["-y", "-P", SAID], &key).is_ok(), "another passphrase");
    Ok(())
}

#[test]
fn an_rsa_key_has_the_bits_that_a_platform_wants() -> Result<()> {
    let world = World::new()?;
    let key = world.path("key");
    let told = with_path(&world, &["--json", "keygen", "--rsa", "4096", "--no-passphrase", "--file"], &key)?;
    ensure!(told.code == 0 && told.stderr.is_empty(), "{told:?}");
    let listed = ssh_keygen(&["-l"], &key)?;
    ensure!(listed.starts_with("4096 SHA256:") && listed.ends_with("(RSA)"), "{listed}");
    let said = json(&told)?;
    ensure!(listed.contains(said["key"]["fingerprint"].as_str().unwrap_or("-")), "{said}");
    let public = ssh_keygen(&["-y"], &key)?;
    ensure!(said["key"]["public"] == public.as_str(), "{said}");
    Ok(())
}

#[test]
fn nothing_is_written_over_and_nobody_asked_in_vain() -> Result<()> {
    let world = World::new()?;
    for (there, missing) in [("private", "private.pub"), ("public.pub", "public")] {
        fs::write(world.path(there), "theirs")?;
        let named = if missing.ends_with(".pub") { there } else { missing };
        let told = with_path(&world, &["keygen", "--file"], &world.path(named))?;
        ensure!(told.code == 1, "{told:?}");
        for file in [there, missing] {
            ensure!(told.stderr.contains(world.path(file).to_str().unwrap_or("-")), "{file}: {told:?}");
        }
        ensure!(fs::read_to_string(world.path(there))? == "theirs" && !world.path(missing).exists());
    }
    let told = with_path(&world, &["keygen", "--no-passphrase", "--file"], &world.path("no/dir/key"))?;
    ensure!(told.code == 1 && told.stderr.contains("there is no directory"), "{told:?}");
    let told = world.nbctl(["keygen", "--no-passphrase", "--comment", "a\nb"])?;
    ensure!(told.code == 2, "{told:?}");
    Ok(())
}

/// The home is that of the passwd entry, as for ssh: here one that a mount namespace shows.
#[test]
fn without_a_file_it_goes_to_the_usual_place_and_is_shown_from_there() -> Result<()> {
    let world = World::new()?;
    let (home, passwd) = (world.path("account"), world.path("passwd"));
    fs::create_dir(&home)?;
    fs::write(&passwd, format!("somebody:x:0:0::{}:/bin/sh\n", home.display()))?;
    let run = |args: &[&str]| {
        let command = world.nbctl_command(args);
        let script = format!("mount --bind {} /etc/passwd", passwd.display());
        tell(&mut with_mounts(&script, &command), &[], wait::SOON)
    };
    let told = run(&["key", "show"])?;
    ensure!(told.code == 1 && told.stderr.contains("nbctl keygen"), "{told:?}");
    let told = run(&["keygen", "--no-passphrase"])?;
    ensure!(told.code == 0 && told.stderr.contains("`nbctl key show` shows"), "{told:?}");
    ensure!(!told.stderr.contains("identity_file"), "it is found without a word: {told:?}");
    let ssh = home.join(".ssh");
    ensure!(mode(&ssh)? == 0o700 && mode(&ssh.join("id_ed25519"))? == 0o600, "the modes are wrong");
    ensure!(told.stdout.contains(" somebody@"), "{told:?}");
    let line = told.stdout.clone();
    ensure!(run(&["key", "show"])?.stdout == line, "another key is shown");
    let told = run(&["keygen", "--no-passphrase"])?;
    ensure!(told.code == 1 && told.stderr.contains("id_ed25519.pub are there already"), "{told:?}");
    // ssh offers the RSA key first, and so does this.
    let told = run(&["keygen", "--rsa", "2048", "--no-passphrase"])?;
    let shown = run(&["key", "show"])?;
    ensure!(told.stdout == shown.stdout && shown.stderr.contains("there is also"), "{told:?} {shown:?}");
    ensure!(run(&["key", "show", "~/.ssh/id_ed25519"])?.stdout == line, "another key is shown");
    Ok(())
}

#[test]
fn a_public_key_is_shown_from_whatever_has_it() -> Result<()> {
    let (agent, mut world) = (Agent::start()?, World::new()?);
    let key = world.path("key");
    keygen(&key, SAID)?;
    let line = fs::read_to_string(world.path("key.pub"))?;
    let told = with_path(&world, &["key", "show"], &world.path("key.pub"))?;
    ensure!((told.code, &told.stdout) == (0, &line), "{told:?}");
    fs::remove_file(world.path("key.pub"))?;
    let told = with_path(&world, &["key", "show"], &key)?;
    ensure!(line.starts_with(told.stdout.trim()) && told.code == 0, "{told:?}");
    // An old format keeps its public half to itself, and says so.
    let mut old = Command::new("ssh-keygen");
    old.args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", SAID, "-f"]).arg(world.path("old"));
    ensure!(tell(&mut old, &[], wait::SOON)?.code == 0);
    ensure!(with_path(&world, &["key", "show"], &world.path("old"))?.code == 0);
    fs::remove_file(world.path("old.pub"))?;
    let told = with_path(&world, &["key", "show"], &world.path("old"))?;
    ensure!(told.code == 1 && told.stderr.contains("ssh-keygen -y"), "{told:?}");

    let held = world.path("held");
    keygen(&held, "")?;
    agent.add(&held)?;
    world.set_env("SSH_AUTH_SOCK", agent.socket());
    let passwd = world.path("passwd");
    fs::write(&passwd, format!("somebody:x:0:0::{}:/bin/sh\n", world.path("").display()))?;
    let script = format!("mount --bind {} /etc/passwd", passwd.display());
    let told = tell(&mut with_mounts(&script, &world.nbctl_command(["key", "show"])), &[], wait::SOON)?;
    ensure!(told.stdout == fs::read_to_string(world.path("held.pub"))?, "{told:?}");
    ensure!(told.stderr.contains("the agent"), "{told:?}");
    Ok(())
}

#[test]
fn at_a_terminal_the_line_is_copied_by_what_is_there_for_the_session() -> Result<()> {
    let mut world = World::new()?;
    let key = world.path("key");
    keygen(&key, "")?;
    let line = fs::read_to_string(world.path("key.pub"))?;
    let (program, copied) = (world.path("wl-copy"), world.path("copied"));
    write_program(&program, &format!("#!/bin/sh\ncat > {}\n", copied.display()))?;
    world.set_env("PATH", format!("{}:/usr/bin:/bin", world.path("").display()));
    world.set_env("WAYLAND_DISPLAY", "wayland-0");
    let show = ["key", "show", key.to_str().context("no text")?];
    let mut person = Typist::run(&world.nbctl_command(show))?;
    ensure!(person.ends()? == 0 && person.shown().contains("(by wl-copy)"), "{}", person.shown());
    ensure!(fs::read_to_string(&copied)? == line.trim(), "something else was copied");
    // Over SSH it is the terminal that has the clipboard.
    world.set_env("WAYLAND_DISPLAY", "");
    world.set_env("SSH_TTY", "/dev/pts/0");
    world.set_env("TERM", "xterm");
    let mut person = Typist::run(&world.nbctl_command(show))?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    person.sees("\u{1b}]52;c;c3NoLWVkMjU1MTkg")?;
    let mut person = Typist::run(&world.nbctl_command([&show[..], &["--no-copy"]].concat()))?;
    ensure!(person.ends()? == 0 && !person.shown().contains("]52;"), "{}", person.shown());
    Ok(())
}
