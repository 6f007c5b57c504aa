//! The control socket: the hello, and the frames of requests and replies.

use nbtunnel_proto::codec::{self, MAX_FRAME, MAX_REQUEST};
use nbtunnel_proto::{Reply, Request};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "frames",
    feed,
    words: &[
        "\0\0\0\0",
        "\0\0\0\x01",
        "\0\0\0\x05",
        "\0\x01\0\0",
        "\u{7f}",
        "alice",
        "SHA256:",
        "\x01",
        "\x02",
        "\x03",
    ],
};

fn feed(bytes: &[u8]) {
    let whole = codec::frames(bytes, MAX_REQUEST, bytes.len());
    for step in [1, 3] {
        let pieces = codec::frames(bytes, MAX_REQUEST, step);
        assert_eq!(whole.as_ref().ok(), pieces.as_ref().ok(), "it matters how the bytes come");
    }
    for frame in whole.iter().flatten() {
        assert!(frame.len() <= MAX_REQUEST);
        if let Ok(request) = codec::decode::<Request>(frame) {
            let again = codec::encode(&request, MAX_REQUEST).map(|bytes| codec::decode::<Request>(&bytes));
            assert!(matches!(&again, Ok(Ok(same)) if *same == request), "{request:?} became {again:?}");
        }
    }
    let Ok(frames) = codec::frames(bytes, MAX_FRAME, bytes.len()) else { return };
    let Ok(replies) = codec::replies::<Reply>(&frames) else { return };
    for reply in replies {
        let again = codec::encode(&reply, codec::MAX_REPLY).map(|bytes| codec::decode::<Reply>(&bytes));
        // A number that is no number differs from itself; its text does not.
        assert!(matches!(&again, Ok(Ok(same)) if format!("{same:?}") == format!("{reply:?}")), "{reply:?}");
    }
}
