//! TOML into the schema, and what to say where it does not fit.

use serde::de::DeserializeOwned;

use nbtunnel_proto::FileProblem;

use super::document::{Document, sounds_secret};
use super::values::Flaw;

/// Reads a whole document.
///
/// # Errors
/// The first thing in it that is not TOML, not a key, or of the wrong type.
pub(super) fn parse<T: DeserializeOwned>(document: &Document<'_>) -> Result<T, Box<FileProblem>> {
    toml::from_str(document.text).map_err(|error| {
        let place = error.span().map_or(0, |span| span.start);
        let flaw = match unknown_key(error.message()) {
            Some(flaw) => flaw,
            None if document.is_secret_at(place) => secret_misfit(),
            None => misfit(error.message(), document.line_at(place), Section::at(document, place)),
        };
        Box::new(document.problem(error.span(), flaw))
    })
}

/// serde says "unknown field `a`, expected one of `b`, `c`": the keys that there are stand in the message.
fn unknown_key(message: &str) -> Option<Flaw> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, rest) = rest.split_once('`')?;
    let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    let hint = match nearest(key, &known) {
        Some(close) => format!("did you mean `{close}`?"),
        None if key == "token" => "a notebook's token stands in its section, [notebook.NAME]".to_owned(),
        None if sounds_secret(key) => {
            "nbtunnel reads no secret from a file; use a key or an agent".to_owned()
        }
        None => format!("the keys here are: {}", known.join(", ")),
    };
    Some(Flaw::new(format!("`{key}` is not a key here"), hint))
}

/// A wrong type, or something that is not TOML at all.
fn misfit(message: &str, line: &str, section: Section) -> Flaw {
    let key = line.split('=').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
    let wrong_value = message.starts_with("invalid type") || message.contains("quoted");
    let hint = match section.example(key) {
        Some(example) if wrong_value => format!("write it like {example}"),
        _ if message.starts_with("duplicate key") => "remove one of the two".to_owned(),
        _ => "a line is a key, '=' and a value; text stands in double quotes, a list in [ ]".to_owned(),
    };
    let message = message.lines().collect::<Vec<_>>().join(" ");
    Flaw::new(message.replace("expected i64", "expected a whole number"), hint)
}

/// The same where the message would quote a secret.
fn secret_misfit() -> Flaw {
    Flaw::new("that is not a text in quotes", "write it like token = \"…\", on one line")
}

/// Which sort of section a line stands in, as far as its header says.
#[derive(Clone, Copy)]
enum Section {
    Tunnel,
    Notebook,
    Slurm,
}

impl Section {
    fn at(document: &Document<'_>, place: usize) -> Section {
        let before = document.text.get(..place).unwrap_or_default();
        match before.lines().rev().map(str::trim).find(|line| line.starts_with('[')) {
            Some(header) if header.starts_with("[notebook.") && header.ends_with(".slurm]") => Section::Slurm,
            Some(header) if header.starts_with("[notebook.") => Section::Notebook,
            _ => Section::Tunnel,
        }
    }

    fn example(self, key: &str) -> Option<&'static str> {
        match self {
            Section::Tunnel => of_tunnel(key),
            Section::Notebook => of_notebook(key),
            Section::Slurm => of_slurm(key),
        }
    }
}

fn of_notebook(key: &str) -> Option<&'static str> {
    Some(match key {
        "remote_port" => "remote_port = 7000",
        "find" => "find = \"~/project\"",
        "host" => "host = \"gpu7\"",
        "local_port" => "local_port = 6000",
        "scheme" => "scheme = \"https\"",
        "start" => "start = \"jupyter lab --no-browser --port={port}\"",
        "dir" => "dir = \"~/project\"",
        "launcher" => "launcher = \"slurm\"",
        "owner_only" => "owner_only = false",
        _ => return None,
    })
}

fn of_slurm(key: &str) -> Option<&'static str> {
    Some(match key {
        "partition" => "partition = \"gpu\"",
        "account" => "account = \"physics\"",
        "time" => "time = \"8:00:00\"",
        "cpus" => "cpus = 4",
        "memory" => "memory = \"16G\"",
        "gres" => "gres = \"gpu:1\"",
        "options" => "options = [\"--qos=short\"]",
        "script" => "script = \"~/jupyter.sbatch\"",
        "job" => "job = \"jupyter\"",
        _ => return None,
    })
}

fn of_tunnel(key: &str) -> Option<&'static str> {
    Some(match key {
        "host" => "host = \"login.example.org\"",
        "user" => "user = \"alice\"",
        "port" => "port = 22",
        "forward" => "forward = [\"6000:localhost:7000\"]",
        "remote" => "remote = [\"8080:localhost:3000\"]",
        "dynamic" => "dynamic = [\"1080\"]",
        "start" => "start = \"login\"",
        "tags" => "tags = [\"lab\"]",
        "identity_file" => "identity_file = [\"~/.ssh/id_ed25519\"]",
        "known_hosts" => "known_hosts = [\"~/.ssh/known_hosts\"]",
        "host_key" => "host_key = \"strict\"",
        "keepalive" => "keepalive = \"10s\"",
        "connect_timeout" => "connect_timeout = \"20s\"",
        "hold" => "hold = \"30s\"",
        "idle" => "idle = \"15m\"",
        "buffer" => "buffer = \"64MiB\"",
        "renew_after" => "renew_after = \"24h\"",
        "renew_bytes" => "renew_bytes = \"256GiB\"",
        "drain" => "drain = \"1h\"",
        "jump" => "jump = [\"me@login.example.org\"]",
        "ssh_config" => "ssh_config = \"~/.ssh/config\"",
        "ssh_forwards" => "ssh_forwards = false",
        "options" => "options = [\"Compression=yes\"]",
        "share" => "share = true",
        "remember" => "remember = \"8h\"",
        "owner_only" => "owner_only = false",
        "log" => "log = \"info\"",
        "spool" => "spool = \"4GiB\"",
        _ => return None,
    })
}

/// The known key that `key` was most likely meant to be.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let key: Vec<char> = key.to_ascii_lowercase().replace('-', "_").chars().take(64).collect();
    let tolerance = (key.len() / 3).clamp(1, 3);
    known
        .iter()
        .map(|word| (distance(&key, &word.chars().collect::<Vec<_>>()), *word))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many letters to change, add, leave out or swap with their neighbour (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, from) in a.iter().enumerate() {
        let above = &rows[i];
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let mut best = (above[j] + usize::from(from != to)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::schema::Keys;
    use super::*;

    fn complaint(text: &str) -> String {
        let problem = *parse::<Keys>(&Document { file: "tunnels/a.toml", text }).unwrap_err();
        let (line, column) = (problem.line.unwrap(), problem.column.unwrap());
        format!("{line}:{column} [{}] {} -- {}", problem.source.unwrap(), problem.message, problem.hint)
    }

    #[test]
    fn a_problem_says_where_and_what_to_do() {
        let cases = [
            (
                "host = \"h\"\nkeepalve = \"1s\"\n",
                "2:1 [keepalve = \"1s\"] `keepalve` is not a key here -- did you mean `keepalive`?",
            ),
            (
                "Identity-File = []",
                "1:1 [Identity-File = []] `Identity-File` is not a key here -- did you mean `identity_file`?",
            ),
            (
                "password = \"hunter2\"",
                "1:1 [password =…] `password` is not a key here -- \
                 nbtunnel reads no secret from a file; use a key or an agent",
            ),
            (
                "port = \"no\"",
                "1:8 [port = \"no\"] invalid type: string \"no\", expected a whole number -- write it like port = 22",
            ),
            (
                "keepalive = 10",
                "1:13 [keepalive = 10] invalid type: integer `10`, expected a string -- \
                 write it like keepalive = \"10s\"",
            ),
            (
                "forward = [\"a\",\n  1]",
                "2:3 [  1]] invalid type: integer `1`, expected a string -- \
                 a line is a key, '=' and a value; text stands in double quotes, a list in [ ]",
            ),
            ("host = \"a\"\nhost = \"b\"", "2:1 [host = \"b\"] duplicate key -- remove one of the two"),
            (
                "host = x",
                "1:8 [host = x] string values must be quoted, expected literal string -- \
                 write it like host = \"login.example.org\"",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(complaint(text), expected);
        }
    }

    #[test]
    fn an_unknown_key_far_from_every_other_gets_the_list() {
        let complaint = complaint("zzzzzzzz = 1");
        assert!(complaint.contains("the keys here are: host, user, port, forward"), "{complaint}");
    }
}
