//! What `nbctl export` writes is what other programs take, and what it undoes is as it was.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use anyhow::{Result, ensure};
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
