//! `nbctl add -`: what stands for `-` is read from standard input, so that a token in it is in no list of processes and
//! in no shell's history.

use std::io::{self, BufRead, IsTerminal, Read};

use crate::args::AddArgs;
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;

#[cfg(unix)]
mod typed {
    use std::time::Duration;

    use rustix::termios::{QueueSelector, tcflush};

    /// What was pasted below the line is not for the shell, which would run and remember it. It may be on its way.
    pub(super) fn forget() {
        std::thread::sleep(Duration::from_millis(50));
        let _ = tcflush(std::io::stdin(), QueueSelector::IFlush);
    }
}

#[cfg(not(unix))]
mod typed {
    /// Consoles elsewhere give what is left to the shell.
    pub(super) fn forget() {}
}

/// The longest line that is read, in bytes.
const LONGEST: u64 = 64 << 10;

/// The arguments with the line in the place of `-`, where one stands.
pub(super) fn filled_in(mut args: AddArgs, printer: &Printer) -> Result<AddArgs, CommandError> {
    let mut places = args.words.iter_mut().filter(|word| *word == "-");
    let Some(place) = places.next() else { return Ok(args) };
    if places.next().is_some() {
        return Err(usage("`-` stands there twice, and standard input is read once"));
    }
    let is_terminal = io::stdin().is_terminal();
    if is_terminal {
        printer.ask_about("paste the ssh command line or the URL, and press Enter:");
    }
    let read = line(&mut io::stdin().lock().take(LONGEST + 1), is_terminal);
    if is_terminal {
        typed::forget();
    }
    *place = read?;
    Ok(args)
}

/// The one line of `input`, with lines that are continued by a backslash joined as a shell does. All of the input is
/// read, unless somebody `types` it, who ends it by a line.
fn line(input: &mut impl BufRead, types: bool) -> Result<String, CommandError> {
    let mut bytes = Vec::new();
    loop {
        let read = input.read_until(b'\n', &mut bytes);
        let count = read.map_err(|error| usage(&format!("standard input cannot be read: {error}")))?;
        let is_continued = bytes.ends_with(b"\\\n") || bytes.ends_with(b"\\\r\n");
        let is_blank = bytes.trim_ascii().is_empty();
        if count == 0 || types && !is_continued && !is_blank {
            break;
        }
    }
    if bytes.len() as u64 > LONGEST {
        return Err(usage("standard input is too long to be a command line or a URL"));
    }
    let text = String::from_utf8(bytes).map_err(|_| usage("standard input is no text in UTF-8"))?;
    // What the Windows console, or a file of its, begins with.
    let text = text.trim_start_matches('\u{feff}').replace("\\\r\n", "").replace("\\\n", "");
    match text.trim() {
        "" => Err(usage("there is nothing on standard input")),
        text if text.contains(['\n', '\r']) => Err(usage("there are several lines on standard input")),
        text => Ok(text.to_owned()),
    }
}

fn usage(message: &str) -> CommandError {
    CommandError::new(
        Exit::Usage,
        message,
        "give it one command line of ssh, or one URL of a notebook server",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Result<String, String> {
        line(&mut input.take(LONGEST + 1), false).map_err(|error| error.message)
    }

    #[test]
    fn one_line_is_read_however_it_ends() {
        for input in ["ssh me@h", "ssh me@h\n", " ssh me@h\r\n", "\n\nssh me@h\n\n", "\u{feff}ssh me@h"] {
            assert_eq!(read(input.as_bytes()), Ok("ssh me@h".to_owned()), "{input:?}");
        }
        assert_eq!(read(b"ssh -L 1:a:2 \\\n me@h\n"), Ok("ssh -L 1:a:2  me@h".to_owned()));
        assert_eq!(read(b"ssh \\\r\nme@h\r\n"), Ok("ssh me@h".to_owned()));
    }

    #[test]
    fn anything_else_is_said_without_a_word_of_it() {
        let long = [b'x'; LONGEST as usize + 2];
        for (input, why) in [
            (&b""[..], "nothing"),
            (b" \r\n \n", "nothing"),
            (b"\\\n", "nothing"),
            (b"ssh a\nssh token", "several lines"),
            (b"ssh a\rssh token", "several lines"),
            (b"token\xff", "no text"),
            (&long, "too long"),
        ] {
            let message = read(input).unwrap_err();
            assert!(message.contains(why) && !message.contains("token"), "{message}");
        }
    }

    #[test]
    fn who_types_ends_it_by_a_line() {
        let mut typed = &b"\nssh \\\nme@h\nls\n"[..];
        assert_eq!(line(&mut typed, true).unwrap(), "ssh me@h");
        assert_eq!(typed, b"ls\n");
    }
}
