//! Text for people: colour, durations, local time, and what strangers sent made harmless.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Whether to use colour; each method is the identity without it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(pub bool);

impl Paint {
    /// Good.
    pub(crate) fn green(self, text: &str) -> String {
        self.sgr("32", text)
    }

    /// On its way.
    pub(crate) fn yellow(self, text: &str) -> String {
        self.sgr("33", text)
    }

    /// Wrong.
    pub(crate) fn red(self, text: &str) -> String {
        self.sgr("31", text)
    }

    /// Beside the point.
    pub(crate) fn dim(self, text: &str) -> String {
        self.sgr("2", text)
    }

    /// Headings.
    pub(crate) fn bold(self, text: &str) -> String {
        self.sgr("1", text)
    }

    fn sgr(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `text` on one line and without control characters: part of it may come from a server.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The same, but keeping the ends of lines.
pub(crate) fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// `who: text`, unless the text begins with who it is about already.
pub(crate) fn about(who: &str, text: &str, paint: Paint) -> String {
    match text.strip_prefix(who) {
        Some(rest) if !rest.starts_with(|c: char| c.is_alphanumeric()) => {
            format!("{}{}", paint.bold(&plain(who)), plain(rest))
        }
        _ => format!("{}: {}", paint.bold(&plain(who)), plain(text)),
    }
}

/// A duration in at most two units.
pub(crate) fn duration(seconds: f64) -> String {
    // Saturates, and is 0 for NaN and what is negative.
    let s = seconds as u64;
    let two = |high: u64, high_unit: &str, low: u64, low_unit: &str| {
        if low == 0 { format!("{high} {high_unit}") } else { format!("{high} {high_unit} {low} {low_unit}") }
    };
    match s {
        0..60 => format!("{s} s"),
        60..3600 => two(s / 60, "min", s % 60, "s"),
        3600..86400 => two(s / 3600, "h", s % 3600 / 60, "min"),
        _ => two(s / 86400, "d", s % 86400 / 3600, "h"),
    }
}

/// Milliseconds since 1970 as local date and time, to the second.
pub(crate) fn local_time(at_ms: u64) -> String {
    time_in(at_ms, TimeZone::system())
}

fn time_in(at_ms: u64, zone: TimeZone) -> String {
    match i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
        Some(at) => at.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => "????-??-?? ??:??:??".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_two_units_at_most() {
        let cases = [
            (0.9, "0 s"),
            (59.9, "59 s"),
            (60.0, "1 min"),
            (125.0, "2 min 5 s"),
            (3600.0, "1 h"),
            (7500.0, "2 h 5 min"),
            (90_000.0, "1 d 1 h"),
            (-1.0, "0 s"),
            (f64::NAN, "0 s"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn times_are_shown_in_the_zone_and_never_panic() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(time_in(1_700_000_000_123, berlin), "2023-11-14 23:13:20");
        assert_eq!(time_in(u64::MAX, TimeZone::UTC), "????-??-?? ??:??:??");
    }

    #[test]
    fn a_sentence_names_its_tunnel_once() {
        assert_eq!(about("alice", "alice is up", Paint(false)), "alice is up");
        assert_eq!(about("alice", "alice: up", Paint(false)), "alice: up");
        assert_eq!(about("alice", "connecting", Paint(false)), "alice: connecting");
        assert_eq!(about("al", "alice is odd", Paint(false)), "al: alice is odd");
    }

    #[test]
    fn a_server_cannot_move_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb\r\n"), "a [2Jb  ");
        assert_eq!(plain_lines("a\nb\x07"), "a\nb ");
    }
}
