//! Words for a POSIX shell, and the parts of its scripts that differ from notebook to notebook.

use aws_lc_rs::digest::{SHA256, digest};
use nbtunnel_core::{Failure, FailureKind};

/// What a command writes where its port is to stand.
const PORT: &str = "{port}";

/// Ports that nobody in particular uses, where a file names none.
const USUAL_PORTS: (u16, u16) = (20_000, 32_000);

/// So many ports are tried before it is said that none is free.
const CANDIDATES: usize = 40;

/// `text` as one word, whatever is in it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A directory or file at the far end as one word; what is not absolute is seen from the home directory.
pub(super) fn path(text: &str) -> String {
    match text {
        "" | "~" => "\"$HOME\"".to_owned(),
        absolute if absolute.starts_with('/') => quoted(absolute),
        relative => format!("\"$HOME\"/{}", quoted(relative.strip_prefix("~/").unwrap_or(relative))),
    }
}

/// The name of a notebook's directory at the far end: the same for all who mean the same thing.
pub(super) fn directory(name: &str, means: &[&str]) -> String {
    format!("{name}-{}", mark(means))
}

/// The same for the same texts alone.
pub(super) fn mark(means: &[&str]) -> String {
    let mut all = Vec::new();
    for text in means {
        all.extend_from_slice(&(text.len() as u64).to_le_bytes());
        all.extend_from_slice(text.as_bytes());
    }
    hex(&digest(&SHA256, &all).as_ref()[..8])
}

/// A function `line` that prints the script of a user's `command`, once `$port` is known.
pub(super) fn line(command: &str) -> String {
    let pieces: Vec<_> = command.split(PORT).map(quoted).collect();
    let conda = ["conda", "mamba"].iter().any(|word| command.contains(word));
    let prelude = if conda { CONDA } else { "" };
    // `cat` rather than one long printf: the prelude is full of percent signs and quotes.
    format!("line() {{\n{prelude}printf '%s' {}\necho\n}}\n", pieces.join(" \"$port\" "))
}

/// `conda init` writes what makes `conda activate` work where only interactive shells read it. An interactive shell
/// does more than that, perhaps become another one: so its own lines alone are read. Where conda was made ready for
/// another shell than the one that runs the line, that one's files have told where it is.
const CONDA: &str = r#"cat <<'CONDA'
nbtunnel_rc=~/.bashrc
[ -z "${ZSH_VERSION-}" ] || nbtunnel_rc=${ZDOTDIR:-$HOME}/.zshrc
case $(type conda 2>/dev/null) in
    *function*) ;;
    *) eval "$(sed -n '/^# >>> [a-z]* initialize >>>/,/^# <<< [a-z]* initialize <<</p' "$nbtunnel_rc" 2>/dev/null)" ;;
esac
case $(type conda 2>/dev/null) in
    *function*) ;;
    *) eval "$("${CONDA_EXE:-conda}" shell.posix hook 2>/dev/null)" ;;
esac
unset nbtunnel_rc
CONDA
"#;

/// A function of that name that prints `script`.
pub(super) fn printer(name: &str, script: &str) -> Result<String, Failure> {
    let end = format!("END_{}", hex(&random::<8>()?));
    Ok(format!("{name}() {{\ncat <<'{end}'\n{script}\n{end}\n}}\n"))
}

/// An assignment of the ports that are tried one after the other.
pub(super) fn ports(fixed: Option<u16>, among: Option<(u16, u16)>) -> Result<String, Failure> {
    let candidates = match fixed {
        Some(port) => vec![port],
        None => shuffled(among.unwrap_or(USUAL_PORTS), u64::from_le_bytes(random()?)),
    };
    let words: Vec<_> = candidates.iter().map(u16::to_string).collect();
    Ok(format!("ports='{}'\n", words.join(" ")))
}

/// Some ports of a range, none twice, in an order that depends on `seed`.
fn shuffled((low, high): (u16, u16), mut seed: u64) -> Vec<u16> {
    let (low, high) = (low.min(high), low.max(high));
    let mut left: Vec<u16> = (low..=high).collect();
    let mut chosen = Vec::new();
    while chosen.len() < CANDIDATES && !left.is_empty() {
        // SplitMix64's step (Steele, Lea and Flood 2014) without its finish: the high bits are good enough here.
        seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0xbf58_476d_1ce4_e5b9);
        let at = usize::try_from(seed >> 33).unwrap_or_default() % left.len();
        chosen.push(left.swap_remove(at));
    }
    chosen
}

/// Random bytes.
pub(super) fn random<const COUNT: usize>() -> Result<[u8; COUNT], Failure> {
    let mut bytes = [0; COUNT];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| {
        let hint = "restart the machine; if it stays so, please report it";
        Failure::new(FailureKind::Internal, "this system gives no random numbers", hint)
    })?;
    Ok(bytes)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A shell's words end at a zero byte.
///
/// # Errors
/// `config`: one of them has one.
pub(super) fn speakable(texts: &[&str]) -> Result<(), Failure> {
    match texts.iter().find(|text| text.contains('\0')) {
        None => Ok(()),
        Some(text) => Err(Failure::new(
            FailureKind::Config,
            format!("{text:?} holds a zero byte, which no shell takes"),
            "remove it from the file",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_word_whatever_is_in_it() {
        assert_eq!(quoted("it's $HOME\n`x`"), "'it'\\''s $HOME\n`x`'");
        assert_eq!(path("~/my work"), "\"$HOME\"/'my work'");
        assert_eq!(path("work"), "\"$HOME\"/'work'");
        assert_eq!(path("/a b"), "'/a b'");
        assert_eq!(path("~"), "\"$HOME\"");
    }

    #[test]
    fn the_same_directory_is_for_the_same_thing_alone() {
        let one = directory("alice", &["jupyter lab", "work"]);
        assert_eq!(one, directory("alice", &["jupyter lab", "work"]));
        assert_ne!(one, directory("alice", &["jupyter lab ", "work"]));
        assert_ne!(one, directory("alice", &["jupyter lab", "", "work"]));
        assert_ne!(directory("alice", &["ab", "c"]), directory("alice", &["a", "bc"]));
        assert!(one.starts_with("alice-") && one.len() == 22, "{one}");
    }

    #[test]
    fn candidates_are_within_the_range_and_none_is_tried_twice() {
        for seed in 0..200 {
            let mut some = shuffled((7000, 7100), seed);
            assert_eq!(some.len(), CANDIDATES);
            some.sort_unstable();
            some.dedup();
            assert_eq!(some.len(), CANDIDATES);
            assert!(some.iter().all(|port| (7000..=7100).contains(port)));
            assert_eq!(shuffled((7001, 7001), seed), [7001]);
            assert_eq!(shuffled((9, 7), seed).len(), 3);
        }
        assert_ne!(shuffled(USUAL_PORTS, 1), shuffled(USUAL_PORTS, 2));
    }
}
