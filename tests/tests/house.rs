//! The rules of the house: who may know whom. Each rule is a line of data with a sentence that explains it
//! and an example that breaks it; the examples prove that the rules can fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::programs::repository;

mod source;

/// Longest file, in lines: one that can be read in one sitting.
const LONGEST: usize = 400;

/// Words that must not stand in some sources.
struct Rule {
    /// Why.
    says: &'static str,
    /// Files whose path begins so.
    within: &'static [&'static str],
    /// But not those whose path begins so.
    except: &'static [&'static str],
    /// Paths or macros that are not named there.
    forbids: &'static [&'static str],
    /// A file and a line of it that break the rule.
    example: (&'static str, &'static str),
}

const OURS: &[&str] = &["daemon/", "proto/", "ctl/"];

const RULES: &[Rule] = &[
    Rule {
        says: "core is pure: no I/O, no threads, no clock, no async",
        within: &["daemon/core/src/"],
        except: &[],
        forbids: &[
            "std::fs",
            "std::io",
            "std::net",
            "std::thread",
            "std::process",
            "std::env",
            "Instant",
            "SystemTime",
            "async",
            "await",
            "tokio",
            "println!",
        ],
        example: ("daemon/core/src/tunnel.rs", "use std::time::{Duration, Instant};"),
    },
    Rule {
        says: "ssh may use forward, never the reverse",
        within: &["daemon/src/forward"],
        except: &[],
        forbids: &["crate::ssh", "super::ssh", "super::super::ssh", "russh"],
        example: ("daemon/src/forward/pump.rs", "use crate::ssh::Link;"),
    },
    Rule {
        says: "control reaches core only through driver; convert.rs alone turns the words of one into the other's",
        within: &["daemon/src/control"],
        except: &["daemon/src/control/convert"],
        forbids: &["nbtunnel_core"],
        example: ("daemon/src/control/server.rs", "use nbtunnel_core::Order;"),
    },
    Rule {
        says: "only ssh/ names russh",
        within: OURS,
        except: &["daemon/src/ssh"],
        forbids: &["russh"],
        example: ("daemon/src/effects.rs", "fn dial(session: russh::client::Handle<Us>) {}"),
    },
    Rule {
        says: "only config/ names the config crate",
        within: OURS,
        except: &["daemon/src/config"],
        forbids: &["::config::Config", "config::ConfigBuilder", "config::Environment", "config::FileFormat"],
        example: ("daemon/src/main.rs", "let all = ::config::Config::builder();"),
    },
    Rule {
        says: "only config/ names the watcher crate",
        within: OURS,
        except: &["daemon/src/config"],
        forbids: &["notify::"],
        example: ("daemon/src/driver.rs", "use notify::Watcher;"),
    },
    Rule {
        says: "only wake/ reads the time",
        within: OURS,
        except: &["daemon/src/wake"],
        forbids: &["Instant::now", "SystemTime::now", "clock_gettime", "ClockId", "CLOCK_BOOTTIME"],
        example: ("daemon/src/control/history.rs", "let at = std::time::SystemTime::now();"),
    },
    Rule {
        says: "only the codec names bincode",
        within: &["daemon/", "proto/", "ctl/", "tests/src/"],
        except: &["proto/src/codec.rs", "proto/src/codec/"],
        forbids: &["bincode"],
        example: ("proto/src/client.rs", "let sent = bincode::serde::encode_to_vec(&request, LIMITS);"),
    },
    Rule {
        says: "nobody imports the driver",
        within: &["daemon/src/"],
        except: &["daemon/src/main.rs", "daemon/src/run.rs", "daemon/src/lib.rs", "daemon/src/driver"],
        forbids: &["crate::driver", "super::driver", "nbtunneld::driver"],
        example: ("daemon/src/effects.rs", "use crate::driver::Event;"),
    },
    Rule {
        says: "only the printer prints",
        within: OURS,
        except: &["ctl/src/printer"],
        forbids: &["println!", "print!", "eprintln!", "eprint!", "dbg!"],
        example: ("ctl/src/status.rs", "println!(\"{table}\");"),
    },
    Rule {
        says: "wire types carry no serde attributes: with bincode these corrupt silently",
        within: &["proto/src/"],
        except: &[],
        forbids: &["#[serde"],
        example: ("proto/src/status.rs", "#[serde(default)]"),
    },
];

/// What a crate of ours may depend on, among ours.
const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("daemon/core/Cargo.toml", &[]),
    ("proto/Cargo.toml", &[]),
    ("daemon/Cargo.toml", &["nbtunnel-core", "nbtunnel-proto"]),
    ("ctl/Cargo.toml", &["nbtunnel-proto"]),
];

impl Rule {
    fn concerns(&self, path: &str) -> bool {
        // Unit tests that grew into a file of their own, and tests beside `src`.
        let tested = path.ends_with("/tests.rs") || (path.contains("/tests/") && !path.starts_with("tests/"));
        !tested
            && self.within.iter().any(|start| path.starts_with(start))
            && !self.except.iter().any(|start| path.starts_with(start))
    }

    /// One line for each breach in `text`, the source of `path`.
    fn breaches(&self, path: &str, text: &str) -> Vec<String> {
        if !self.concerns(path) {
            return Vec::new();
        }
        let code = source::code_only(text);
        let lines = code.lines().enumerate();
        lines
            .flat_map(|(number, line)| {
                let found = self.forbids.iter().filter(move |word| source::names(line, word));
                found.map(move |word| format!("{path}:{}: names {word}, but {}", number + 1, self.says))
            })
            .collect()
    }
}

#[test]
fn every_rule_holds() -> Result<()> {
    let sources = sources()?;
    ensure!(sources.len() > 30, "only {} sources found: the scan is broken", sources.len());
    let mut breaches = Vec::new();
    for (path, text) in &sources {
        breaches.extend(RULES.iter().flat_map(|rule| rule.breaches(path, text)));
    }
    ensure!(breaches.is_empty(), "{}", breaches.join("\n"));
    Ok(())
}

#[test]
fn every_rule_finds_the_breach_that_is_planted() {
    for rule in RULES {
        let (path, line) = rule.example;
        assert_eq!(rule.breaches(path, line).len(), 1, "{}", rule.says);
        assert!(rule.breaches(path, &format!("// {line}")).is_empty(), "a comment breaks: {}", rule.says);
        let tested = format!("#[cfg(test)]\nmod tests {{\n{line}\n}}");
        assert!(rule.breaches(path, &tested).is_empty(), "a unit test breaks: {}", rule.says);
    }
}

#[test]
fn no_file_is_longer_than_one_sitting() -> Result<()> {
    let long: Vec<_> = sources()?
        .iter()
        .map(|(path, text)| (path.clone(), text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .collect();
    ensure!(long.is_empty(), "more than {LONGEST} lines: {long:?}");
    Ok(())
}

#[test]
fn crates_depend_on_each_other_only_as_the_house_is_drawn() -> Result<()> {
    for (manifest, allowed) in MAY_DEPEND {
        let text = fs::read_to_string(repository().join(manifest))?;
        let foreign = foreign(&text, allowed)?;
        ensure!(foreign.is_empty(), "{manifest} must not depend on {foreign:?}");
    }
    Ok(())
}

#[test]
fn a_planted_dependency_is_found() -> Result<()> {
    let text =
        "[dependencies]\nserde = \"1\"\n[target.'cfg(unix)'.dependencies]\nnbtunnel-core.workspace = true";
    assert_eq!(foreign(text, &["nbtunnel-proto"])?, ["nbtunnel-core"]);
    assert!(foreign(text, &["nbtunnel-core"])?.is_empty());
    Ok(())
}

#[test]
fn cargo_demo_is_the_demo_that_is_tested() -> Result<()> {
    let config: toml::Table = toml::from_str(&fs::read_to_string(repository().join(".cargo/config.toml"))?)?;
    let alias = config["alias"]["demo"].as_str().context("`cargo demo` is an alias")?;
    let words: Vec<_> = alias.split_whitespace().collect();
    // The last word hands what follows `cargo demo` on to the program.
    ensure!(words == ["run", "--quiet", "--package", "nbtunnel-tests", "--bin", "demo", "--"], "{alias}");
    Ok(())
}

#[test]
fn core_stands_on_next_to_nothing() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "-p", "nbtunnel-core", "-e", "normal,build", "--prefix", "none", "--offline"])
        .current_dir(repository())
        .output()?;
    ensure!(output.status.success(), "cargo tree fails: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    let crates: Vec<_> = tree.lines().filter(|line| !line.trim().is_empty()).collect();
    ensure!(crates.first().is_some_and(|line| line.starts_with("nbtunnel-core")), "{tree}");
    ensure!(crates.len() <= 2, "core depends on too much:\n{tree}");
    Ok(())
}

/// Which crates of ours `manifest` names as dependencies without being allowed to.
fn foreign(manifest: &str, allowed: &[&str]) -> Result<Vec<String>> {
    let manifest: toml::Table = toml::from_str(manifest)?;
    let mut tables = vec![&manifest];
    if let Some(targets) = manifest.get("target").and_then(|value| value.as_table()) {
        tables.extend(targets.values().filter_map(|value| value.as_table()));
    }
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let names = tables
        .iter()
        .flat_map(|table| sections.iter().filter_map(|section| table.get(*section)?.as_table()))
        .flat_map(|dependencies| dependencies.keys());
    let ours = |name: &&String| name.starts_with("nbtunnel") || *name == "nbctl";
    Ok(names.filter(ours).filter(|name| !allowed.contains(&name.as_str())).cloned().collect())
}

/// Every Rust file of ours, by its path with forward slashes, and its text.
fn sources() -> Result<Vec<(String, String)>> {
    let root = repository();
    let mut found = Vec::new();
    for part in ["daemon", "proto", "ctl", "tests"] {
        collect(&root, &root.join(part), &mut found)?;
    }
    Ok(found)
}

fn collect(root: &Path, dir: &Path, found: &mut Vec<(String, String)>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path: PathBuf = entry?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(root, &path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            found.push((name, fs::read_to_string(&path)?));
        }
    }
    Ok(())
}
