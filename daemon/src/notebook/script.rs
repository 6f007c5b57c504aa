//! The scripts for the far end's `sh`. Nothing secret stands in them, and nothing of what stands in them is code:
//! what comes from a file of ours is quoted.

use super::Wanted;

/// What every far end is asked: one script, so that one round trip tells all. It is a subshell, so that it is read
/// whole before it runs, and its `exit` ends nothing else.
const FAR: &str = include_str!("far.sh");
const LIST: &str = include_str!("list.sh");

/// Tells the servers that are written down, their processes, and who listens.
pub(super) fn find(wanted: &Wanted, elsewhere: bool) -> String {
    let last = wanted.last.as_ref().and_then(|last| last.pid);
    let pids: Vec<u32> = wanted.pid.into_iter().chain(last).collect();
    far(wanted.owner.as_deref(), wanted.dir.as_deref(), true, elsewhere, &pids)
}

/// Tells about these processes, and who listens.
pub(super) fn verify(owner: Option<&str>, pids: &[u32]) -> String {
    far(owner, None, false, false, pids)
}

/// Asks Jupyter itself for its list: for where it keeps its files at a place of its own.
pub(super) fn list() -> String {
    format!("(\n{LIST})\n")
}

fn far(owner: Option<&str>, root: Option<&str>, written: bool, elsewhere: bool, pids: &[u32]) -> String {
    let flag = |set: bool| if set { "yes" } else { "" };
    let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    format!(
        "(\nowner={}\nroot={}\nwritten={}\nelsewhere={}\npids='{pids}'\n{FAR})\n",
        quoted(owner.unwrap_or_default()),
        quoted(root.unwrap_or_default()),
        flag(written),
        flag(elsewhere),
    )
}

/// `text` as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Whether an account may be called so: the far end's shell is asked for its home by this name.
pub(super) fn is_account(name: &str) -> bool {
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 64 && !name.starts_with(['-', '.']) && name.chars().all(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_is_a_word_and_no_command() {
        assert_eq!(quoted("it's $(id) `id`"), r"'it'\''s $(id) `id`'");
        assert!(["alice", "a.b-c_1", "A1"].into_iter().all(is_account));
        assert!(
            ["", "-x", ".x", "a b", "a;id", "a$(id)", "a'", "ü", &"a".repeat(65)]
                .iter()
                .all(|n| !is_account(n))
        );
    }
}
