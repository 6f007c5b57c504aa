//! `nbctl export … --open`: which program is run, with what. And a client that goes past the SSH server.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::programs::write_program;
use nbtunnel_tests::told::tell;
use nbtunnel_tests::wait;

use crate::inner::Place;

/// A program that writes its arguments down, one a line, and ends with `code`.
fn program(dir: &Path, name: &str, code: i32) -> Result<()> {
    let text = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >\"$0.called\"\nexit {code}\n");
    write_program(&dir.join(name), &text)
}

#[test]
fn what_is_printed_is_also_opened_by_who_it_is_for() -> Result<()> {
    let place = Place::new()?;
    place.world.wait_for("alice", "up")?;
    let at = place.world.path("config_of_ssh").display().to_string();
    ensure!(place.world.nbctl(["export", "ssh-config", "--yes", "--into", &at])?.code == 0);
    let bin = place.world.path("bin");
    fs::create_dir(&bin)?;
    // Somebody sits at this machine, with nothing on it but these.
    let open = |ide: &str| {
        let mut command = place.world.nbctl_command(["export", ide, "alice", "/a dir", "--open"]);
        command.env("PATH", &bin).env("DISPLAY", ":77");
        tell(&mut command, &[], wait::SOON)
    };
    for (ide, opener) in [("vscode", "code"), ("pycharm", "xdg-open")] {
        let told = open(ide)?;
        let why = format!("error: {opener} cannot be run: ");
        ensure!(told.code == 1 && told.stderr.contains(&why) && told.stderr.contains("by hand"), "{told:?}");
        program(&bin, opener, 3)?;
        let told = open(ide)?;
        ensure!(told.code == 1 && told.stderr.contains(&format!("{opener} ended with ")), "{told:?}");
        program(&bin, opener, 0)?;
        let told = open(ide)?;
        ensure!(told.code == 0, "{told:?}");
        let called = fs::read_to_string(bin.join(format!("{opener}.called")))?;
        let expected = match ide {
            "vscode" => "--remote\nssh-remote+alice\n/a dir\n",
            _ => told.stdout.as_str(),
        };
        ensure!(called == expected, "{called}");
    }
    Ok(())
}

#[test]
fn a_client_may_go_to_any_address_that_the_server_sees() -> Result<()> {
    let place = Place::new()?;
    place.world.wait_for("alice", "up")?;
    let neighbour = TcpListener::bind("[::1]:0")?;
    let target = format!("[::1]:{}", neighbour.local_addr()?.port());
    let answers = std::thread::spawn(move || -> Result<String> {
        let (mut stream, _) = neighbour.accept()?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard)?;
        stream.write_all(b"good day\n")?;
        Ok(heard)
    });
    let told = tell(&mut place.world.nbctl_command(["proxy", "alice", &target]), b"hello\n", wait::SOON)?;
    ensure!(told.code == 0 && told.stdout == "good day\n", "{told:?}");
    let heard = answers.join().ok().context("the neighbour fell over")??;
    ensure!(heard == "hello\n", "{heard}");
    Ok(())
}
