//! A script for `sh -s` at the far end and what comes back, pure: the script between two random markers, and the
//! search for these in what a login prints before, between and after.

use super::classify::{is_harmful, quote};
use crate::forward::Ran;

/// How much of the standard error is kept.
const MOST_ERRORS: usize = 4 << 10;

/// How much of what comes before a script is kept, to tell why it did not run.
const MOST_NOISE: usize = 1 << 10;

/// A script on its way.
pub(super) struct Script {
    begin: Vec<u8>,
    end: Vec<u8>,
    /// What the shell over there reads.
    pub(super) text: String,
}

impl Script {
    /// `script` between markers that nobody can guess.
    ///
    /// It runs in a subshell, so that its `exit` does not swallow the marker behind it, and is read whole before it
    /// begins: what it starts could otherwise read the rest of it from the standard input. The colon stands for one
    /// that has no command in it.
    pub(super) fn new(script: &str, random: [u8; 16]) -> Script {
        let word: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let (begin, end) = (format!("begin-{word}"), format!("end-{word}"));
        let text = format!(
            "printf '%s\\n' {begin}; printf '%s\\n' {begin} >&2\n(\n:\n{script}\n) </dev/null\n\
             printf '%s %d\\n' {end} \"$?\"; printf '%s\\n' {end} >&2\n"
        );
        Script { begin: format!("{begin}\n").into_bytes(), end: end.into_bytes(), text }
    }

    /// Begins to listen for it.
    pub(super) fn listen(&self) -> Heard<'_> {
        Heard {
            script: self,
            output: Stream::Before(Vec::new()),
            errors: Stream::Before(Vec::new()),
            status: None,
        }
    }
}

/// What was heard of a script until now.
pub(super) struct Heard<'a> {
    script: &'a Script,
    output: Stream,
    errors: Stream,
    /// What the system at the far end said of its shell.
    pub(super) status: Option<u32>,
}

/// One of its two streams of output.
enum Stream {
    /// Something else prints.
    Before(Vec<u8>),
    /// The script does. The number: up to where the end was searched for.
    Within(Vec<u8>, usize),
    /// It is over. The number: its status.
    After(Vec<u8>, Option<u32>),
}

/// It printed more than is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

impl Heard<'_> {
    /// Something came on its standard output.
    ///
    /// # Errors
    /// [`TooMuch`]; what comes next need not be heard any more.
    pub(super) fn out(&mut self, bytes: &[u8]) -> Result<(), TooMuch> {
        self.output.hear(self.script, bytes);
        match &self.output {
            Stream::Within(kept, _) if kept.len() > Ran::MOST + self.script.end.len() + 16 => Err(TooMuch),
            Stream::After(kept, _) if kept.len() > Ran::MOST => Err(TooMuch),
            Stream::Before(_) | Stream::Within(..) | Stream::After(..) => Ok(()),
        }
    }

    /// Something came on its standard error.
    pub(super) fn err(&mut self, bytes: &[u8]) {
        self.errors.hear(self.script, bytes);
        if let Stream::Within(kept, searched) = &mut self.errors {
            // The marker may be half here.
            let too_much = kept.len().saturating_sub(MOST_ERRORS + self.script.end.len());
            kept.drain(..too_much);
            *searched = searched.saturating_sub(too_much);
        }
    }

    /// Whether the script is over, though something that it started may hold its output open.
    pub(super) fn is_over(&self) -> bool {
        matches!((&self.output, &self.errors), (Stream::After(..), Stream::After(..)))
    }

    /// What it did; or what was said instead, in one line, if it never began.
    pub(super) fn result(self) -> Result<Ran, String> {
        let (output, status) = match self.output {
            Stream::After(output, status) => (output, status.or(self.status)),
            // Its shell did not come to the end: it was killed, or could not read the script.
            Stream::Within(output, _) => (output, self.status),
            Stream::Before(noise) => {
                let mut said = String::from_utf8_lossy(&noise).into_owned();
                if let Stream::Before(noise) = &self.errors {
                    said = format!("{} {said}", String::from_utf8_lossy(noise));
                }
                return Err(quote(&said));
            }
        };
        let errors = match self.errors {
            Stream::Before(_) => String::new(),
            Stream::Within(kept, _) | Stream::After(kept, _) => visible(&kept),
        };
        Ok(Ran { output, errors, status })
    }
}

impl Stream {
    fn hear(&mut self, script: &Script, bytes: &[u8]) {
        match self {
            Stream::Before(noise) => {
                noise.extend_from_slice(bytes);
                if let Some(at) = find(noise, &script.begin) {
                    let first = noise.split_off(at + script.begin.len());
                    *self = Stream::Within(Vec::new(), 0);
                    return self.hear(script, &first);
                }
                // The first words say most; the last ones may be half of the marker.
                if noise.len() > MOST_NOISE + script.begin.len() {
                    noise.drain(MOST_NOISE..noise.len() - script.begin.len());
                }
            }
            Stream::Within(kept, searched) => {
                kept.extend_from_slice(bytes);
                let Some(at) = find(&kept[*searched..], &script.end).map(|at| at + *searched) else {
                    *searched = kept.len().saturating_sub(script.end.len());
                    return;
                };
                let rest = &kept[at + script.end.len()..];
                let Some(line) = rest.iter().position(|byte| *byte == b'\n') else {
                    *searched = at;
                    return;
                };
                let status =
                    std::str::from_utf8(&rest[..line]).ok().and_then(|said| said.trim().parse().ok());
                kept.truncate(at);
                *self = Stream::After(std::mem::take(kept), status);
            }
            Stream::After(..) => {}
        }
    }
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    within.windows(what.len()).position(|window| window == what)
}

/// The last lines, with everything that moves a terminal's cursor or turns its writing round spelled out.
fn visible(bytes: &[u8]) -> String {
    let last = &bytes[bytes.len().saturating_sub(MOST_ERRORS)..];
    let mut text = String::new();
    for c in String::from_utf8_lossy(last).chars() {
        match c {
            '\n' => text.push('\n'),
            '\t' => text.push(' '),
            c if is_harmful(c) => text.extend(c.escape_unicode()),
            c => text.push(c),
        }
    }
    let mut from = text.len().saturating_sub(MOST_ERRORS);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.split_off(from).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: [u8; 16] = [0xab; 16];

    fn hear(pieces: &[&[u8]], errors: &[&[u8]]) -> Result<Ran, String> {
        let script = Script::new("true", RANDOM);
        let mut heard = script.listen();
        pieces.iter().for_each(|piece| heard.out(piece).unwrap());
        errors.iter().for_each(|piece| heard.err(piece));
        heard.result()
    }

    fn marked(before: &str, within: &[u8], after: &str) -> Vec<u8> {
        let word = "ab".repeat(16);
        [format!("{before}begin-{word}\n").as_bytes(), within, format!("end-{word} {after}").as_bytes()]
            .concat()
    }

    #[test]
    fn only_what_is_between_the_markers_counts_wherever_it_is_cut() {
        let whole = marked("welcome\nbegin-ab", b"no end of line \xff", "7\nbye\n");
        for cut in 0..=whole.len() {
            let ran = hear(&[&whole[..cut], &whole[cut..]], &[]).unwrap();
            assert_eq!((&*ran.output, ran.status), (&b"no end of line \xff"[..], Some(7)), "{cut}");
        }
        let single: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(hear(&single, &[]).unwrap().output, b"no end of line \xff");
    }

    #[test]
    fn what_never_began_says_why() {
        assert_eq!(hear(&[b"fatal: no\nshell"], &[b"\x1b[1mwell"]).unwrap_err(), "[1mwell fatal: no shell");
        let long = vec![b'x'; 100_000];
        assert!(hear(&[&long, &long], &[]).unwrap_err().len() < 400);
    }

    #[test]
    fn a_long_noise_does_not_hide_the_beginning() {
        let whole = marked(&"n".repeat(10_000), b"here", "0\n");
        assert_eq!(hear(&whole.chunks(700).collect::<Vec<_>>(), &[]).unwrap().output, b"here");
    }

    #[test]
    fn the_last_errors_are_shown_without_what_moves_a_cursor() {
        let long = marked(
            "noise",
            format!("{}\u{1b}]0;x\u{7}\u{202e} last\n", "line\n".repeat(9000)).as_bytes(),
            "\n",
        );
        let ran = hear(&[&marked("", b"", "0\n")], &long.chunks(999).collect::<Vec<_>>()).unwrap();
        assert!(ran.errors.len() <= MOST_ERRORS, "{}", ran.errors.len());
        assert!(ran.errors.ends_with("line\n\\u{1b}]0;x\\u{7}\\u{202e} last"), "{}", ran.errors);
    }

    #[test]
    fn more_than_a_megabyte_is_too_much_and_exactly_one_is_not() {
        let (script, piece) = (Script::new("true", RANDOM), vec![b'.'; Ran::MOST]);
        let whole = marked("", &piece, "0\n");
        let mut heard = script.listen();
        assert!(whole.chunks(30_000).all(|chunk| heard.out(chunk).is_ok()));
        assert_eq!(heard.result().unwrap().output.len(), Ran::MOST);
        let whole = marked("", &[&piece[..], b"."].concat(), "0\n");
        let mut heard = script.listen();
        assert!(whole.chunks(30_000).any(|chunk| heard.out(chunk) == Err(TooMuch)));
    }
}
