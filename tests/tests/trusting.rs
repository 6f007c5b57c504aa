//! `nbctl trust` at a real terminal: what a person sees of a host key, and which answers count.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use nbtunnel_tests::terminal::Typist;
use nbtunnel_tests::{Sshd, World, net, programs};

/// A tunnel to `sshd` that is parked because of its host key; `on_file` is what is on file for it.
fn parked(sshd: &Sshd, on_file: &str) -> Result<World> {
    fs::write(sshd.known_hosts(), on_file)?;
    let mut world = World::new()?;
    world.write("alice", &sshd.tunnel().forward(net::free_port()?, 1))?;
    world.start()?;
    let tunnel = world.wait_for("alice", "parked")?;
    ensure!(
        tunnel["problem"]["code"].as_str().is_some_and(|code| code.starts_with("host_key_")),
        "{tunnel:#}"
    );
    Ok(world)
}

fn person(world: &World, more: &[&str]) -> Result<Typist> {
    Typist::run(&world.nbctl_command(["trust", "alice"].iter().chain(more)))
}

/// What ssh-keygen draws of the key that `sshd` has now.
fn drawing(sshd: &Sshd) -> Result<Vec<String>> {
    let mut keygen = Command::new(programs::system("ssh-keygen")?);
    let told = keygen.arg("-lvf").arg(sshd.path("host_key.pub")).output()?;
    Ok(String::from_utf8(told.stdout)?.lines().skip(1).map(str::to_owned).collect())
}

fn on_file(sshd: &Sshd) -> Result<String> {
    Ok(fs::read_to_string(sshd.known_hosts())?)
}

#[test]
fn only_yes_or_the_fingerprint_itself_trusts_a_new_key() -> Result<()> {
    let sshd = Sshd::start()?;
    let world = parked(&sshd, "")?;
    let print = sshd.fingerprint()?;
    let other = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for (keys, said) in [
        ("n\r", "was not trusted"),
        ("no\r", "was not trusted"),
        ("\r", "was not trusted"),
        ("yess\r", "was not trusted"),
        ("\x1b[A\0 y e s\r", "was not trusted"),
        ("\x04", "was not trusted"),
        (&format!("{other}\r"), "do not connect until you know why they differ"),
        (&format!("{}\r", print.to_lowercase()), "was not trusted"),
    ] {
        let mut person = person(&world, &[])?;
        person.sees("showed this ssh-ed25519 key:")?;
        person.sees(&print)?;
        for line in drawing(&sshd)? {
            person.sees(&line)?;
        }
        person.sees("Trust this key? (y/N, or the fingerprint that you were given)")?;
        person.types(keys)?;
        person.sees(said)?;
        ensure!(person.ends()? == 4, "{keys:?}: {}", person.shown());
        // Whatever was typed, what is said to it has a line of its own.
        let shown = person.shown();
        ensure!(shown.lines().any(|line| line.starts_with("error:")), "{keys:?}: {shown:?}");
        ensure!(on_file(&sshd)?.is_empty(), "{keys:?} was a yes");
    }
    let mut leaves = person(&world, &[])?;
    leaves.sees("Trust this key?")?;
    leaves.types("ye\x03")?;
    ensure!(leaves.ends()? != 0 && leaves.is_as_before()?, "{}", leaves.shown());
    ensure!(on_file(&sshd)?.is_empty(), "Ctrl-C was a yes");

    let nobody = Typist::without_terminal(&world.nbctl_command(["trust", "alice"]))?;
    let hint = format!("nbctl trust alice --yes --fingerprint {print}");
    ensure!(nobody.code == 4 && nobody.stderr.contains(&hint), "{nobody:?}");
    ensure!(nobody.stderr.contains("nobody is there to look at the key"), "{nobody:?}");
    ensure!(on_file(&sshd)?.is_empty(), "nobody was a yes");

    let mut agrees = person(&world, &["--quiet"])?;
    // Who is to decide has to see about what.
    agrees.sees(&print)?;
    agrees.answers("Trust this key?", &print)?;
    ensure!(agrees.ends()? == 0, "{}", agrees.shown());
    ensure!(on_file(&sshd)? == sshd.known_hosts_line()?, "{}", on_file(&sshd)?);
    world.wait_for("alice", "up")?;
    let mut again = person(&world, &[])?;
    again.sees("alice is up: its host key is trusted already")?;
    ensure!(again.ends()? == 0, "{}", again.shown());
    Ok(())
}

#[test]
fn a_key_takes_the_place_of_another_only_by_the_whole_word() -> Result<()> {
    let mut sshd = Sshd::start()?;
    let (old_print, old_drawing, old_line) = (sshd.fingerprint()?, drawing(&sshd)?, sshd.known_hosts_line()?);
    // Its name stands beside another's, which keeps the key.
    let before = old_line.replacen(' ', ",elsewhere ", 1);
    sshd.change_host_key()?;
    let world = parked(&sshd, &before)?;

    let mut unasked = person(&world, &[])?;
    unasked.sees("is not the one on file")?;
    unasked.sees("nbctl trust alice --replace")?;
    ensure!(unasked.ends()? == 4, "{}", unasked.shown());

    let mut sides: Vec<String> = Vec::new();
    for (old, new) in old_drawing.iter().zip(drawing(&sshd)?) {
        sides.push(format!("{old}    {new}"));
    }
    for keys in ["y\r", "no\r", "\r", "Yes, please\r", "\x04"] {
        let mut person = person(&world, &["--replace"])?;
        person.sees("On file")?;
        for line in &sides {
            person.sees(line)?;
        }
        person.sees(&format!("{old_print} ({}:1)", sshd.known_hosts().display()))?;
        person.sees("Put the new key in the place of the old one?")?;
        person.types(keys)?;
        person.sees("was not trusted")?;
        ensure!(person.ends()? == 4, "{keys:?}: {}", person.shown());
        ensure!(on_file(&sshd)? == before, "{keys:?} was a yes");
    }
    let mut agrees = person(&world, &["--replace"])?;
    agrees.answers("Put the new key in the place of the old one?", "yes")?;
    agrees.sees(&format!("the key at {}:1 is gone", sshd.known_hosts().display()))?;
    ensure!(agrees.ends()? == 0, "{}", agrees.shown());
    let rest = old_line.split_once(' ').map(|(_, key)| format!("elsewhere {key}")).unwrap_or_default();
    ensure!(on_file(&sshd)? == format!("{rest}{}", sshd.known_hosts_line()?), "{}", on_file(&sshd)?);
    world.wait_for("alice", "up")?;
    Ok(())
}
