//! `nbctl add`: a tunnel file from a whole ssh command line, or from flags. It is judged by the daemon's own
//! program before it takes its place, and starts at once where a daemon runs.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nbctl::ssh_line::Tunnel;
use nbtunnel_proto::{FileProblem, ForwardStatus, Problem, TunnelStatus, client};
use serde_json::json;

use crate::args::{AddArgs, StartWhen};
use crate::checker;
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;
use crate::table;
use crate::tunnel_file::{self, Draft};

mod alias;
mod file;
mod input;
mod notebook;
mod read;
mod replace;

use notebook::Notebook;
use read::Given;

/// How often, and how many times, the new tunnel is looked at: two seconds in all.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOKS: u32 = 20;

pub(crate) async fn run(args: AddArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let args = input::filled_in(args, printer)?;
    let Given { name, mut tunnel, server } = read::read(&args, alias::is_known)?;
    let notebook = match server {
        Some(server) => Some(Notebook::at(server, &mut tunnel)),
        None if tunnel.leads_somewhere() || ssh_config_leads_somewhere(&tunnel) => None,
        None => Some(Notebook::to_be_found()),
    };
    let config_dir = daemon.config_dir().await?;
    let taken = tunnel_file::names(&config_dir)?;
    let name = name.unwrap_or_else(|| tunnel_file::name_from_host(&tunnel.host));
    tunnel_file::check_name(&name)?;
    let name = match tunnel_file::clash(&taken, &name) {
        None => name,
        Some(other) if args.replace => other.clone(),
        Some(other) => return Err(clash(other, &taken, &args)),
    };
    let text = file::toml(&name, &tunnel, notebook.as_ref(), &args);
    let text = if args.replace { replace::text(&config_dir, &name, text)? } else { text };
    let secret = notebook.as_ref().and_then(Notebook::secret);
    let (place, not_followed) = write(&config_dir, &name, &text, secret, &args)?;
    let mut notes = tunnel.remarks();
    notes.extend(not_followed);
    notes.iter().for_each(|note| printer.note(note));
    let running = daemon.reload(&config_dir, printer).await;
    let started = match &running {
        Ok(true) => settled(daemon, &name).await,
        Ok(false) | Err(_) => None,
    };
    if printer.is_json() {
        printer.json(&json!({"added": {
            "name": name, "file": place, "notes": notes, "notebook": notebook.as_ref().map(|_| &name), "running": matches!(running, Ok(true)),
            "state": started.as_ref().map(|started| &started.state),
            "problem": started.as_ref().and_then(|started| problems(started).next()),
        }}))?;
    }
    printer.say(&next(&name, &place, &tunnel, notebook.as_ref(), args.start, started.as_ref()));
    for problem in started.iter().flat_map(problems) {
        printer.note(&format!("{}; {}", problem.message, problem.hint));
    }
    // The file is there; that the daemon could not be told is said, and its watch will find it anyway.
    if let Err(error) = running {
        printer.note(&format!("the running daemon was not told: {}", error.message));
    }
    Ok(Exit::Done)
}

/// Whether the host stands in ssh_config with a forward: then that is what the tunnel is for.
fn ssh_config_leads_somewhere(tunnel: &Tunnel) -> bool {
    let file = tunnel.ssh_config.as_deref();
    file != Some("none")
        && checker::hosts(file.map(Path::new))
            .is_ok_and(|hosts| hosts.iter().any(|host| host.host == tunnel.host && !host.forwards.is_empty()))
}

/// The new tunnel, once it is seen whether it comes up; as it is by then if that takes longer.
async fn settled(daemon: &Daemon, name: &str) -> Option<TunnelStatus> {
    let mut looks = 0;
    loop {
        let status = daemon.status(vec![name.to_owned()]).await.ok()?;
        let tunnel = status.tunnels.into_iter().find(|tunnel| tunnel.name == name)?;
        let on_its_way = matches!(tunnel.state.as_str(), "binding" | "connecting" | "closing");
        if !on_its_way || tunnel.problem.is_some() || looks == LOOKS {
            return Some(tunnel);
        }
        looks += 1;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What is wrong with it, and with its forwards.
fn problems(tunnel: &TunnelStatus) -> impl Iterator<Item = &Problem> {
    tunnel.problem.iter().chain(tunnel.forwards.iter().filter_map(|forward| forward.problem.as_ref()))
}

fn clash(other: &str, taken: &[String], args: &AddArgs) -> CommandError {
    let free = tunnel_file::free_name(taken, other);
    let another = match args.words.iter().any(|word| word.eq_ignore_ascii_case(other)) {
        true => format!("give another one, for example {free}"),
        false => format!("name it, as in `nbctl add {free} …`"),
    };
    let hint = format!(
        "{another}; if it is the same at a new address or port, `nbctl add --replace …` puts that in its file; \
         `nbctl edit {other}` changes what is there"
    );
    CommandError::new(Exit::Failed, format!("there is a tunnel {other} already"), hint)
        .with_code("name_taken")
        .with("free_name", json!(free))
}

/// Writes beside, lets it be judged, and moves it into its place. Returns the place, and what the tunnel does not do
/// as ssh would.
fn write(
    config_dir: &Path,
    name: &str,
    text: &str,
    secret: Option<&str>,
    args: &AddArgs,
) -> Result<(PathBuf, Vec<String>), CommandError> {
    tunnel_file::make_dir(config_dir)?;
    let place = tunnel_file::path_of(config_dir, name);
    let draft = Draft::write(&place, text.as_bytes())?;
    let mut report = checker::check_draft(&draft, &place, config_dir)?;
    if let Some(secret) = secret {
        report.problems.iter_mut().for_each(|problem| hide(secret, problem));
    }
    if let Some(problem) = report.problems.first() {
        let hint =
            if problem.hint.is_empty() { "change the command line and try again" } else { &problem.hint };
        // What is the hint of the whole is not said twice.
        let shown: String = report
            .problems
            .iter()
            .map(|problem| match problem.hint == hint {
                true => FileProblem { hint: String::new(), ..problem.clone() },
                false => problem.clone(),
            })
            .map(|problem| table::diagnosis(&problem, crate::text::Paint(false)))
            .collect();
        let message =
            format!("the tunnel was not added, since its file would be wrong\n{}", shown.trim_end());
        return Err(CommandError::new(Exit::Failed, message, hint)
            .with_code("config")
            .with("problems", json!(report.problems)));
    }
    let notes = report.notes.into_iter().map(|note| note.message).collect();
    // A link stays a link.
    if let Ok(there) = place.canonicalize()
        && args.replace
    {
        draft.put(&there, secret.is_some())?;
        return Ok((place, notes));
    }
    match draft.place_new(&place) {
        Ok(()) => Ok((place, notes)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(clash(name, &tunnel_file::names(config_dir)?, args))
        }
        Err(error) => Err(CommandError::file("written", &place, &error)),
    }
}

/// Takes the token out of what is shown.
fn hide(secret: &str, problem: &mut FileProblem) {
    if problem.source.as_ref().is_some_and(|line| line.trim_start().starts_with("token")) {
        problem.source = Some("token = \"…\"".to_owned());
    }
    for text in [&mut problem.message, &mut problem.hint].into_iter().chain(&mut problem.source) {
        *text = text.replace(secret, "…");
    }
}

/// What happens next, in a line.
fn next(
    name: &str,
    place: &Path,
    tunnel: &Tunnel,
    notebook: Option<&Notebook>,
    start: Option<StartWhen>,
    started: Option<&TunnelStatus>,
) -> String {
    let Some(started) = started else {
        return format!(
            "{name}: written to {}; no daemon watches it yet: {}",
            place.display(),
            client::START
        );
    };
    let who =
        tunnel.user.as_ref().map_or_else(|| tunnel.host.clone(), |user| format!("{user}@{}", tunnel.host));
    let found = notebook.map(Notebook::shown);
    let ways: Vec<String> = found.into_iter().chain(started.forwards.iter().map(way)).collect();
    let ways = ways.join(", ");
    let see = match notebook {
        Some(_) => format!("`nbctl open {name}` opens it"),
        None => format!("see `nbctl status {name}`"),
    };
    match start {
        Some(StartWhen::Manual) => format!("{name}: {ways} at {who}; `nbctl start {name}` brings it up"),
        Some(StartWhen::Demand) => {
            format!("{name}: {ways} at {who}, connected when somebody comes; {see}")
        }
        Some(StartWhen::Login) | None => {
            format!("{name}: {ways} at {who} ({} now); {see}", started.state)
        }
    }
}

fn way(forward: &ForwardStatus) -> String {
    let ForwardStatus { kind, listen, target, .. } = forward;
    match kind.as_str() {
        "dynamic" => format!("socks5://{listen} leads anywhere"),
        "remote" => format!("{listen} there leads to {target} here"),
        "remote_dynamic" => format!("socks5://{listen} there leads anywhere from here"),
        _ if forward.problem.is_some() => format!("{listen} would lead to {target}"),
        _ if listen.contains('/') => format!("{listen} leads to {target}"),
        _ => format!("http://{listen} leads to {target}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn args(words: &[&str]) -> AddArgs {
        let cli = Cli::try_parse_from(["nbctl", "add"].iter().chain(words)).unwrap();
        match cli.command {
            Command::Add(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn given(words: &[&str]) -> Result<Given, CommandError> {
        read::read(&args(words), |word| word == "mycluster")
    }

    /// The name that was given, and the file.
    fn file(words: &[&str]) -> (Option<String>, String) {
        let Given { name, mut tunnel, server } = given(words).unwrap();
        let notebook = server.map(|server| Notebook::at(server, &mut tunnel));
        let text = file::toml(name.as_deref().unwrap_or("NAME"), &tunnel, notebook.as_ref(), &args(words));
        (name, text)
    }

    const LINE: &str = "ssh -N -f -L localhost:6000:localhost:7000 username@dest.ination.com";

    #[test]
    fn the_four_ways_to_say_the_same_make_the_same_file() {
        let expected = "host = \"dest.ination.com\"\nuser = \"username\"\n\
                        forward = [\"localhost:6000:localhost:7000\"]\n";
        let host = ["--host", "username@dest.ination.com", "-L", "localhost:6000:localhost:7000"];
        let split: Vec<&str> = std::iter::once("--").chain(LINE.split(' ')).collect();
        for words in [&[LINE][..], &split, &["--", LINE], &host] {
            assert_eq!(file(words), (None, expected.to_owned()), "{words:?}");
        }
        let named: Vec<&str> = std::iter::once("alice").chain(split.iter().copied()).collect();
        for words in [&["alice", LINE][..], &[LINE, "alice"], &named] {
            assert_eq!(file(words), (Some("alice".into()), expected.to_owned()), "{words:?}");
        }
    }

    #[test]
    fn everything_that_can_be_said_stands_in_the_file() {
        let line = "ssh -p 2222 -i ~/k -o StrictHostKeyChecking=accept-new -o ServerAliveInterval=15 \
                    -o ConnectTimeout=5 -o UserKnownHostsFile=/kh -L 1:h:2 -L 3:h:4 -C -F /c me@h";
        let (_, text) = file(&[
            line,
            "-J",
            "a,b@c:2",
            "-o",
            "IdentitiesOnly=yes",
            "--start",
            "demand",
            "--tag",
            "lab",
            "--tag",
            "x",
            "--hold",
            "10s",
        ]);
        assert_eq!(
            text,
            "host = \"h\"\nuser = \"me\"\nport = 2222\nforward = [\"1:h:2\", \"3:h:4\"]\njump = [\"a\", \"b@c:2\"]\nstart = \"demand\"\n\
             tags = [\"lab\", \"x\"]\nidentity_file = [\"~/k\"]\nhost_key = \"accept-new\"\n\
             known_hosts = [\"/kh\"]\nssh_config = \"/c\"\noptions = [\"Compression=yes\", \"IdentitiesOnly=yes\"]\n\
             keepalive = \"15s\"\nconnect_timeout = \"5s\"\nhold = \"10s\"\n"
        );
    }

    #[test]
    fn a_path_means_what_it_meant_where_it_was_typed() {
        let here = std::env::current_dir().unwrap();
        let here = here.display();
        let line = "ssh -i k.pem -i ~/k -i /k -o UserKnownHostsFile=kh -L 1:h:2 h";
        let (_, text) = file(&[line, "-i", "k2"]);
        let keys = format!("identity_file = [\"{here}/k.pem\", \"~/k\", \"/k\", \"{here}/k2\"]");
        assert!(text.contains(&keys) && text.contains(&format!("known_hosts = [\"{here}/kh\"]")), "{text}");
        for words in [&["ssh -i $HOME/k h"][..], &["--", "ssh", "-i", "$HOME/k", "h"]] {
            let error = given(words).unwrap_err();
            assert!(error.message.contains("variable") && error.exit == Exit::Usage, "{words:?}");
        }
    }

    #[test]
    fn a_host_may_be_given_as_a_word() {
        for (words, host) in [
            (&["mycluster"][..], "host = \"mycluster\"\n"),
            (&["me@h"], "host = \"h\"\nuser = \"me\"\n"),
            (&["gpu7.example.org"], "host = \"gpu7.example.org\"\n"),
            (&["10.0.0.1", "-p", "2222"], "host = \"10.0.0.1\"\nport = 2222\n"),
            (&["ssh://me@h:2222"], "host = \"h\"\nuser = \"me\"\nport = 2222\n"),
        ] {
            assert_eq!(file(words), (None, host.to_owned()), "{words:?}");
        }
        assert_eq!(file(&["alice", "me@h"]).0.as_deref(), Some("alice"));
        assert_eq!(file(&["alice", "mycluster"]).0.as_deref(), Some("alice"));
    }

    #[test]
    fn an_address_goes_with_whatever_says_how_ssh_gets_there() {
        const URL: &str = "http://localhost:8888/lab?token=abc";
        let section = |name: &str| format!("\n[notebook.{name}]\nremote_port = 8888\ntoken = \"abc\"\n");
        for (words, name) in [
            (&[URL, "--host", "h"][..], None),
            (&["ssh h", URL], None),
            (&[URL, "--", "ssh", "h"], None),
            (&["alice", "ssh h", URL], Some("alice")),
            (&["alice", URL, "--host", "h"], Some("alice")),
        ] {
            let text = format!("host = \"h\"\n{}", section(name.unwrap_or("NAME")));
            assert_eq!(file(words), (name.map(str::to_owned), text), "{words:?}");
        }
        let (name, text) = file(&["http://gpu7:8888/?token=abc"]);
        assert_eq!((name, text), (None, format!("host = \"gpu7\"\n{}", section("NAME"))));
        let (_, text) = file(&["http://gpu7:8888/?token=abc", "me@login"]);
        assert!(text.starts_with("host = \"login\"\nuser = \"me\"\n") && text.contains("host = \"gpu7\""));
        let (_, text) = file(&["a.b", URL, "--host", "h"]);
        assert!(text.contains("[notebook.\"a.b\"]"), "{text}");
        let error = given(&[URL]).unwrap_err();
        assert!(error.hint.contains("--host") && !error.message.contains("abc"), "{error:?}");
    }

    #[test]
    fn what_is_said_twice_or_not_at_all_is_a_usage_error() {
        const URL: &str = "http://localhost:1/";
        for words in [
            &[][..],
            &["alice"],
            &["a", "b"],
            &["alice", URL],
            &["a", "b", "me@h"],
            &[LINE, "--host", "h"],
            &[LINE, LINE],
            &[URL, URL, "--host", "h"],
            &[LINE, "-p", "1"],
        ] {
            assert_eq!(given(words).unwrap_err().exit, Exit::Usage, "{words:?}");
        }
    }

    #[test]
    fn a_problem_shows_no_token() {
        let mut problem = FileProblem {
            file: None,
            line: Some(5),
            column: Some(9),
            source: Some("token = \"a\\\"bc\"".to_owned()),
            message: "not a token: a\"bc".to_owned(),
            hint: "not a\"bc".to_owned(),
        };
        hide("a\"bc", &mut problem);
        assert!(!format!("{problem:?}").contains("bc"), "{problem:?}");
    }
}
