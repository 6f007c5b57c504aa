//! SOCKS handshakes: however the bytes come they mean the same, and nobody is listened to without end.

use nbtunneld::forward::socks::{Handshake, Turn};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "socks",
    feed,
    words: &[
        "\u{5}\u{1}\0",
        "\u{5}\u{1}\0\u{3}",
        "\u{4}\u{1}\0P",
        "\0\0\0\u{1}",
        "\0",
        "localhost",
        "\u{1}",
        "\u{4}",
    ],
};

/// The longest that a client may still be listened to.
const LONGEST: usize = 600;

fn feed(bytes: &[u8]) {
    assert_eq!(heard(bytes, 1), heard(bytes, usize::MAX), "in pieces it means something else");
}

/// The turns of a handshake whose bytes come in pieces of `size`.
fn heard(bytes: &[u8], size: usize) -> Vec<Turn> {
    let (mut handshake, mut turns, mut done, mut here) = (Handshake::default(), Vec::new(), 0, 0);
    loop {
        let turn = handshake.next(&bytes[done..here]);
        match &turn {
            Turn::More => {
                assert!(here - done <= LONGEST, "a client is listened to without end");
                if here == bytes.len() {
                    return turns;
                }
                here = here.saturating_add(size).min(bytes.len());
            }
            Turn::Answer { consumed, .. } => {
                done += consumed;
                turns.push(turn);
            }
            Turn::Ask { .. } | Turn::Refuse(_) => {
                turns.push(turn);
                return turns;
            }
        }
    }
}
