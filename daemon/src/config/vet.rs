//! Is each value of a file one that can work? Reports every one that cannot, at its place.

use std::ops::Range;
use std::path::Path;

use nbtunnel_core::ListenAt;
use nbtunnel_proto::FileProblem;
use toml::Spanned;
use tracing_subscriber::EnvFilter;

use super::document::Document;
use super::here;
use super::notebook;
use super::schema::{DaemonKeys, Item, Keys, List};
use super::values::{self, Flaw};

const LOCAL: &str = "the grammar is that of ssh -L, as in forward = [\"6000:localhost:7000\"]";
const DYNAMIC: &str = "the grammar is that of ssh -D, as in dynamic = [\"1080\"]";
const REMOTE: &str = "the grammar is that of ssh -R, as in remote = [\"8080:localhost:3000\"]";

/// Checks the keys of a tunnel file, or of `[defaults]`. `~` is `home`; relative paths begin at `base`.
pub(super) fn tunnel_keys(
    keys: &Keys,
    document: &Document<'_>,
    home: &Path,
    base: &Path,
) -> Vec<FileProblem> {
    let mut vet = Vet { document, problems: Vec::new() };
    vet.value(&keys.host, |text| values::host(text));
    vet.value(&keys.user, |text| values::user(text));
    vet.value(&keys.port, |number| values::port(*number));
    vet.value(&keys.start, |text| values::start(text));
    vet.value(&keys.host_key, |text| values::host_key(text));
    vet.value(&keys.keepalive, |text| values::duration(text, &values::KEEPALIVE));
    vet.value(&keys.connect_timeout, |text| values::duration(text, &values::CONNECT_TIMEOUT));
    vet.value(&keys.hold, |text| values::duration(text, &values::HOLD));
    vet.value(&keys.idle, |text| values::duration(text, &values::IDLE));
    vet.value(&keys.buffer, |text| values::size(text, &values::BUFFER));
    vet.value(&keys.renew_after, |text| values::duration(text, &values::RENEW_AFTER));
    vet.value(&keys.renew_bytes, |text| values::size(text, &values::RENEW_BYTES));
    vet.value(&keys.drain, |text| values::duration(text, &values::DRAIN));
    vet.list(&keys.tags, values::tag);
    vet.list(&keys.identity_file, |text| values::path(text, home, base));
    vet.list(&keys.known_hosts, |text| values::path(text, home, base));
    vet.value(&keys.known_hosts, |List(files)| match files.as_slice() {
        [] => Err(Flaw::new(
            "known_hosts names no file, so that no host key could ever be trusted",
            "name at least one file, as in known_hosts = [\"~/.ssh/known_hosts\"]",
        )),
        _ => Ok(()),
    });
    vet.list(&keys.jump, values::jump);
    vet.value(&keys.ssh_config, |text| values::ssh_config(text, home, base));
    vet.list(&keys.options, values::option);
    vet.value(&keys.remember, |text| values::duration(text, &values::REMEMBER));
    let mut here = Vec::new();
    vet.forwards(&keys.forward, &mut here, "", LOCAL, |text| Ok(here::local(text, home)?.listen));
    vet.forwards(&keys.dynamic, &mut here, "", DYNAMIC, |text| Ok(here::dynamic(text, home)?.listen));
    let (_, problems) = notebook::read(&keys.notebook, document, &mut here);
    vet.problems.extend(problems);
    let there = &mut Vec::new();
    vet.forwards(&keys.remote, there, " at the far end", REMOTE, |text| Ok(here::remote(text, home)?.listen));
    vet.problems
}

/// Checks the keys of `[daemon]`.
pub(super) fn daemon_keys(keys: &DaemonKeys, document: &Document<'_>) -> Vec<FileProblem> {
    let mut vet = Vet { document, problems: Vec::new() };
    vet.value(&keys.log, |filter| log_filter(filter));
    vet.value(&keys.spool, |text| values::size(text, &values::SPOOL));
    vet.problems
}

fn log_filter(filter: &str) -> Result<(), Flaw> {
    EnvFilter::try_new(filter).map(drop).map_err(|_| {
        Flaw::new(
            format!("{filter:?} is not a log filter"),
            "write a level, as in log = \"info\" or log = \"nbtunneld=debug\"",
        )
    })
}

struct Vet<'a> {
    document: &'a Document<'a>,
    problems: Vec<FileProblem>,
}

impl Vet<'_> {
    fn value<T, R>(&mut self, value: &Option<Spanned<T>>, check: impl Fn(&T) -> Result<R, Flaw>) {
        if let Some(value) = value {
            self.check(value.span(), check(value.get_ref()));
        }
    }

    fn list<R>(&mut self, list: &Option<Spanned<List>>, check: impl Fn(&str) -> Result<R, Flaw>) {
        let Some(list) = list else { return };
        for item in &list.get_ref().0 {
            self.check(place(list, item), check(&item.text));
        }
    }

    /// Each forward for itself, and no two of them at one address of `there`.
    fn forwards(
        &mut self,
        list: &Option<Spanned<List>>,
        taken: &mut Vec<ListenAt>,
        there: &str,
        hint: &str,
        read: impl Fn(&str) -> Result<ListenAt, String>,
    ) {
        let Some(list) = list else { return };
        for item in &list.get_ref().0 {
            let checked = match read(&item.text) {
                Err(why) => Err(Flaw::new(why, hint)),
                Ok(listen) => match taken.iter().find(|other| other.collides(&listen)) {
                    Some(other) => Err(Flaw::new(
                        format!("another forward of this tunnel listens on {other}{there} already"),
                        "give each forward a port of its own",
                    )),
                    None => {
                        taken.push(listen);
                        Ok(())
                    }
                },
            };
            self.check(place(list, item), checked);
        }
    }

    fn check<R>(&mut self, span: Range<usize>, result: Result<R, Flaw>) {
        if let Err(flaw) = result {
            self.problems.push(self.document.problem(Some(span), flaw));
        }
    }
}

fn place(list: &Spanned<List>, item: &Item) -> Range<usize> {
    item.span.clone().unwrap_or_else(|| list.span())
}

#[cfg(test)]
mod tests {
    use super::super::syntax;
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let document = Document { file: "f", text };
        let keys: Keys = syntax::parse(&document).unwrap();
        tunnel_keys(&keys, &document, Path::new("/home/a"), Path::new("/cfg"))
            .into_iter()
            .map(|p| format!("{}:{} {}", p.line.unwrap(), p.column.unwrap(), p.message))
            .collect()
    }

    #[test]
    fn a_bad_element_of_a_list_is_pointed_at() {
        assert_eq!(
            problems("forward = [\n  \"6000:h:1\",\n  \"0:h:1\", \"70000:h:1\"]\ntags = \"a b\""),
            [
                "4:8 \"a b\" is not a tag",
                "3:3 port 0 is not a port; ports go from 1 to 65535",
                "3:12 70000 is not a port; ports go from 1 to 65535",
            ]
        );
        assert_eq!(
            problems("forward = \"6000:h:1\"\nidentity_file=\"~/.ssh/id\"\nknown_hosts=\"kh\""),
            [""; 0]
        );
        assert_eq!(problems("known_hosts = []").len(), 1);
    }

    #[test]
    fn two_forwards_at_one_address_are_one_too_many() {
        let other = |text: &str| !problems(&format!("forward = [{text}]")).is_empty();
        for clash in [
            r#""6000:a:1", "6000:b:2""#,
            r#""6000:a:1", "localhost:6000:b:2""#,
            r#""6000:a:1", "127.0.0.1:6000:b:2""#,
            r#""6000:a:1", "[::1]:6000:b:2""#,
            r#""*:6000:a:1", "10.0.0.1:6000:b:2""#,
            r#""/tmp/a:h:1", "/tmp/a:h:2""#,
        ] {
            assert!(other(clash), "{clash}");
        }
        for fine in
            [r#""6000:a:1", "6001:a:1""#, r#""10.0.0.1:1:a:1", "10.0.0.2:1:a:1""#, r#""/a:h:1", "/b:h:1""#]
        {
            assert!(!other(fine), "{fine}");
        }
    }

    #[test]
    fn forwards_of_every_kind_are_pointed_at_and_clash_only_on_their_own_side() {
        let found = problems(
            "forward = [\"6000:a:1\"]\ndynamic = [\"6000\", \"x\"]\nremote = [\n  \"6000:h:1\",\n  \"*:6000\", \"0:h:1\", \"0:h:2\", \"1:h:0\"]",
        );
        let expected = [
            "2:12 another forward of this tunnel listens on localhost:6000 already",
            "2:20 \"x\" is not a port; ports go from 1 to 65535",
            "5:3 another forward of this tunnel listens on localhost:6000 at the far end already",
            "5:31 port 0 is not a port; ports go from 1 to 65535",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn every_problem_of_a_file_is_reported_at_once() {
        let sockets = problems("forward = [\"/a:h:1\", \"./b:h:1\"]\nremote = \"80:c/d\"");
        let lacks =
            |path: &str| format!("the socket {path} on this machine needs its whole path, or one from ~/ on");
        assert_eq!(sockets, [format!("1:22 {}", lacks("./b")), format!("2:10 {}", lacks("c/d"))]);
        let found = problems(
            "host = \"-x\"\nuser = \"a b\"\nport = 70000\nstart = \"boot\"\nhost_key = \"yes\"\nkeepalive = \"1\"\nhold = \"2h\"\nbuffer = \"1\"\njump = [\"x\", \"-y\"]\noptions = [\"a\"]\nssh_config = \"\"\nremember = \"9d\"",
        );
        assert_eq!(found.len(), 12, "{found:#?}");
    }
}
