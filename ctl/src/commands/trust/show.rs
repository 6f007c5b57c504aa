//! What a person has to see in order to decide about a host key: which machine showed it, the key as words and as a
//! drawing, and what is on file, side by side with it.

use nbtunnel_proto::{HostKeyOffer, RecordedKey};

use crate::text::{plain, plain_lines};

/// Between two columns.
const GAP: usize = 4;

pub(super) fn describe(offer: &HostKeyOffer) -> String {
    let mut out = format!("{} showed this {} key:\n", machine(offer), plain(&offer.algorithm));
    out += &format!("  {}\n", plain(&offer.fingerprint));
    if let Some(alias) = &offer.alias {
        out += &format!("It is known as {}.\n", plain(alias));
    }
    if let Some(doubt) = &offer.doubt {
        out += &format!("It came in a certificate that does not count: {}.\n", plain(doubt));
    }
    match offer.recorded.iter().position(|key| key.algorithm == offer.algorithm) {
        None if offer.recorded.is_empty() => out += &drawing(&offer.randomart),
        None => {
            out += &drawing(&offer.randomart);
            out += "On file for that host:\n";
        }
        Some(place) => {
            let old = &offer.recorded[place];
            out += &beside(&column("On file", &old.randomart), &column("Now", &offer.randomart));
            out += "On file for that host:\n";
        }
    }
    for key in &offer.recorded {
        out += &format!("  {} {} ({})\n", plain(&key.algorithm), plain(&key.fingerprint), place(key));
    }
    out.trim_end().to_owned()
}

/// Which machine showed it: on the way there may be several.
pub(super) fn machine(offer: &HostKeyOffer) -> String {
    let hop = plain(&offer.hop);
    match offer.jump {
        0 => hop,
        jump => format!("{hop} (jump host {jump} of {})", offer.jumps),
    }
}

/// Where a key stands, and whether it stays there when another takes its place.
fn place(key: &RecordedKey) -> String {
    let line = format!("{}:{}", plain(&key.file), key.line);
    match &key.pattern {
        Some(pattern) => format!("{line}, for {}, which stays", plain(pattern)),
        None if key.stays => format!("{line}, a file of the system, which stays"),
        None => line,
    }
}

fn drawing(randomart: &str) -> String {
    if randomart.is_empty() { String::new() } else { format!("{}\n", plain_lines(randomart).trim_end()) }
}

fn column(title: &str, randomart: &str) -> Vec<String> {
    let drawing = plain_lines(randomart);
    std::iter::once(title.to_owned()).chain(drawing.trim_end().lines().map(str::to_owned)).collect()
}

/// Two columns of lines, the left one as wide as it needs to be.
fn beside(left: &[String], right: &[String]) -> String {
    let width = left.iter().map(|line| line.chars().count()).max().unwrap_or(0) + GAP;
    let line = |of: &[String], number: usize| of.get(number).cloned().unwrap_or_default();
    let both = (0..left.len().max(right.len())).map(|number| {
        format!("{:width$}{}", line(left, number), line(right, number)).trim_end().to_owned() + "\n"
    });
    both.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> HostKeyOffer {
        HostKeyOffer {
            name: "alice".into(),
            hop: "h:22".into(),
            jump: 0,
            jumps: 0,
            alias: None,
            algorithm: "ssh-ed25519".into(),
            fingerprint: "SHA256:new".into(),
            randomart: "+-new-+\n|  n  |\n".into(),
            file: "kh".into(),
            trusted: false,
            recorded: vec![RecordedKey {
                file: "kh".into(),
                line: 3,
                algorithm: "ssh-ed25519".into(),
                fingerprint: "SHA256:old".into(),
                randomart: "+-old-+\n|  o  |\n".into(),
                pattern: None,
                stays: false,
            }],
            revoked: false,
            revoked_at: None,
            doubt: None,
        }
    }

    #[test]
    fn old_and_new_are_shown_side_by_side() {
        let text = describe(&offer());
        assert_eq!(
            text,
            "h:22 showed this ssh-ed25519 key:\n  SHA256:new\n\
             On file    Now\n+-old-+    +-new-+\n|  o  |    |  n  |\n\
             On file for that host:\n  ssh-ed25519 SHA256:old (kh:3)"
        );
    }

    #[test]
    fn a_key_of_another_kind_and_a_pattern_are_named_but_not_compared() {
        let mut offer = offer();
        offer.recorded[0].algorithm = "ssh-rsa".into();
        offer.recorded[0].pattern = Some("*.lab".into());
        let text = describe(&offer);
        assert!(!text.contains("old-+") && text.contains("+-new-+"), "{text}");
        assert!(text.contains("SHA256:old (kh:3, for *.lab, which stays)"), "{text}");
    }

    #[test]
    fn a_jump_host_an_alias_and_a_doubt_are_told() {
        let offer = HostKeyOffer {
            jump: 1,
            jumps: 2,
            alias: Some("box".into()),
            doubt: Some("it has expired".into()),
            recorded: vec![],
            ..offer()
        };
        let text = describe(&offer);
        for part in ["h:22 (jump host 1 of 2) showed", "known as box", "it has expired", "+-new-+"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn what_a_server_sent_moves_no_cursor() {
        let offer =
            HostKeyOffer { algorithm: "a\x1b[2J".into(), randomart: "\x1b]0;x\x07".into(), ..offer() };
        assert!(!describe(&offer).contains('\x1b'));
    }
}
