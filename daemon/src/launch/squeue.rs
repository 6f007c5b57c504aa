//! What squeue(1) says of a user's jobs, pure.

use std::cmp::Reverse;
use std::time::Duration;

use nbtunnel_core::{Job, JobState};

use super::log::harmless;

/// Between two fields of a line; no name holds it.
const UNIT: char = '\u{1f}';

/// States of jobs that are no more.
const OVER: [&str; 11] = [
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "LAUNCH_FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
];

/// The job that is meant by lines of `%A %T %B %L %S %r %j`, and how many there are. Of several it is the one that
/// runs, else the newest of those that are not on their way out.
pub(super) fn chosen(lines: &str) -> (Option<Job>, usize) {
    let mut jobs: Vec<_> = lines.lines().filter_map(job).collect();
    let count = jobs.len();
    jobs.sort_by_key(|job| (rank(job), Reverse(job.id)));
    (jobs.into_iter().next(), count)
}

fn rank(job: &Job) -> u8 {
    match job.state {
        JobState::Running { .. } => 0,
        JobState::Between if job.word == "COMPLETING" => 2,
        JobState::Pending { .. } | JobState::Between => 1,
    }
}

fn job(line: &str) -> Option<Job> {
    let mut fields = line.split(UNIT);
    let id = fields.next()?.trim().parse().ok()?;
    let word = harmless(fields.next()?);
    let (node, left, starts, reason) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let state = match word.as_str() {
        over if OVER.contains(&over) => return None,
        // The last two are held until somebody releases them.
        "PENDING" | "REQUEUE_HOLD" | "SPECIAL_EXIT" => {
            JobState::Pending { reason: harmless(reason), starts: starts.parse().ok() }
        }
        "RUNNING" if is_name(node) => JobState::Running { node: node.to_owned() },
        _ => JobState::Between,
    };
    let left = matches!(state, JobState::Running { .. }).then(|| duration(left)).flatten();
    Some(Job { id, state, word, left })
}

/// A machine's name, and nothing that a program could take for something else. `n/a` is none.
fn is_name(node: &str) -> bool {
    !node.starts_with('-')
        && !node.is_empty()
        && node.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':'))
}

/// `[days-]hours:minutes:seconds`, of which the first ones may be missing.
fn duration(text: &str) -> Option<Duration> {
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (days.parse::<u64>().ok()?, clock),
        None => (0, text),
    };
    let mut seconds = days.checked_mul(24)?;
    let parts: Vec<u64> = clock.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let (hours, minutes, rest) = match parts.as_slice() {
        [seconds] => (0, 0, *seconds),
        [minutes, seconds] => (0, *minutes, *seconds),
        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
        _ => return None,
    };
    seconds = seconds.checked_add(hours)?.checked_mul(60)?.checked_add(minutes)?.checked_mul(60)?;
    Some(Duration::from_secs(seconds.checked_add(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fields: [&str; 7]) -> String {
        fields.join("\u{1f}") + "\n"
    }

    fn one(fields: [&str; 7]) -> Job {
        chosen(&line(fields)).0.unwrap()
    }

    #[test]
    fn a_pending_job_says_why_and_when() {
        let job = one(["7", "PENDING", "n/a", "5:00", "1763828000", "(Resources, or so)", "n"]);
        let state = JobState::Pending { reason: "(Resources, or so)".into(), starts: Some(1_763_828_000) };
        assert_eq!(job, Job { id: 7, state, word: "PENDING".into(), left: None });
        let job = one(["7", "PENDING", "n/a", "5:00", "N/A", "Priority", "n"]);
        assert_eq!(job.state, JobState::Pending { reason: "Priority".into(), starts: None });
    }

    #[test]
    fn a_running_job_says_where_and_how_long() {
        let job = one(["7", "RUNNING", "gpu-01", "1-02:03:04", "1763828000", "None", "n"]);
        assert_eq!(job.state, JobState::Running { node: "gpu-01".into() });
        assert_eq!(job.left, Some(Duration::from_secs(93_784)));
    }

    #[test]
    fn what_is_neither_is_between_and_what_is_over_is_none() {
        for word in ["COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "WHATEVER_COMES"] {
            assert_eq!(
                one(["7", word, "n/a", "5:00", "N/A", "None", "n"]).state,
                JobState::Between,
                "{word}"
            );
        }
        for word in OVER {
            assert_eq!(chosen(&line(["7", word, "n1", "5:00", "N/A", "None", "n"])), (None, 0), "{word}");
        }
        for node in ["n/a", "-oProxyCommand=x", "", "a b", "$(x)"] {
            assert_eq!(
                one(["7", "RUNNING", node, "5:00", "1", "None", "n"]).state,
                JobState::Between,
                "{node}"
            );
        }
    }

    #[test]
    fn of_several_it_is_the_one_that_runs_else_the_newest() {
        let pending = |id| line([id, "PENDING", "n/a", "1:00", "N/A", "None", "n"]);
        let runs = line(["5", "RUNNING", "n1", "1:00", "1", "None", "n"]);
        let leaves = line(["9", "COMPLETING", "n1", "1:00", "1", "None", "n"]);
        let id = |lines: String| chosen(&lines).0.unwrap().id;
        assert_eq!(id(pending("4") + &runs + &pending("6")), 5);
        assert_eq!(id(pending("4") + &leaves + &pending("6")), 6);
        assert_eq!(chosen("CLUSTER: c1\n\nnonsense\u{1f}x\n"), (None, 0));
    }

    #[test]
    fn times_are_read_in_all_their_forms() {
        for (text, seconds) in [
            ("1-02:03:04", Some(93_784)),
            ("23:00:00", Some(82_800)),
            ("5:07", Some(307)),
            ("0:00", Some(0)),
            ("42", Some(42)),
            ("UNLIMITED", None),
            ("INVALID", None),
            ("NOT_SET", None),
            ("1:2:3:4", None),
            ("99999999999999999999", None),
            ("9999999999999999999-00:00:00", None),
            ("", None),
        ] {
            assert_eq!(duration(text), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
