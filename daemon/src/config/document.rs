//! A text with a name: turns a place in it into a problem that people can find.

use std::ops::Range;

use nbtunnel_proto::FileProblem;

use super::values::Flaw;

/// The longest line that is shown whole, in characters.
const LONGEST_LINE: usize = 200;
/// The longest sentence about it; what it quotes may be of any length.
const LONGEST_SENTENCE: usize = 600;

/// One file's name and text.
pub(super) struct Document<'a> {
    /// Relative to the config directory where it lies in there.
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl Document<'_> {
    /// A problem at the beginning of `span` (bytes), or with the file as a whole.
    pub(super) fn problem(&self, span: Option<Range<usize>>, flaw: Flaw) -> FileProblem {
        let place = span.map(|span| self.place(span.start));
        FileProblem {
            file: Some(printable(self.file, LONGEST_SENTENCE)),
            line: place.as_ref().map(|place| place.line),
            column: place.as_ref().map(|place| place.column),
            source: place.map(|place| match self.is_inside_secret(place.begins) {
                true => "…".to_owned(),
                false => shown(place.source),
            }),
            message: printable(&flaw.message, LONGEST_SENTENCE),
            hint: printable(&flaw.hint, LONGEST_SENTENCE),
        }
    }

    /// Whether what stands at the byte `offset` may be the value of something that sounds like a secret.
    pub(super) fn is_secret_at(&self, offset: usize) -> bool {
        let place = self.place(offset);
        secret_value(place.source).is_some() || self.is_inside_secret(place.begins)
    }

    /// Whether the byte `offset` stands inside a text of several lines that began as the value of a secret.
    fn is_inside_secret(&self, offset: usize) -> bool {
        let before = &self.text[..offset];
        let opened = ["\"\"\"", "'''"].into_iter().filter_map(|quote| {
            let is_open = before.matches(quote).count() % 2 == 1;
            before.rfind(quote).filter(|_| is_open)
        });
        opened.max().is_some_and(|opened| secret_value(self.place(opened).source).is_some())
    }

    /// The line that the byte at `offset` stands in.
    pub(super) fn line_at(&self, offset: usize) -> &str {
        self.place(offset).source
    }

    fn place(&self, offset: usize) -> Place<'_> {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let (before, after) = self.text.split_at(offset);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = after.find('\n').map_or(self.text.len(), |newline| offset + newline);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place {
            line: count(before.matches('\n').count() + 1),
            column: count(self.text[line_start..offset].chars().count() + 1),
            begins: line_start,
            source: self.text[line_start..line_end].trim_end_matches('\r'),
        }
    }
}

struct Place<'a> {
    line: u32,
    column: u32,
    /// Where that line begins, in bytes.
    begins: usize,
    source: &'a str,
}

/// The line, without the value of something that sounds like a secret, and what comes after that.
fn shown(line: &str) -> String {
    match secret_value(line) {
        Some(value) => printable(&line[..value], LONGEST_LINE) + "=…",
        None => printable(line, LONGEST_LINE),
    }
}

/// Where the `=` before the first value of something that sounds like a secret stands: an inline table has several keys
/// in a line.
fn secret_value(line: &str) -> Option<usize> {
    let mut begins = 0;
    for (at, _) in line.match_indices('=') {
        let key = line[begins..at].rsplit(['{', ',']).next().unwrap_or_default();
        if sounds_secret(key) {
            return Some(at);
        }
        begins = at + 1;
    }
    None
}

/// The text as it may be printed on a terminal: no control characters, and no more than `most` others.
fn printable(text: &str, most: usize) -> String {
    let mut rest = text.chars();
    let mut printable: String = rest
        .by_ref()
        .take(most)
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    if rest.next().is_some() {
        printable.push('…');
    }
    printable
}

/// Whether a key asks for something that must not show up in a log.
pub(super) fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "secret", "token", "otp", "pin"].iter().any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, offset: usize) -> (u32, u32, String) {
        let problem = Document { file: "f", text }.problem(Some(offset..offset), Flaw::new("m", "h"));
        (problem.line.unwrap(), problem.column.unwrap(), problem.source.unwrap())
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        assert_eq!(at("", 0), (1, 1, String::new()));
        assert_eq!(at("a\r\nbü = c\nd", 9), (2, 6, "bü = c".into()));
        assert_eq!(at("a\n", 2), (2, 1, String::new()));
        assert_eq!(at("ü", 1), (1, 1, "ü".into()), "the middle of a character");
        assert_eq!(at("a", 99), (1, 2, "a".into()), "behind the end");
    }

    #[test]
    fn what_is_shown_harms_no_terminal_and_tells_no_secret() {
        assert_eq!(at("a\x1b[2J = 1", 0).2, "a\u{fffd}[2J = 1");
        assert_eq!(at("password = \"hunter2\"", 0).2, "password =…");
        assert_eq!(at(&"x".repeat(5000), 0).2.chars().count(), LONGEST_LINE + 1);
    }
}
