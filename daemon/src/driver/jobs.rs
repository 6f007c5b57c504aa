//! Jobs of a cluster as people hear of them: in the status, and while they wait for one.

use std::time::Duration;

use nbtunnel_core::notebook::WARNED_BEFORE;
use nbtunnel_core::{Job, JobState, Moment};
use nbtunnel_proto::JobStatus;

use super::tell::within;

/// A cluster thinks again and again about when it will start a job. What differs by less is no news.
const SAME_START: u64 = 60;

/// How a job stands, which was asked for at `asked_at`.
pub(super) fn status(job: &Job, asked_at: Moment, now: Moment) -> JobStatus {
    let (reason, starts) = match &job.state {
        JobState::Pending { reason, starts } => (Some(reason.clone()), *starts),
        JobState::Running { .. } | JobState::Between => (None, None),
    };
    JobStatus {
        id: job.id,
        state: job.word.clone(),
        reason,
        starts_ms: starts.map(|seconds| seconds.saturating_mul(1000)),
        node: job.node().map(str::to_owned),
        left_s: left(job, asked_at, now).map(|left| left.as_secs_f64()),
    }
}

/// What whoever looks should know of a job that ends soon.
pub(super) fn warning(job: &Job, asked_at: Moment, now: Moment) -> Option<String> {
    let left = left(job, asked_at, now).filter(|left| job.node().is_some() && *left <= WARNED_BEFORE)?;
    let when = if left.is_zero() { "up".to_owned() } else { format!("up {}", within(left)) };
    Some(format!(
        "the time of its job {} is {when}: save what matters, since kernels end with the job",
        job.id
    ))
}

fn left(job: &Job, asked_at: Moment, now: Moment) -> Option<Duration> {
    job.left.map(|left| left.saturating_sub(now.since(asked_at)))
}

/// What somebody who waits is told of a job at `now_ms` (milliseconds since 1970-01-01 UTC).
pub(super) fn sentence(job: &Job, now_ms: u64) -> String {
    let id = job.id;
    match &job.state {
        JobState::Running { node } => format!("its job {id} runs on {node}"),
        JobState::Between => format!("its job {id} does not run now ({})", job.word.to_lowercase()),
        JobState::Pending { reason, starts } => {
            // So it is while the cluster has not thought about it.
            let why = Some(reason).filter(|reason| !matches!(reason.as_str(), "" | "None"));
            let why = why.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let ahead = starts.and_then(|at| at.saturating_mul(1000).checked_sub(now_ms));
            let when = ahead.map(|ms| format!(", expected to start {}", within(Duration::from_millis(ms))));
            format!("its job {id} waits in the queue{why}{}", when.unwrap_or_default())
        }
    }
}

/// Whether somebody who was told how `before` stands should hear of `job`.
pub(super) fn is_news(before: Option<&Job>, job: &Job) -> bool {
    let Some(before) = before else { return true };
    let same_state = match (&before.state, &job.state) {
        (
            JobState::Pending { reason, starts },
            JobState::Pending { reason: new_reason, starts: new_starts },
        ) => {
            let same_start = match (starts, new_starts) {
                (Some(one), Some(other)) => one.abs_diff(*other) < SAME_START,
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            reason == new_reason && same_start
        }
        (before, now) => before == now,
    };
    (before.id, &before.word) != (job.id, &job.word) || !same_state
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn pending(reason: &str, starts: Option<u64>) -> Job {
        let state = JobState::Pending { reason: reason.into(), starts };
        Job { id: 17, state, word: "PENDING".into(), left: None }
    }

    fn running(left: Option<Duration>) -> Job {
        Job { id: 17, state: JobState::Running { node: "n7".into() }, word: "RUNNING".into(), left }
    }

    #[test]
    fn the_time_of_a_job_is_counted_down_and_its_end_told_before() {
        let began = Moment::from_origin(Duration::from_secs(1000));
        let at = |seconds| began + Duration::from_secs(seconds);
        let job = running(Some(WARNED_BEFORE + Duration::from_secs(5)));
        let seen = |seconds| status(&job, began, at(seconds)).left_s;
        assert_eq!((seen(0), seen(4), seen(9999)), (Some(605.0), Some(601.0), Some(0.0)));
        assert_eq!(warning(&job, began, at(4)), None);
        let told = warning(&job, began, at(65)).unwrap();
        assert!(told.starts_with("the time of its job 17 is up in 9 min: save"), "{told}");
        assert!(warning(&job, began, at(9999)).unwrap().contains("is up: save"));
        // Some have no end.
        assert_eq!(warning(&running(None), began, at(0)), None);
        assert_eq!(status(&running(None), began, at(0)).left_s, None);
    }

    #[test]
    fn a_job_that_waits_says_why_and_when_it_may_start() {
        let now = Moment::from_origin(Duration::from_secs(1000));
        let shown = status(&pending("Priority", Some(1_700_007_200)), now, now);
        assert_eq!(shown.starts_ms, Some(1_700_007_200_000));
        assert_eq!((shown.reason.as_deref(), shown.left_s), (Some("Priority"), None));
        for (job, expected) in [
            (
                pending("Priority", Some(1_700_010_800)),
                "its job 17 waits in the queue (Priority), expected to start in 3.0 h",
            ),
            (pending("Resources", None), "its job 17 waits in the queue (Resources)"),
            // The cluster has not thought about it again since then.
            (pending("None", Some(1_699_999_999)), "its job 17 waits in the queue"),
            (running(None), "its job 17 runs on n7"),
            (
                Job { state: JobState::Between, word: "COMPLETING".into(), ..running(None) },
                "its job 17 does not run now (completing)",
            ),
        ] {
            assert_eq!(sentence(&job, NOW_MS), expected);
        }
    }

    #[test]
    fn who_waits_hears_what_changed_and_nothing_twice() {
        let first = pending("Priority", Some(1_700_000_600));
        assert!(is_news(None, &first) && !is_news(Some(&first), &first));
        assert!(!is_news(Some(&first), &pending("Priority", Some(1_700_000_630))));
        let all = [
            pending("Resources", Some(1_700_000_600)),
            pending("Priority", Some(1_700_000_900)),
            pending("Priority", None),
            Job { id: 18, ..first.clone() },
            running(None),
        ];
        for next in all {
            assert!(is_news(Some(&first), &next), "{next:?}");
        }
        // Its time is counted by who looks.
        assert!(!is_news(Some(&running(None)), &running(Some(WARNED_BEFORE))));
    }
}
