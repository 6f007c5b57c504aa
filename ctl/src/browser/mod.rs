//! The user's browser. It is given an address that works once and leads to the real one, so that no token stands in its
//! command line: `doorway` serves that address, `system` says what the system opens one with.

mod doorway;
#[cfg_attr(target_os = "linux", path = "owner_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "owner_other.rs")]
mod owner;
#[cfg_attr(windows, path = "system_windows.rs")]
#[cfg_attr(not(windows), path = "system_unix.rs")]
mod system;

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::exit::{CommandError, Exit};
use doorway::Doorway;

/// How long a browser may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

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
    pub(crate) fn find() -> Option<Browser> {
        let named = std::env::var("BROWSER").ok().filter(|value| !value.trim().is_empty());
        let commands = match named {
            Some(named) => listed(&named),
            None => system::usual(),
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
///
/// # Errors
/// That there is no browser which works, or that none came in time. `name` is what the user calls what is opened.
pub(crate) async fn open(browser: &Browser, url: &str, name: &str) -> Result<(), CommandError> {
    open_within(PATIENCE, browser, url, name).await
}

async fn open_within(
    patience: Duration,
    browser: &Browser,
    url: &str,
    name: &str,
) -> Result<(), CommandError> {
    let doorway = Doorway::new().await.map_err(|error| {
        CommandError::new(
            Exit::Failed,
            format!("the way from the browser to {name} cannot be made: {error}"),
            format!("open the URL yourself: `nbctl url {name}` prints it"),
        )
    })?;
    let address = doorway.address();
    let serve = doorway.lead_to(url);
    tokio::pin!(serve);
    let deadline = tokio::time::sleep(patience);
    tokio::pin!(deadline);
    let mut whys = Vec::new();
    for words in &browser.commands {
        let words = filled_in(words, &address);
        let program = words.first().cloned().unwrap_or_default();
        let in_terminal = IN_TERMINAL
            .iter()
            .any(|name| std::path::Path::new(&program).file_stem().is_some_and(|stem| stem == *name));
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
                served.map_err(|error| nobody(&format!("the browser hung up: {error}"), name))?;
                if in_terminal {
                    // Two programs cannot read one terminal.
                    let _ = child.wait().await;
                }
                return Ok(());
            }
            () = unless_it_works(&mut child) => whys.push(format!("{program} failed")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[tokio::test]
    async fn a_browser_that_never_comes_is_not_waited_for_for_ever() {
        let browser = Browser { commands: listed("true") };
        let open = open_within(Duration::from_millis(300), &browser, "http://localhost:1/?token=t", "alice");
        let error = open.await.unwrap_err();
        assert_eq!(error.exit, Exit::Failed);
        assert!(error.message.contains("no browser came within"), "{}", error.message);
    }

    #[cfg(unix)]
    #[test]
    fn the_variable_is_read_by_its_convention() {
        let shown = |value: &str| -> Vec<String> {
            listed(value).iter().map(|words| filled_in(words, "http://x/?a&b").join("|")).collect()
        };
        assert_eq!(shown("firefox"), ["firefox|http://x/?a&b"]);
        assert_eq!(shown("a b:'c d' --url=%s -n"), ["a|b|http://x/?a&b", "c d|--url=http://x/?a&b|-n"]);
        assert_eq!(shown("::'unclosed"), [""; 0]);
        assert_eq!(shown("sh;rm $(x)"), ["sh;rm|$(x)|http://x/?a&b"], "nothing in it is a shell's");
    }
}
