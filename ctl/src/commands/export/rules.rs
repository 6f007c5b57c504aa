//! How paths and command lines are written for ssh of this system. On Windows there may be two that read the same file:
//! its own, whose ProxyCommand runs in `cmd`, and that of Git Bash, whose runs in `sh`. Pure.

/// Whose ways are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    Posix,
    Windows,
}

impl Rules {
    /// Those of this system.
    pub(super) const HERE: Rules = if cfg!(windows) { Rules::Windows } else { Rules::Posix };

    /// A path as it stands in ssh_config: a backslash is nothing that Git Bash could follow, a slash all can.
    pub(super) fn path(self, path: &str) -> String {
        match self {
            Rules::Posix => path.to_owned(),
            Rules::Windows => path.replace('\\', "/"),
        }
    }

    /// The line that includes the file at `path`. Git Bash takes `C:/…` for a name in ~/.ssh (ssh_config(5), Include),
    /// so that what lies in the `home` directory is named from there.
    pub(super) fn include(self, path: &str, home: Option<&str>) -> String {
        let path = self.path(path);
        let below = home.filter(|_| self == Rules::Windows).and_then(|home| {
            let home = self.path(home.trim_end_matches(['/', '\\']));
            let (start, rest) = path.split_at_checked(home.len())?;
            (start.eq_ignore_ascii_case(&home) && rest.starts_with('/')).then(|| format!("~{rest}"))
        });
        format!("Include {}", quoted(&below.unwrap_or(path)))
    }

    /// The command line for the shell that ssh starts, with the tokens of ssh_config escaped.
    pub(super) fn command(self, words: &[String]) -> String {
        let line = match self {
            Rules::Posix => shell_words::join(words),
            Rules::Windows => {
                let quote = |(at, word): (usize, &String)| {
                    let word = self.path(word);
                    // `cmd` would take the first slash of a program's path for a switch.
                    if at == 0 || word.contains([' ', '&', '(', ')', '/']) {
                        format!("\"{word}\"")
                    } else {
                        word
                    }
                };
                words.iter().enumerate().map(quote).collect::<Vec<_>>().join(" ")
            }
        };
        escaped(&line)
    }
}

/// Without tokens (ssh_config(5), TOKENS).
pub(super) fn escaped(text: &str) -> String {
    text.replace('%', "%%")
}

/// One word of a line of ssh_config.
pub(super) fn quoted(word: &str) -> String {
    if word.contains([' ', '\t', '#', '\'', '=']) { format!("\"{word}\"") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_for_cmd_and_for_sh() {
        let words = [r"C:\Program Files\nbtunnel\nbctl.exe", "--socket", r"\\.\pipe\mine", "proxy", "alice"];
        let words = words.map(str::to_owned);
        assert_eq!(
            Rules::Windows.command(&words),
            r#""C:/Program Files/nbtunnel/nbctl.exe" --socket "//./pipe/mine" proxy alice"#
        );
        assert_eq!(Rules::Posix.command(&["/a b/100%".into(), "x".into()]), "'/a b/100%%' x");
    }

    #[test]
    fn an_include_is_found_by_both_of_windows() {
        let ours = r"C:\Users\me\AppData\Roaming\nbtunnel\ssh_config";
        let below = "Include ~/AppData/Roaming/nbtunnel/ssh_config";
        assert_eq!(Rules::Windows.include(ours, Some(r"c:\users\me")), below);
        assert_eq!(Rules::Windows.include(ours, Some(r"C:\Users\me\")), below);
        assert_eq!(Rules::Windows.include(r"C:\Users\me\my x", Some(r"C:\Users\me")), "Include \"~/my x\"");
        assert_eq!(Rules::Windows.include(r"C:\Users\mel\x", Some(r"C:\Users\me")), "Include C:/Users/mel/x");
        assert_eq!(Rules::Windows.include(r"D:\x", None), "Include D:/x");
        assert_eq!(Rules::Posix.include("/home/me/a b", Some("/home/me")), "Include \"/home/me/a b\"");
    }
}
