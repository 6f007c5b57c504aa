//! What `nbctl export` writes is what other programs take, and what it undoes is as it was.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use anyhow::{Result, ensure};
use nbtunnel_tests::terminal::Typist;
use nbtunnel_tests::{programs, told, wait};

use crate::inner::Place;

#[test]
fn ssh_knows_the_tunnels_and_forgets_them_without_a_trace() -> Result<()> {
    let place = Place::new()?;
    place.world.wait_for("alice", "up")?;
    place.world.write("taken", &place.sshd.tunnel())?;
    place.world.wait_for("taken", "up")?;
    let (real, link) = (place.world.path("real_config"), place.world.path("config_link"));
    let mine = b"Host taken\n  HostName elsewhere.invalid\r\n# Andr\xe9\n# no end of line";
    fs::write(&real, mine)?;
    fs::set_permissions(&real, Permissions::from_mode(0o640))?;
    symlink(&real, &link)?;
    let into = link.display().to_string();
    let export = |more: &[&str]| {
        let mut args = vec!["export", "ssh-config", "--into", &into];
        args.extend(more);
        place.world.nbctl(args)
    };
    let shown = export(&["--dry-run"])?;
    ensure!(
        shown.code == 0 && shown.stdout.contains("+Include ") && shown.stdout.contains("+Host alice"),
        "{shown:?}"
    );
    // Nobody can be asked, and nobody said yes.
    ensure!(export(&[])?.code == 4);
    ensure!(fs::read(&real)? == mine);
    let told = export(&["--yes"])?;
    ensure!(told.code == 0 && told.stderr.contains("nbt-taken"), "{told:?}");
    ensure!(fs::read(&real)?.ends_with(mine) && fs::read_link(&link)? == real);
    ensure!(fs::metadata(&real)?.permissions().mode() & 0o777 == 0o640);
    ensure!(fs::metadata(place.world.config_dir().join("ssh_config"))?.permissions().mode() & 0o777 == 0o600);
    ensure!(export(&["--yes"])?.stderr.contains("nothing changes"));
    for (host, answer) in [("alice", "one"), ("nbt-taken", "two")] {
        let mut ssh = Command::new(programs::system("ssh")?);
        ssh.arg("-F").arg(&link).args([
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentityAgent=none",
            host,
            "echo",
            answer,
        ]);
        let told = told::tell(&mut ssh, b"", wait::SOON * 3)?;
        ensure!(told.code == 0 && told.stdout.trim() == answer, "{host}: {told:?}");
    }
    let asked = Command::new(programs::system("ssh")?).arg("-F").arg(&link).args(["-G", "taken"]).output()?;
    ensure!(
        String::from_utf8_lossy(&asked.stdout).contains("elsewhere.invalid"),
        "the user's Host is the user's"
    );
    // One goes, the other stays; then both, and nothing is left.
    ensure!(export(&["--remove", "--yes", "alice"])?.code == 0);
    let left = fs::read_to_string(place.world.config_dir().join("ssh_config"))?;
    ensure!(left.contains("Host nbt-taken") && !left.contains("Host alice"), "{left}");
    ensure!(export(&["--remove", "--yes"])?.code == 0);
    ensure!(fs::read(&real)? == mine && !place.world.config_dir().join("ssh_config").exists());
    ensure!(fs::metadata(&real)?.permissions().mode() & 0o777 == 0o640);
    Ok(())
}

#[test]
fn what_an_editor_ended_otherwise_is_undone_too() -> Result<()> {
    let place = Place::new()?;
    let into = place.world.path("config_of_ssh");
    let at = into.display().to_string();
    fs::write(&into, "Host x\n  Port 1\n")?;
    ensure!(place.world.nbctl(["export", "ssh-config", "--yes", "--into", &at])?.code == 0);
    fs::write(&into, fs::read_to_string(&into)?.replace('\n', "\r\n"))?;
    let again = place.world.nbctl(["export", "ssh-config", "--yes", "--into", &at])?;
    ensure!(again.stderr.contains("nothing changes"), "{again:?}");
    ensure!(place.world.nbctl(["export", "ssh-config", "--yes", "--into", &at, "--remove"])?.code == 0);
    ensure!(fs::read_to_string(&into)? == "Host x\r\n  Port 1\r\n");
    Ok(())
}

#[test]
fn a_file_that_was_not_there_is_not_there_afterwards() -> Result<()> {
    let place = Place::new()?;
    let into = place.world.path("new/config");
    let at = into.display().to_string();
    ensure!(place.world.nbctl(["export", "ssh-config", "--yes", "--into", &at, "alice"])?.code == 0);
    ensure!(fs::metadata(&into)?.permissions().mode() & 0o777 == 0o600);
    ensure!(place.world.nbctl(["export", "ssh-config", "--yes", "--into", &at, "--remove"])?.code == 0);
    ensure!(!into.exists());
    Ok(())
}

#[test]
fn editors_and_putty_get_what_they_take() -> Result<()> {
    let place = Place::new()?;
    place.world.wait_for("alice", "up")?;
    let early = place.world.nbctl(["export", "vscode", "alice"])?;
    ensure!(early.code == 1 && early.stderr.contains("nbctl export ssh-config alice"), "{early:?}");
    let at = place.world.path("config_of_ssh").display().to_string();
    ensure!(place.world.nbctl(["export", "ssh-config", "--yes", "--into", &at])?.code == 0);
    let code = place.world.nbctl(["export", "vscode", "alice", "/a dir"])?;
    ensure!(code.stdout == "code --remote ssh-remote+alice '/a dir'\n", "{code:?}");
    let link = place.world.nbctl(["export", "pycharm", "alice", "/a dir"])?;
    ensure!(link.stdout.starts_with("jetbrains-gateway://connect#type=ssh&host=alice&port=22"), "{link:?}");
    ensure!(link.stdout.trim_end().ends_with("&projectPath=/a%20dir"), "{link:?}");
    let sessions = place.world.nbctl(["export", "putty"])?;
    let port = format!("\"PortNumber\"=dword:{:08x}", place.sshd.port());
    ensure!(
        sessions.stdout.contains("Sessions\\nbt-alice]") && sessions.stdout.contains(&port),
        "{sessions:?}"
    );
    ensure!(sessions.stderr.contains("plink -load nbt-alice"), "{sessions:?}");
    // Its key is none of PuTTY's, until there is one.
    let key = place.sshd.user_key().display().to_string();
    ensure!(sessions.stderr.contains(&format!("puttygen {key} -o {key}.ppk")), "{sessions:?}");
    ensure!(!sessions.stdout.contains("PublicKeyFile"), "{sessions:?}");
    fs::write(format!("{key}.ppk"), "")?;
    let sessions = place.world.nbctl(["export", "putty"])?;
    ensure!(sessions.stdout.contains(&format!("\"PublicKeyFile\"=\"{key}.ppk\"")), "{sessions:?}");
    ensure!(!sessions.stderr.contains("puttygen"), "{sessions:?}");
    let nobody = place.world.nbctl(["export", "putty", "nobody"])?;
    ensure!(nobody.code == 3, "{nobody:?}");
    Ok(())
}

#[test]
fn a_file_for_regedit_holds_what_is_printed_and_is_never_written_over_unasked() -> Result<()> {
    let place = Place::new()?;
    // A key whose path no code page has.
    let key = place.world.path("Schlüssel ключ 🔑");
    fs::copy(place.sshd.user_key(), &key)?;
    fs::write(place.world.path("Schlüssel ключ 🔑.ppk"), "")?;
    let named = format!("[{:?}]", key.display().to_string());
    place.world.write("bob", &place.sshd.tunnel().set("identity_file", named))?;
    place.world.wait_for("bob", "up")?;
    let file = place.world.path("F.reg");
    let at = file.display().to_string();
    let printed = place.world.nbctl(["export", "putty"])?;
    ensure!(printed.stdout.contains("Schlüssel ключ 🔑.ppk"), "{printed:?}");
    let told = place.world.nbctl(["export", "putty", "--file", &at])?;
    ensure!(
        told.code == 0 && told.stdout.is_empty() && told.stderr.contains("plink -load nbt-bob"),
        "{told:?}"
    );
    ensure!(fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600);
    let bytes = fs::read(&file)?;
    let units: Vec<u16> = bytes.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    ensure!(bytes.len() % 2 == 0 && units[0] == 0xfeff, "no mark at the beginning");
    let text = String::from_utf16(&units[1..])?;
    ensure!(text == printed.stdout, "{text}");
    ensure!(
        text.lines().count() > 10 && text.matches('\n').count() == text.matches("\r\n").count(),
        "{text:?}"
    );
    // One that is there stays, unless somebody says so.
    fs::write(&file, "mine")?;
    let refused = place.world.nbctl(["export", "putty", "--file", &at])?;
    ensure!(refused.code == 4 && refused.stderr.contains("--yes"), "{refused:?}");
    ensure!(fs::read(&file)? == b"mine");
    let export = place.world.nbctl_command(["export", "putty", "--file", &at]);
    for (answer, code, now) in [("n", 4, &b"mine"[..]), ("y", 0, &bytes)] {
        let mut person = Typist::run(&export)?;
        person.answers("F.reg is there already. Write over it? [y/N]", answer)?;
        ensure!(person.ends()? == code && fs::read(&file)? == now, "{}", person.shown());
    }
    fs::write(&file, "mine")?;
    ensure!(place.world.nbctl(["export", "putty", "--yes", "--file", &at])?.code == 0);
    ensure!(fs::read(&file)? == bytes);
    let told = place.world.nbctl(["--json", "export", "putty", "--file", &at, "--yes", "bob"])?;
    let said: serde_json::Value = serde_json::from_str(&told.stdout)?;
    ensure!(said["exported"]["sessions"][0] == "nbt-bob" && said["exported"]["file"] == *at, "{said}");
    Ok(())
}

#[test]
fn what_changes_is_shown_first_whoever_asks() -> Result<()> {
    let place = Place::new()?;
    let into = place.world.path("config_of_ssh");
    let at = into.display().to_string();
    let mine = "Host x\n  Port 1\n";
    fs::write(&into, mine)?;
    let is_as_it_was = || -> Result<bool> {
        Ok(fs::read_to_string(&into)? == mine && !place.world.config_dir().join("ssh_config").exists())
    };
    let args = |more: &[&'static str]| [&["export", "ssh-config", "--into", &at], more].concat().join("\n");
    let nbctl = |more: &[&'static str]| place.world.nbctl(args(more).split('\n'));
    let diff = format!("--- {at}\n+++ {at}\n@@ line 1 @@\n+Include ");
    // Quiet or not, a diff that was asked for is data.
    for more in [&["--dry-run"][..], &["--dry-run", "-q"], &["--dry-run", "--yes"]] {
        let told = nbctl(more)?;
        ensure!(
            told.code == 0 && told.stdout.contains(&diff) && told.stdout.contains("+Host alice"),
            "{told:?}"
        );
        ensure!(told.stderr.is_empty() == more.contains(&"-q") && is_as_it_was()?, "{told:?}");
    }
    let told = nbctl(&["--dry-run", "--json"])?;
    let said: serde_json::Value = serde_json::from_str(&told.stdout)?;
    ensure!(said["exported"]["changed"] == false, "{said}");
    ensure!(said["exported"]["diff"].as_str().is_some_and(|shown| shown.contains(&diff)), "{said}");
    // Nobody to be asked: shown all the same, unless quiet, and an error.
    let told = nbctl(&[])?;
    ensure!(told.code == 4 && told.stderr.contains("+Host alice") && is_as_it_was()?, "{told:?}");
    let told = nbctl(&["-q"])?;
    ensure!(
        told.code == 4 && told.stderr.starts_with("error: nothing was written") && is_as_it_was()?,
        "{told:?}"
    );
    // A question is never put without what it is about.
    for quiet in [&[][..], &["-q"]] {
        let mut person = Typist::run(&place.world.nbctl_command(args(quiet).split('\n')))?;
        person.sees("+Host alice")?;
        person.sees("+Include ")?;
        person.answers("Write this? [y/N]", "n")?;
        ensure!(person.ends()? == 4 && is_as_it_was()?, "{}", person.shown());
    }
    let mut person = Typist::run(&place.world.nbctl_command(args(&["-q"]).split('\n')))?;
    person.answers("Write this? [y/N]", "y")?;
    ensure!(person.ends()? == 0 && !is_as_it_was()?, "{}", person.shown());
    // What goes is shown as well.
    let told = nbctl(&["--remove", "--dry-run"])?;
    ensure!(told.stdout.contains("-Include ") && told.stdout.contains("-Host alice"), "{told:?}");
    ensure!(nbctl(&["--remove", "--yes"])?.code == 0 && is_as_it_was()?);
    Ok(())
}

#[test]
fn a_link_that_leads_to_nothing_is_said_before_anything_is_written() -> Result<()> {
    let place = Place::new()?;
    let (link, gone) = (place.world.path("config_link"), place.world.path("dotfiles/ssh_config"));
    symlink(&gone, &link)?;
    let at = link.display().to_string();
    for more in ["--yes", "--dry-run"] {
        let told = place.world.nbctl(["export", "ssh-config", more, "--into", &at])?;
        let why = format!("{at} is a link to {}, which is not there", gone.display());
        ensure!(told.code == 1 && told.stderr.contains(&why) && told.stdout.is_empty(), "{told:?}");
    }
    ensure!(!place.world.config_dir().join("ssh_config").exists() && fs::read_link(&link)? == gone);
    fs::create_dir(place.world.path("dotfiles"))?;
    fs::write(&gone, "")?;
    ensure!(place.world.nbctl(["export", "ssh-config", "--yes", "--into", &at])?.code == 0);
    ensure!(fs::read_to_string(&gone)?.starts_with("Include ") && fs::read_link(&link)? == gone);
    Ok(())
}
