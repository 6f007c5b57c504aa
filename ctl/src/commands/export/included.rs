//! The one line of ours in the user's file, which is bytes: whatever it is encoded in and however its lines end, what
//! else stands there stays. Pure.

use similar::TextDiff;

/// `config` with `line` above every Host and Match; nothing if it stands there. Below one it would hold for what that
/// fits alone (ssh_config(5), Include), and goes from there.
pub(super) fn included(config: &[u8], line: &str) -> Option<Vec<u8>> {
    let mut above = lines(config).take_while(|text| !begins_block(text));
    let holds = above.any(|text| is_ours(text, line));
    (!holds).then(|| [line.as_bytes(), b"\n", &without(config, line)].concat())
}

/// `config` without `line`, and else as it was; nothing if it has none.
pub(super) fn excluded(config: &[u8], line: &str) -> Option<Vec<u8>> {
    Some(without(config, line)).filter(|left| left.len() < config.len())
}

fn without(config: &[u8], line: &str) -> Vec<u8> {
    lines(config).filter(|text| !is_ours(text, line)).collect::<Vec<_>>().concat()
}

/// Its lines, each with its end.
fn lines(config: &[u8]) -> impl Iterator<Item = &[u8]> {
    config.split_inclusive(|byte| *byte == b'\n')
}

/// Whether it is `line`. An editor may have made it begin or end as others do.
fn is_ours(text: &[u8], line: &str) -> bool {
    text.trim_ascii() == line.as_bytes()
}

/// Whether what follows holds for some hosts only.
fn begins_block(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"\"").unwrap_or(text);
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"=\"".contains(byte);
    let keyword = text.split(ends).next().unwrap_or_default();
    keyword.eq_ignore_ascii_case(b"host") || keyword.eq_ignore_ascii_case(b"match")
}

/// What changes from `before` to `after`, line by line.
pub(super) fn diff(path: &str, before: &[u8], after: &[u8]) -> String {
    let [before, after] = [before, after].map(String::from_utf8_lossy);
    let lines = TextDiff::from_lines(&before, &after);
    let mut text = format!("--- {path}\n+++ {path}\n");
    for place in lines.grouped_ops(0) {
        let first = place.first().map_or(0, |op| op.old_range().start);
        text.push_str(&format!("@@ line {} @@\n", first + 1));
        for change in place.iter().flat_map(|op| lines.iter_changes(op)) {
            text.push_str(&format!("{}{}\n", change.tag(), change.value().trim_end_matches(['\r', '\n'])));
        }
    }
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
    fn the_line_may_be_moved_as_long_as_it_holds_for_every_host() {
        for above in ["User me\n", "# Host x\n", "HostKeyAlias x\n", "\n\tMatching 1\n", ""] {
            for end in ["\n", "\r\n", "  \n"] {
                let with = format!("{above} {LINE}{end}Host x\ny\n");
                assert_eq!(included(with.as_bytes(), LINE), None, "{with:?}");
                let left = format!("{above}Host x\ny\n");
                assert_eq!(excluded(with.as_bytes(), LINE).unwrap(), left.as_bytes());
            }
        }
        assert_eq!(excluded(format!("x\n{LINE}").as_bytes(), LINE).unwrap(), b"x\n");
    }

    #[test]
    fn below_a_host_it_would_hold_for_that_alone_and_goes_to_the_top() {
        for block in ["Host x", "\thost=x", "HOST *", "Match all", " match\thost x", "\"Host\" x", "Host\r"] {
            let with = format!("User me\n{block}\n  {LINE}\ny\n{LINE}");
            let left = format!("User me\n{block}\ny\n");
            let at_top = included(with.as_bytes(), LINE).unwrap();
            assert_eq!(at_top, format!("{LINE}\n{left}").as_bytes(), "{block}");
            assert_eq!(included(&at_top, LINE), None);
            assert_eq!(excluded(&at_top, LINE).unwrap(), left.as_bytes());
            assert_eq!(excluded(with.as_bytes(), LINE).unwrap(), left.as_bytes());
        }
    }

    #[test]
    fn only_what_changes_is_shown() {
        let moved = diff("f", b"a\nb\r\nc\nLINE\nd\n", b"LINE\na\nb\r\nc\nd\n");
        assert_eq!(moved, "--- f\n+++ f\n@@ line 1 @@\n+LINE\n@@ line 4 @@\n-LINE\n");
        assert_eq!(diff("f", b"a\nb\nc\n", b"a\nx\nc\n"), "--- f\n+++ f\n@@ line 2 @@\n-b\n+x\n");
        assert_eq!(diff("f", b"a\nb", b"a\nx"), "--- f\n+++ f\n@@ line 2 @@\n-b\n+x\n");
    }
}
