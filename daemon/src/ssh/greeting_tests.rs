use proptest::prelude::*;

use super::*;

/// What is heard in the end when `text` comes in pieces of these sizes, and after how many bytes.
fn hear(text: &[u8], sizes: &[usize]) -> (Heard, usize) {
    let (mut greeting, mut at) = (Greeting::default(), 0);
    for size in sizes.iter().cycle() {
        let next = (at + size).min(text.len());
        let heard = greeting.hear(&text[at..next]);
        at = next;
        if heard != Heard::Incomplete || at == text.len() {
            return (heard, at);
        }
    }
    unreachable!("sizes are not empty")
}

#[test]
fn a_server_may_say_a_few_lines_first_but_not_for_ever() {
    let preamble = |lines| format!("{}SSH-2.0-Server\r\n", "welcome\r\n".repeat(lines));
    assert_eq!(hear(preamble(0).as_bytes(), &[1]).0, Heard::Version);
    assert_eq!(hear(preamble(MOST_LINES).as_bytes(), &[7]).0, Heard::Version);
    assert_eq!(hear(preamble(MOST_LINES + 1).as_bytes(), &[4096]).0, Heard::Hopeless);
    assert_eq!(hear("x\n".repeat(MOST_LINES + 2).as_bytes(), &[1]).0, Heard::Hopeless);
    assert_eq!(hear(&[b'x'; LONGEST_LINE + 1], &[1]).0, Heard::Hopeless);
    assert_eq!(hear(b"SSH-2.0-Unfinished", &[5]).0, Heard::Incomplete);
}

#[test]
fn old_protocols_are_known_and_the_one_that_means_both_is_taken() {
    assert_eq!(hear(b"hello\nSSH-1.5-Old\n", &[3]).0, Heard::Ancient);
    assert_eq!(hear(b"SSH-1.99-Both\r\n", &[3]).0, Heard::Version);
}

proptest! {
    #[test]
    fn however_a_greeting_comes_it_means_the_same_and_never_waits_past_its_version(
        lines in prop::collection::vec("[ -~]{0,40}", 0..MOST_LINES),
        sizes in prop::collection::vec(1_usize..100, 1..8),
        after in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let lines: Vec<_> = lines.into_iter().filter(|line| !line.starts_with("SSH-")).collect();
        let mut text: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\r\n").into_bytes()).collect();
        text.extend_from_slice(b"SSH-2.0-Server\r\n");
        let version_ends = text.len();
        text.extend_from_slice(&after);
        let (heard, at) = hear(&text, &sizes);
        prop_assert_eq!(heard, Heard::Version);
        prop_assert!(at >= version_ends && at < version_ends + 100, "{} of {}", at, version_ends);
    }

    #[test]
    fn no_greeting_is_waited_for_without_bound(text in prop::collection::vec(any::<u8>(), 6000..9000)) {
        prop_assert_ne!(hear(&text, &[97]).0, Heard::Incomplete);
    }

    #[test]
    fn what_was_said_is_swallowed_once_and_nothing_else_is(
        after in prop::collection::vec(any::<u8>(), 0..200),
        sizes in prop::collection::vec(1_usize..60, 1..8),
    ) {
        const LINE: &[u8] = b"SSH-2.0-Client\r\n";
        let written = [LINE, &after].concat();
        let (mut said, mut sent, mut rest) = (Said::new(LINE), Vec::new(), &written[..]);
        for size in sizes.iter().cycle() {
            let piece = &rest[..rest.len().min(*size)];
            if piece.is_empty() {
                break;
            }
            // As a stream does: what is not swallowed is sent, and the writer comes again with what is left.
            let swallowed = said.swallow(piece).unwrap();
            let count = if swallowed > 0 { swallowed } else { sent.extend_from_slice(piece); piece.len() };
            rest = &rest[count..];
        }
        prop_assert_eq!(sent, after);
    }

    #[test]
    fn another_line_than_the_one_said_is_an_error(at in 0_usize..16, size in 1_usize..17) {
        let mut other = *b"SSH-2.0-Client\r\n";
        other[at] ^= 1;
        let mut said = Said::new(b"SSH-2.0-Client\r\n");
        let swallowed: Result<Vec<_>, _> = other.chunks(size).map(|piece| said.swallow(piece)).collect();
        prop_assert!(swallowed.is_err());
    }
}
