//! What opens something on this user's desktop: a web page, another program's link, VS Code. Pure, but for the look at
//! the session; what is run is for the callers.

/// What decides about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    system: System,
    /// Whoever types is at another machine, and sees nothing of this one's screen.
    is_far: bool,
    /// There is a display that programs can open windows on.
    has_display: bool,
    /// It is the Linux of a Windows, whose desktop is around it.
    is_within_windows: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Windows,
    Macos,
    /// Linux, and whatever else has the desktops of freedesktop.org.
    Other,
}

/// A program with its arguments, which what is to be opened follows.
pub(crate) type Words = Vec<String>;

impl Session {
    /// This one.
    pub(crate) fn here() -> Session {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Session {
            system: match (cfg!(windows), cfg!(target_os = "macos")) {
                (true, _) => System::Windows,
                (_, true) => System::Macos,
                (false, false) => System::Other,
            },
            is_far: is_set("SSH_CONNECTION"),
            has_display: is_set("DISPLAY") || is_set("WAYLAND_DISPLAY"),
            is_within_windows: is_set("WSL_DISTRO_NAME"),
        }
    }

    /// What opens a web address: the first that works. None where nobody would see it.
    pub(crate) fn for_web(self) -> Vec<Words> {
        match self.system {
            // The first word in quotes would be a title, so that an empty one stands there.
            System::Windows if !self.is_far => vec![words(&["cmd", "/c", "start", ""])],
            System::Other if self.has_display => {
                vec![words(&["xdg-open"]), words(&["x-www-browser"]), words(&["firefox"])]
            }
            System::Windows | System::Macos | System::Other => self.for_link(),
        }
    }

    /// What opens a link of any program's own scheme, whatever stands in it.
    pub(crate) fn for_link(self) -> Vec<Words> {
        match self.system {
            // On a screen that nobody looks at.
            System::Windows | System::Macos if self.is_far => vec![],
            // `cmd` would take the `&` of a link for the end of a command.
            System::Windows => vec![words(&["rundll32", "url.dll,FileProtocolHandler"])],
            System::Macos => vec![words(&["open"])],
            System::Other if self.has_display => vec![words(&["xdg-open"])],
            // Windows around a Linux of its own has a desktop, and no display.
            System::Other if self.is_within_windows => vec![words(&["wslview"])],
            System::Other => vec![],
        }
    }

    /// The program of VS Code's command line.
    pub(crate) fn vscode(self) -> &'static str {
        match self.system {
            // It is a batch file there, which is not found by its bare name.
            System::Windows => "code.cmd",
            System::Macos | System::Other => "code",
        }
    }
}

fn words(words: &[&str]) -> Words {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_HOME: Session =
        Session { system: System::Other, is_far: false, has_display: false, is_within_windows: false };

    fn shown(commands: Vec<Words>) -> Vec<String> {
        commands.iter().map(|words| words.join(" ")).collect()
    }

    #[test]
    fn every_system_has_its_own_way() {
        let at = |system| Session { system, ..AT_HOME };
        let windows = at(System::Windows);
        assert_eq!(shown(windows.for_web()), ["cmd /c start "]);
        assert_eq!(shown(windows.for_link()), ["rundll32 url.dll,FileProtocolHandler"]);
        assert_eq!(windows.vscode(), "code.cmd");
        let macos = at(System::Macos);
        assert_eq!(
            (shown(macos.for_web()), shown(macos.for_link())),
            (vec!["open".into()], vec!["open".into()])
        );
        assert_eq!(macos.vscode(), "code");
        let linux = Session { has_display: true, ..AT_HOME };
        assert_eq!(shown(linux.for_web()), ["xdg-open", "x-www-browser", "firefox"]);
        assert_eq!(shown(linux.for_link()), ["xdg-open"]);
        assert_eq!(linux.vscode(), "code");
    }

    #[test]
    fn nothing_is_opened_where_nobody_would_see_it() {
        for system in [System::Windows, System::Macos, System::Other] {
            let far = Session { system, is_far: true, ..AT_HOME };
            assert!(far.for_web().is_empty() && far.for_link().is_empty(), "{system:?}");
        }
        // The display of one who came by `ssh -X` is his own.
        let forwarded = Session { is_far: true, has_display: true, ..AT_HOME };
        assert_eq!(shown(forwarded.for_link()), ["xdg-open"]);
        let within = Session { is_within_windows: true, ..AT_HOME };
        assert_eq!(
            (shown(within.for_web()), shown(within.for_link())),
            (vec!["wslview".into()], vec!["wslview".into()])
        );
        let with_windows_of_its_own = Session { has_display: true, ..within };
        assert_eq!(shown(with_windows_of_its_own.for_link()), ["xdg-open"]);
    }
}
