use proptest::prelude::*;

use super::*;

/// Feeds `bytes` in pieces of the given sizes, and tells what came of it and what was left.
fn fed(bytes: &[u8], sizes: &[usize]) -> (String, Vec<u8>) {
    let (mut handshake, mut buffer, mut said) = (Handshake::default(), Vec::new(), Vec::new());
    let (mut rest, mut sizes) = (bytes, sizes.iter().copied().cycle());
    loop {
        match handshake.next(&buffer) {
            Turn::More if rest.is_empty() => return (format!("{said:?} more"), buffer),
            Turn::More => {
                let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
                buffer.extend_from_slice(&rest[..size]);
                rest = &rest[size..];
            }
            Turn::Answer { consumed, reply } => {
                buffer.drain(..consumed);
                said.push(reply);
            }
            Turn::Ask { consumed, request } => {
                buffer.drain(..consumed);
                buffer.extend_from_slice(rest);
                return (format!("{said:?} {}", request.target), buffer);
            }
            Turn::Refuse(reply) => return (format!("{said:?} refused {reply:?}"), Vec::new()),
        }
    }
}

fn asked(bytes: &[u8]) -> String {
    fed(bytes, &[usize::MAX]).0
}

#[test]
fn each_kind_of_request_is_understood_and_what_follows_it_is_kept() {
    let cases: [(&[u8], &str); 6] = [
        (b"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x07\x00\x50early", "[[5, 0]] 10.0.0.7:80"),
        (b"\x05\x02\x02\x00\x05\x01\x00\x03\x05nb.de\x1f\x90early", "[[5, 0]] nb.de:8080"),
        (b"\x05\x01\x00\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50early", "[[5, 0]] [::1]:80"),
        (b"\x04\x01\x00\x50\x0a\x00\x00\x07me\x00early", "[] 10.0.0.7:80"),
        (b"\x04\x01\x00\x50\x0a\x00\x00\x07\x00early", "[] 10.0.0.7:80"),
        (b"\x04\x01\x1f\x90\x00\x00\x00\x01me\x00nb.de\x00early", "[] nb.de:8080"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(fed(bytes, &[usize::MAX]), (expected.to_owned(), b"early".to_vec()));
        assert_eq!(fed(bytes, &[1]), (expected.to_owned(), b"early".to_vec()));
    }
}

#[test]
fn what_is_not_done_is_refused_in_the_words_of_its_version() {
    let refused = |bytes: &[u8]| asked(bytes).split("refused ").nth(1).map(str::to_owned);
    let is = |bytes: &[u8], code: &str| {
        let reply = refused(bytes);
        assert!(reply.as_ref().is_some_and(|reply| reply.starts_with(code)), "{bytes:?}: {reply:?}");
    };
    is(b"\x05\x01\x02", "[5, 255]");
    is(b"\x05\x00", "[5, 255]");
    is(b"\x05\x01\x00\x05\x02\x00\x01", "[5, 7,");
    is(b"\x05\x01\x00\x05\x01\x00\x09", "[5, 8,");
    is(b"\x05\x01\x00\x05\x01\x00\x03\x00\x00\x50", "[5, 1,");
    is(b"\x05\x01\x00\x05\x01\x00\x03\x03a\x1bb\x00\x50", "[5, 1,");
    is(b"\x05\x01\x00\x05\x01\x00\x03\x02\xff\xff\x00\x50", "[5, 1,");
    is(b"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x07\x00\x00", "[5, 1,");
    is(b"\x04\x02\x00\x50\x0a\x00\x00\x07\x00", "[0, 91,");
    is(b"GET / HTTP/1.1\r\n", "[]");
    is(b"\x05\x01\x00\x04", "[]");
    let mut endless = b"\x04\x01\x00\x50\x0a\x00\x00\x07".to_vec();
    endless.extend([b'x'; 256]);
    is(&endless, "[0, 91,");
}

#[test]
fn replies_tell_why() {
    let request = |version| Request { target: Target::Socks, version };
    let five = |kind| request(Version::Five).refused(kind)[1];
    assert_eq!(five(FailureKind::ForwardingDenied), 2);
    assert_eq!(five(FailureKind::TimedOut), 4);
    assert_eq!(five(FailureKind::Refused), 5);
    assert_eq!(five(FailureKind::Internal), 1);
    assert_eq!(request(Version::Five).granted()[1], 0);
    assert_eq!(request(Version::Four).granted()[1], 90);
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(vec![5, 1, 0]),
        Just(vec![5, 1, 0, 3]),
        Just(vec![5, 1, 0, 1, 127, 0, 0, 1, 0, 80]),
        Just(vec![4, 1, 0, 80, 0, 0, 0, 1]),
        Just(vec![0]),
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(b'a'..=b'z', 0..300),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn however_the_bytes_come_they_mean_the_same(
        bytes in bytes(), sizes in prop::collection::vec(1..40usize, 1..8),
    ) {
        prop_assert_eq!(fed(&bytes, &sizes), fed(&bytes, &[usize::MAX]));
    }

    #[test]
    fn nobody_is_listened_to_without_end(bytes in bytes()) {
        let (outcome, left) = fed(&bytes, &[7]);
        prop_assert!(!outcome.ends_with("more") || left.len() <= 8 + 2 * (LONGEST + 1), "{outcome}");
    }
}
