//! The user's browser. It is given an address that works once and leads to the real one, so that no token stands in its
//! command line: `doorway` serves that address. Where others could read that address in the command line and use it,
//! `page` is a file that leads there.

mod doorway;
#[cfg_attr(target_os = "linux", path = "owner_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "owner_other.rs")]
mod owner;
mod page;
#[cfg_attr(windows, path = "system_windows.rs")]
#[cfg_attr(not(windows), path = "system_unix.rs")]
mod system;
mod web_app;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::exit::{CommandError, Exit};
use crate::opener::Session;
use doorway::Doorway;
use page::Page;

/// How long a browser may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is put into the browser's command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The one-time address. Browsers in a sandbox of their own, as of Snap, open it as well.
    Address,
    /// A file that only this user can read, and that leads there.
    Page,
}

impl Way {
    /// That of this system.
    fn here() -> Way {
        Way::safe(owner::are_told(), system::COMMAND_LINES_ARE_PRIVATE)
    }

    /// The address is no secret in a command line that everybody reads; then it serves only where whoever comes by it
    /// can be asked who he is.
    fn safe(owners_are_told: bool, command_lines_are_private: bool) -> Way {
        if owners_are_told || command_lines_are_private { Way::Address } else { Way::Page }
    }
}

/// Browsers that need the terminal to themselves.
const IN_TERMINAL: [&str; 7] = ["w3m", "lynx", "links", "links2", "elinks", "browsh", "www-browser"];

/// Command lines that show a URL, the first that works is used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Browser {
    /// Each with `%s` where the URL belongs, or to be followed by it.
    commands: Vec<Vec<String>>,
}

impl Browser {
    /// That of `$BROWSER`, else the system's, if somebody sits at this machine who could see it.
    pub(crate) async fn find() -> Option<Browser> {
        let named = std::env::var("BROWSER").ok().filter(|value| !value.trim().is_empty());
        let commands = match named {
            Some(named) => listed(&named),
            None => {
                let mut usual = Session::here().for_web();
                if cfg!(target_os = "macos") && !usual.is_empty() {
                    usual.splice(..0, web_app::find().await);
                }
                usual
            }
        };
        (!commands.is_empty()).then_some(Browser { commands })
    }
}

/// `$BROWSER` as it is written: commands with colons between them, words as in a shell.
fn listed(value: &str) -> Vec<Vec<String>> {
    let commands = value.split(system::BETWEEN).filter_map(|command| shell_words::split(command).ok());
    commands.filter(|words| !words.is_empty()).collect()
}

/// What is run to show `url`: no shell reads it.
fn filled_in(words: &[String], url: &str) -> Vec<String> {
    let mut has_place = false;
    let mut filled: Vec<String> = words
        .iter()
        .map(|word| {
            has_place |= word.contains("%s");
            word.replace("%s", url)
        })
        .collect();
    if !has_place {
        filled.push(url.to_owned());
    }
    filled
}

/// Lets the browser go to `url`, which the browser's command line does not tell. Returns when it has been there.
/// `own_dir` is a directory of this user alone.
///
/// # Errors
/// That there is no browser which works, or that none came in time. `name` is what the user calls what is opened.
pub(crate) async fn open(
    browser: &Browser,
    url: &str,
    name: &str,
    own_dir: &Path,
) -> Result<(), CommandError> {
    open_within(PATIENCE, Way::here(), browser, url, name, own_dir).await
}

async fn open_within(
    patience: Duration,
    way: Way,
    browser: &Browser,
    url: &str,
    name: &str,
    own_dir: &Path,
) -> Result<(), CommandError> {
    let no_way = |error| {
        CommandError::new(
            Exit::Failed,
            format!("the way from the browser to {name} cannot be made: {error}"),
            format!("open the URL yourself: `nbctl url {name}` prints it"),
        )
    };
    let doorway = Doorway::new().await.map_err(no_way)?;
    let page = match way {
        Way::Address => None,
        Way::Page => Some(Page::new(own_dir, &doorway.address()).map_err(no_way)?),
    };
    let given = page.as_ref().map_or_else(|| doorway.address(), Page::url);
    let serve = doorway.lead_to(url);
    tokio::pin!(serve);
    let deadline = tokio::time::sleep(patience);
    tokio::pin!(deadline);
    // Whoever ends us does not leave the file behind.
    let ended = crate::signals::end();
    tokio::pin!(ended);
    let mut whys = Vec::new();
    for words in &browser.commands {
        let words = filled_in(words, &given);
        let program = words.first().cloned().unwrap_or_default();
        let in_terminal =
            IN_TERMINAL.iter().any(|name| Path::new(&program).file_stem().is_some_and(|stem| stem == *name));
        let mut child = match command(&words, in_terminal).spawn() {
            Ok(child) => child,
            Err(error) => {
                whys.push(format!("{program} cannot be run: {error}"));
                continue;
            }
        };
        tokio::select! {
            biased;
            served = &mut serve => {
                drop(page);
                served.map_err(|error| nobody(&format!("the browser hung up: {error}"), name))?;
                if in_terminal {
                    // Two programs cannot read one terminal.
                    let _ = child.wait().await;
                }
                return Ok(());
            }
            () = unless_it_works(&mut child) => whys.push(format!("{program} failed")),
            () = &mut ended, if page.is_some() => return Err(nobody("it was cancelled", name)),
            () = &mut deadline => return Err(nobody(&no_one_came(patience), name)),
        }
    }
    Err(nobody(&whys.join("; "), name))
}

/// Ends when the program has failed. One that ended well has told a browser that runs already, which is on its way.
async fn unless_it_works(child: &mut tokio::process::Child) {
    if child.wait().await.is_ok_and(|status| status.success()) {
        std::future::pending::<()>().await;
    }
}

fn command(words: &[String], in_terminal: bool) -> Command {
    let (program, arguments) =
        words.split_first().map_or(("", words), |(first, rest)| (first.as_str(), rest));
    let mut command = Command::new(program);
    command.args(arguments);
    if !in_terminal {
        // It outlives us, and what it has to say is not for whoever typed our command.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        system::apart(&mut command);
    }
    command
}

fn no_one_came(patience: Duration) -> String {
    format!("no browser came within {} s", patience.as_secs())
}

fn nobody(why: &str, name: &str) -> CommandError {
    CommandError::new(
        Exit::Failed,
        format!("{name} was not opened: {why}"),
        format!("open the URL yourself: `nbctl url {name}` prints it; $BROWSER names another browser"),
    )
}

#[cfg(all(test, unix))]
mod tests;
