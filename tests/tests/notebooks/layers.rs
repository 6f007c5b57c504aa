//! Which layer broke: what `nbctl status` and `nbctl doctor` say of each, with real servers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::jupyter::{Recipe, Stranger};
use nbtunnel_tests::tunnel_file::paths;
use nbtunnel_tests::{Jupyter, Relay, TunnelFile, net, wait};
use serde_json::Value;

use super::lab::Lab;

/// A kernel is begun, or a look at a server that says nothing is over.
const IN_A_WHILE: Duration = Duration::from_secs(60);
/// The layers of a notebook, as `nbctl doctor` goes through them.
const WAY: [&str; 4] = ["notebook", "server", "token", "kernel"];

/// What breaks at alice's: the layer, and what its hint says is to be done.
struct Broken(&'static str, &'static str);

/// Checks that `nbctl status` says `words` of alice, and `nbctl doctor` that nothing but `broken` is. Returns alice as
/// scripts see her.
fn says(lab: &Lab, words: &str, broken: Option<&Broken>) -> Result<Value> {
    let fits = |notebook: &Value| {
        notebook["health"].as_str().is_some_and(|health| health.starts_with(words))
            && notebook["problem"].is_null() == broken.is_none()
    };
    let mut alice = Value::Null;
    wait::until(&format!("status says {words:?}"), IN_A_WHILE, || {
        alice = lab.notebook("alice").unwrap_or_default();
        fits(&alice)
    })
    .with_context(|| format!("{alice:#}"))?;
    let people = lab.nbctl(&["status", "alice"])?;
    ensure!(people.code == 0 && people.stdout.contains(words), "{people:?}");
    walked(lab, broken)?;
    Ok(alice)
}

/// Checks that `nbctl doctor` goes through the layers in order, as far as they work, and ends in one thing to do.
fn walked(lab: &Lab, broken: Option<&Broken>) -> Result<()> {
    let told = lab.nbctl(&["doctor", "alice", "--json"])?;
    let all: Value = serde_json::from_str(&told.stdout).with_context(|| format!("{told:?}"))?;
    let all = all["findings"].as_array().context("findings is a list")?;
    let of_alice: Vec<(&str, &str)> = all
        .iter()
        .filter(|found| found["forward"] == "alice" && found["verdict"] != "warn")
        .filter_map(|found| Some((found["layer"].as_str()?, found["verdict"].as_str()?)))
        .collect();
    let at = broken.map(|broken| WAY.iter().position(|layer| *layer == broken.0).context("no such layer"));
    let at = at.transpose()?.unwrap_or(WAY.len());
    let seen: Vec<&str> = of_alice.iter().map(|(layer, _)| *layer).collect();
    // Whether there is a way to what answers as it should not, only a look at what was found once can say.
    let first = WAY.len() - seen.len();
    ensure!(first == 0 || (first == 1 && at == 1), "{all:#?}");
    ensure!(seen == WAY[first..], "{seen:?}");
    for (layer, verdict) in of_alice {
        let expected = match WAY.iter().position(|each| *each == layer).cmp(&Some(at)) {
            std::cmp::Ordering::Less => "ok",
            std::cmp::Ordering::Equal => "broken",
            std::cmp::Ordering::Greater => "skipped",
        };
        ensure!(verdict == expected, "{layer} is {verdict}, not {expected}: {all:#?}");
    }
    let broken_ones: Vec<&Value> = all.iter().filter(|found| found["verdict"] == "broken").collect();
    ensure!(broken_ones.len() == usize::from(broken.is_some()), "{broken_ones:#?}");
    if let Some(Broken(_, hint)) = broken {
        let told = broken_ones[0]["hint"].as_str().unwrap_or_default();
        ensure!(told.contains(hint), "the hint {told:?} is without {hint:?}");
    }
    ensure!((told.code == 0) == broken.is_none(), "{told:?}");
    Ok(())
}

/// One that listens here, whose second sort of kernel never begins.
fn server(lab: &Lab, port: u16) -> Result<Jupyter> {
    let recipe = lab.recipe().port(port).kernel("broken", "/nonexistent/kernel");
    recipe.setting("c.AsyncMultiKernelManager.use_pending_kernels = True").start()
}

#[test]
fn each_layer_that_breaks_is_told_and_so_is_its_mending() -> Result<()> {
    let port = net::free_port()?;
    let mut lab = Lab::new(&format!("[notebook.alice]\nremote_port = {port}\n"))?;
    let mut jupyter = server(&lab, port)?;
    let local = lab.port("alice")?;

    // All is well: what the server tells is shown.
    lab.found("alice")?;
    let kernel = jupyter.start_kernel(local)?;
    let _busy = jupyter.begin_code(local, &kernel, "import time; time.sleep(600)")?;
    lab.until("alice", "its kernel is busy", |alice| alice["server"]["busy"] == 1)?;
    let alice = says(&lab, "server ok", None)?;
    ensure!(alice["server"]["kernels"] == 1 && alice["server"]["version"].is_string(), "{alice:#}");
    ensure!(alice["server"]["last_activity"].is_string() && alice["health"] == "server ok", "{alice:#}");
    ensure!(alice["health_ms"].as_u64() >= alice["health_since_ms"].as_u64(), "{alice:#}");
    let people = lab.nbctl(&["status", "lab"])?.stdout;
    ensure!(people.contains("version") && people.contains("1 kernel, busy, last activity"), "{people}");

    // It takes connections and says nothing; what it said before is not shown any more.
    jupyter.signal(Signal::Stop);
    let hangs = Broken("server", "may be very busy or hang");
    let alice = says(&lab, &format!("port ok · server does not answer on {port}"), Some(&hangs))?;
    ensure!(alice["server"]["kernels"].is_null() && alice["state"] == "found", "{alice:#}");
    jupyter.signal(Signal::Cont);
    says(&lab, "server ok", None)?;

    // There is no way to it.
    lab.sshd.stop()?;
    lab.sshd.kill_sessions();
    lab.until("alice", "the link is gone", |alice| alice["health"] == "link gone")?;
    let told = lab.nbctl(&["doctor", "alice"])?;
    ensure!(told.code == 1 && told.stdout.contains("broken   tcp"), "{told:?}");
    ensure!(told.stdout.contains("alice: not looked for: the tunnel is not up"), "{told:?}");
    lab.sshd.start_again()?;
    lab.nbctl(&["restart", "lab"])?;
    says(&lab, "server ok", None)?;

    // One that dies is begun again, and taken off the list in the end; one that cannot begin is dead.
    let broken = jupyter.start_kernel_named(local, "broken")?;
    ensure!(jupyter.run_code(local, &broken, "1").is_err());
    let dead = Broken("kernel", "Kernel, Restart");
    let alice = says(&lab, "server ok · kernel dead", Some(&dead))?;
    ensure!(alice["server"]["kernels"] == 2, "{alice:#}");

    // It is gone, and then another user is there.
    jupyter.kill()?;
    let gone = Broken("notebook", "start the notebook's server");
    says(&lab, &format!("ssh ok · port refused (no server on {port})"), Some(&gone))?;
    lab.until("alice", "nothing of it is shown any more", |alice| alice["server"].is_null())?;
    let stranger = Stranger::on(port)?;
    let theirs = Broken("notebook", "find your own server's port");
    says(&lab, &format!("ssh ok · port {port} belongs to another user"), Some(&theirs))?;
    ensure!(stranger.heard().is_empty(), "{}", stranger.heard());
    Ok(())
}

#[test]
fn a_token_that_the_server_does_not_take_is_told() -> Result<()> {
    let port = net::free_port()?;
    let lab = Lab::new(&format!("[notebook.alice]\nremote_port = {port}\ntoken = \"yesterday\"\n"))?;
    // A file that others can read gives no token.
    fs::set_permissions(lab.world.tunnel_path("lab"), fs::Permissions::from_mode(0o600))?;
    ensure!(lab.nbctl(&["reload"])?.code == 0);
    // What it writes down lies where nobody looks.
    let _jupyter = Recipe::new().port(port).token("today").start()?;
    let alice =
        says(&lab, "server ok · token refused", Some(&Broken("token", "take token out of the file")))?;
    ensure!(alice["state"] == "found" && alice["problem"]["code"] == "token_refused", "{alice:#}");
    ensure!(alice["server"]["version"].is_string() && alice["server"]["kernels"].is_null(), "{alice:#}");
    Ok(())
}

#[test]
fn https_where_its_file_says_http_is_told() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\nscheme = \"http\"\n")?;
    let _jupyter = lab.recipe().https().start()?;
    let alice =
        says(&lab, "ssh ok · https on an http forward", Some(&Broken("server", "scheme = \"https\"")))?;
    ensure!(alice["state"] == "failed", "{alice:#}");
    Ok(())
}

#[test]
fn a_look_that_takes_longer_than_who_asks_waits_is_kept_and_told_with_its_age() -> Result<()> {
    let lab = Lab::new("")?;
    let jupyter = lab.recipe().start()?;
    // Each question of a look takes two round trips, and there are more than three.
    let relay = Relay::start(lab.sshd.port(), Duration::from_millis(600))?;
    let far = TunnelFile::to(&lab.sshd).set("port", relay.port()).set("host_key", "\"accept-new\"");
    let far = far.set("known_hosts", paths(&[&lab.world.path("known")]));
    let local = net::free_port()?;
    let section = format!("[notebook.alice]\nfind = \"auto\"\nlocal_port = {local}\n");
    lab.world.write_text("far", format!("{}\n{section}", far.text()))?;
    let well = |tunnel: &Value| {
        let alice = &tunnel["notebooks"][0];
        alice["health"] == "server ok" && alice["server"]["last_activity"].is_string()
    };
    let before = lab.world.wait_until("far", "it is known to be well", well)?;
    let kernel = jupyter.start_kernel(local)?;
    let seen = |tunnel: &Value| tunnel["notebooks"][0]["server"]["kernels"] == 1;
    let after = lab.world.wait_until("far", "its kernel is seen", seen)?;
    let at = |tunnel: &Value| tunnel["notebooks"][0]["health_ms"].as_u64();
    ensure!(at(&after) > at(&before), "{kernel}: {before:#} {after:#}");
    Ok(())
}

#[test]
fn a_server_that_is_only_busy_keeps_its_address_though_another_of_the_users_runs() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let mut busy = lab.recipe().start()?;
    let target = lab.found("alice")?["target"].clone();
    busy.signal(Signal::Stop);
    let other = lab.recipe().start()?;
    // Whoever asks where it is hears of a search that began after that.
    let told = lab.nbctl(&["url", "alice"])?;
    let silence = format!("server does not answer on {}", busy.port());
    let way_out = format!("another is led to (port {}", other.port());
    ensure!(told.code == 1 && told.stderr.contains(&silence) && told.stderr.contains(&way_out), "{told:?}");
    says(&lab, &format!("port ok · {silence}"), Some(&Broken("server", "may be very busy or hang")))?;
    ensure!(lab.notebook("alice")?["target"] == target, "{:#}", lab.notebook("alice")?);
    busy.signal(Signal::Cont);
    let alice = says(&lab, "server ok", None)?;
    ensure!(alice["target"] == target, "{alice:#}");

    // One that hangs for good is ended by its name, and only then is another one meant.
    busy.signal(Signal::Stop);
    let told = lab.nbctl(&["notebook", "stop", "alice"])?;
    ensure!(told.code == 0, "{told:?}");
    let at = format!("127.0.0.1:{}", other.port());
    wait::until("the other one is led to", IN_A_WHILE, || {
        lab.notebook("alice").is_ok_and(|alice| alice["target"] == at.as_str())
    })?;
    says(&lab, "server ok", None)?;
    Ok(())
}

#[test]
fn a_server_that_was_found_is_looked_at_once_before_anybody_asks_and_not_again() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let mut jupyter = lab.recipe().setting("c.Application.log_level = 'DEBUG'").start()?;
    // Whoever asks where it is has it looked for, and does not look how it fares.
    ensure!(lab.says("token", "alice")? == jupyter.token());
    let asked = |jupyter: &Jupyter| jupyter.log().matches("GET /api/kernels").count();
    wait::until("it is looked at", IN_A_WHILE, || asked(&jupyter) > 0)?;
    wait::throughout("it is looked at again", Duration::from_secs(3), || asked(&jupyter) == 1)?;
    jupyter.kill()?;
    let again = lab.recipe().setting("c.Application.log_level = 'DEBUG'").start()?;
    ensure!(lab.says("token", "alice")? == again.token());
    wait::until("the next one is looked at", IN_A_WHILE, || asked(&again) == 1)
}
