//! Each way to log in, over each kind of forward, at real servers: rows and columns of one table. Every byte is
//! checked both ways, the daemon's own count of them too, and the server's log says that the login was the one meant.
#![cfg(target_os = "linux")]

mod forwards;
mod logins;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::terminal::Typist;
use nbtunnel_tests::wait;

use forwards::{COLUMNS, Ends};
use logins::{LOGINS, Login};

/// So many rows at a time: a login waits more than it works.
const AT_A_TIME: usize = 4;

#[test]
fn every_login_carries_every_kind_of_forward() {
    let (next, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((name, login)) = LOGINS.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let cells = row(*login).unwrap_or_else(|e| vec![format!("every forward: {e:#}")]);
                    let cells = cells.into_iter().map(|cell| format!("{name} × {cell}"));
                    broken.lock().unwrap().extend(cells);
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{} cells are broken:\n{}", broken.len(), broken.join("\n"));
}

/// One row of the table; says which cells are broken, and how.
fn row(login: fn() -> Result<Login>) -> Result<Vec<String>> {
    let mut login = login().context("the servers do not come up")?;
    let ends = Ends::new()?;
    login.world.write("alice", &ends.write(login.file.clone()))?;
    let mut daemon = match &login.daemon {
        Some(program) => login.world.daemon_command_of(program),
        None => login.world.daemon_command(),
    };
    daemon.env_remove("KRB5CCNAME");
    login.world.start_by(daemon)?;
    if !login.answers.is_empty() {
        answer(&login)?;
    }
    let shown = ends.settled(&login.world)?;
    let mut broken = Vec::new();
    for (column, forward) in COLUMNS.iter().zip(&shown) {
        let carried = match login.refuses.contains(&column.name) {
            true => ends.is_refused(&login.world, column, forward),
            false => ends.carries(column, forward),
        };
        broken.extend(carried.err().map(|e| format!("{}: {e:#}", column.name)));
    }
    if broken.is_empty() {
        ends.are_counted(&login.world, &login.refuses)?;
        login.proofs.iter().try_for_each(|(log, text)| is_logged_once(log, text))?;
        login.world.quiet();
    }
    Ok(broken)
}

/// Waits until it is parked, and answers what is asked then.
fn answer(login: &Login) -> Result<()> {
    let parked = login.world.wait_for("alice", "parked")?;
    let hint = parked["problem"]["hint"].as_str().unwrap_or_default();
    ensure!(hint.contains("nbctl unlock alice"), "{parked:#}");
    let mut person = Typist::run(&login.world.nbctl_command(["unlock", "alice"]))?;
    for (prompt, answer) in &login.answers {
        person.answers(prompt, answer)?;
    }
    ensure!(person.ends()? == 0, "{}", person.shown());
    Ok(())
}

/// One login carried all of it, and the server knows of it as what it was meant to be.
fn is_logged_once(log: &Path, text: &str) -> Result<()> {
    let read = || fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let times = || read().lines().filter(|line| line.contains(text)).count();
    wait::until("the server logs the login", wait::SOON, || times() > 0)
        .with_context(|| format!("{text:?} is not in the log:\n{}", read()))?;
    ensure!(times() == 1, "{text:?} is in the log {} times:\n{}", times(), read());
    Ok(())
}
