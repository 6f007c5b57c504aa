//! A line that is being typed, byte by byte, with the few keys that people use to mend one. Nothing but what can
//! be written stays in it; it is wiped when it is dropped.

use nbtunnel_proto::Secret;
use zeroize::Zeroizing;

/// No line is longer, in bytes.
const LONGEST: usize = 4096;

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const CTRL_U: u8 = 0x15;
const CTRL_W: u8 = 0x17;
const CTRL_BACKSLASH: u8 = 0x1c;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// See the module.
pub(super) struct Line {
    typed: Zeroizing<Vec<u8>>,
    escape: Escape,
    echo: bool,
}

/// Where in the bytes of a key without a letter we are (ECMA-48 §5.4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    No,
    Begun,
    Parameters,
    OneMore,
}

/// What a key led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// To be shown.
    Show(Vec<u8>),
    /// The line is complete.
    Enter,
    /// The person does not want to answer.
    Cancel,
}

impl Line {
    pub(super) fn new(echo: bool) -> Line {
        // Room for all of it: a line that grew would leave copies behind.
        Line { typed: Zeroizing::new(Vec::with_capacity(LONGEST)), escape: Escape::No, echo }
    }

    /// Takes in one byte.
    pub(super) fn push(&mut self, byte: u8) -> Key {
        let (escape, consumed) = match (self.escape, byte) {
            (_, CTRL_C | CTRL_BACKSLASH) => return Key::Cancel,
            (_, b'\n' | b'\r') => return Key::Enter,
            (Escape::No, ESCAPE) | (Escape::Begun, ESCAPE) => (Escape::Begun, true),
            (Escape::Begun, b'[') => (Escape::Parameters, true),
            (Escape::Begun, b'O') => (Escape::OneMore, true),
            (Escape::Parameters, 0x20..=0x3f) => (Escape::Parameters, true),
            (Escape::Begun | Escape::Parameters | Escape::OneMore, _) => (Escape::No, true),
            (Escape::No, _) => (Escape::No, false),
        };
        self.escape = escape;
        if consumed {
            return Key::Show(Vec::new());
        }
        match byte {
            CTRL_D if self.typed.is_empty() => Key::Cancel,
            BACKSPACE | DELETE => self.erase(1),
            CTRL_W => {
                let text = String::from_utf8_lossy(&self.typed);
                let kept = text.trim_end().rfind(char::is_whitespace).map_or(0, |at| at + 1);
                let count = text.chars().count() - text.get(..kept).unwrap_or_default().chars().count();
                self.erase(count)
            }
            CTRL_U => self.erase(usize::MAX),
            0x20.. if self.typed.len() < LONGEST => {
                self.typed.push(byte);
                Key::Show(if self.echo { vec![byte] } else { Vec::new() })
            }
            _ => Key::Show(Vec::new()),
        }
    }

    /// Takes back so many characters.
    fn erase(&mut self, count: usize) -> Key {
        let mut erased = Vec::new();
        for _ in 0..count {
            while self.typed.last().is_some_and(|byte| byte & 0xc0 == 0x80) {
                self.typed.pop();
            }
            if self.typed.pop().is_none() {
                break;
            }
            if self.echo {
                erased.extend_from_slice(b"\x08 \x08");
            }
        }
        Key::Show(erased)
    }

    /// What was typed; `None` if it is no text.
    pub(super) fn finish(self) -> Option<Secret> {
        let text = std::str::from_utf8(&self.typed).ok()?;
        // What no byte of which is a control character may still be one (U+0080 to U+009F).
        Some(Secret::new(text.chars().filter(|c| !c.is_control()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> String {
        let mut line = Line::new(false);
        for &byte in bytes {
            match line.push(byte) {
                Key::Show(shown) => assert!(shown.is_empty(), "something was shown"),
                Key::Enter => return line.finish().map_or("no text".into(), Secret::take),
                Key::Cancel => return "cancelled".into(),
            }
        }
        "not ended".into()
    }

    #[test]
    fn keys_mend_the_line_and_leave_nothing_of_themselves() {
        assert_eq!(typed(b"secret\r"), "secret");
        assert_eq!(typed(b"sa\x7fecret\n"), "secret");
        assert_eq!(typed("a\u{e4}\x08b\n".as_bytes()), "ab");
        assert_eq!(typed(b"wrong\x15right\n"), "right");
        assert_eq!(typed(b"one two\x17\x17three\n"), "three");
        assert_eq!(typed(b"\x08\x7f\x15\x17\n"), "");
        assert_eq!(typed(b"a\x1b[Ab\x1bOPc\x1b[1;5Cd\x1bxe\x1a\n"), "abcde");
        assert_eq!(typed("\u{85}x\n".as_bytes()), "x");
        assert_eq!(typed(b"\xff\n"), "no text");
    }

    #[test]
    fn who_does_not_want_to_answer_need_not() {
        assert_eq!(typed(b"half\x03"), "cancelled");
        assert_eq!(typed(b"\x1b\x03"), "cancelled");
        assert_eq!(typed(b"\x04"), "cancelled");
        assert_eq!(typed(b"x\x04\n"), "x");
    }

    #[test]
    fn what_may_be_seen_is_seen_and_taken_back() {
        let mut line = Line::new(true);
        assert_eq!(line.push(b'x'), Key::Show(b"x".to_vec()));
        assert_eq!(line.push(DELETE), Key::Show(b"\x08 \x08".to_vec()));
        assert_eq!(line.push(DELETE), Key::Show(Vec::new()));
    }

    #[test]
    fn a_line_has_an_end() {
        let mut long = vec![b'x'; LONGEST + 100];
        long.push(b'\n');
        assert_eq!(typed(&long).len(), LONGEST);
    }
}
