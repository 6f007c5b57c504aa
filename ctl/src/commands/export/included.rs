//! The one line of ours in the user's file, which is bytes: whatever it is encoded in and however its lines end, what
//! else stands there stays. Pure.

use std::ops::Range;

/// `config` with `line`; nothing if it has it. It has to be the first: further down it would belong to a Host.
pub(super) fn included(config: &[u8], line: &str) -> Option<Vec<u8>> {
    find(config, line).is_none().then(|| [line.as_bytes(), b"\n", config].concat())
}

/// `config` without `line`, and else as it was; nothing if it has none.
pub(super) fn excluded(config: &[u8], line: &str) -> Option<Vec<u8>> {
    find(config, line).map(|at| [&config[..at.start], &config[at.end..]].concat())
}

/// Where it stands, with its end. An editor may have made it end as others do.
fn find(config: &[u8], line: &str) -> Option<Range<usize>> {
    let mut start = 0;
    for there in config.split_inclusive(|byte| *byte == b'\n') {
        let end = start + there.len();
        let text = there.strip_suffix(b"\n").unwrap_or(there);
        if text.strip_suffix(b"\r").unwrap_or(text) == line.as_bytes() {
            return Some(start..end);
        }
        start = end;
    }
    None
}

/// What changes from `before` to `after`, line by line.
pub(super) fn diff(path: &str, before: &[u8], after: &[u8]) -> String {
    let [before, after] = [before, after].map(String::from_utf8_lossy);
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let mut text = format!("--- {path}\n+++ {path}\n@@ line {} @@\n", head + 1);
    let removed = old[head..old.len() - tail].iter().map(|line| format!("-{line}\n"));
    let added = new[head..new.len() - tail].iter().map(|line| format!("+{line}\n"));
    text.extend(removed.chain(added));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "Include \"/home/me/a b\"";

    #[test]
    fn the_line_comes_and_goes_and_leaves_every_byte() {
        for config in [&b""[..], b"Host x\r\n\tPort 1", b"\n\n# caf\xe9\n", b"Include \"/home/me/a b\"x\n"] {
            let with = included(config, LINE).unwrap();
            assert_eq!(included(&with, LINE), None);
            assert_eq!(excluded(&with, LINE).unwrap(), config);
            assert_eq!(excluded(config, LINE), None);
        }
    }

    #[test]
    fn the_line_is_found_wherever_an_editor_moved_it_and_however_it_ended_it() {
        for end in ["\n", "\r\n"] {
            let config = format!("Host x{end}{LINE}{end}y{end}");
            assert_eq!(excluded(config.as_bytes(), LINE).unwrap(), format!("Host x{end}y{end}").as_bytes());
            assert_eq!(included(config.as_bytes(), LINE), None);
        }
        assert_eq!(excluded(format!("x\n{LINE}").as_bytes(), LINE).unwrap(), b"x\n");
    }

    #[test]
    fn only_what_changes_is_shown() {
        assert_eq!(diff("f", b"a\nb\nc\n", b"a\nx\nc\n"), "--- f\n+++ f\n@@ line 2 @@\n-b\n+x\n");
    }
}
