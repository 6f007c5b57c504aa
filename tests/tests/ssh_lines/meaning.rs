//! What a command line means, in the words of `ssh -G`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use nbtunnel_core::{ForwardSpec, HostKeyPolicy, RemoteSpec, SshConfig, Target, TunnelSpec};
use nbtunnel_tests::programs::{system, write_program};

/// Everything that ssh prints: the values of each keyword.
pub(crate) type Meaning = BTreeMap<String, BTreeSet<String>>;

/// What a tunnel goes without: where it differs, its user has to be told.
pub(crate) const LEFT_OUT: &[&str] = &[
    "batchmode",
    "connectionattempts",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "escapechar",
    "forkafterauthentication",
    "forwardagent",
    "forwardx11",
    "forwardx11trusted",
    "ipqos",
    "loglevel",
    "remotecommand",
    "requesttty",
    "sendenv",
    "sessiontype",
    "setenv",
    "stdinnull",
    "streamlocalbindunlink",
    "visualhostkey",
];

/// A directory where lines are typed, and an ssh that only says what it would do.
pub(crate) struct Lab {
    dir: PathBuf,
    path: std::ffi::OsString,
}

impl Lab {
    pub(crate) fn new(dir: &Path) -> Result<Lab> {
        let bin = dir.join("bin");
        fs::create_dir_all(&bin)?;
        let ssh = system("ssh")?;
        // Its own port is what autossh takes away; here it is always a word of its own.
        let auto =
            format!("#!/bin/sh\n[ \"$1\" = -M ] && shift 2\nexec '{}' \"$@\"\n", bin.join("ssh").display());
        let says = format!("#!/bin/sh\nexec '{}' -G \"$@\" >\"$SAID\" 2>\"$SAID.err\"\n", ssh.display());
        for (name, script) in [("ssh", says), ("autossh", auto)] {
            write_program(&bin.join(name), &script)?;
        }
        for file in ["key", "key2", "my key", "cert.pub", "known_hosts"] {
            fs::write(dir.join(file), "")?;
        }
        let config = "Host gpu\n  HostName gpu7.example.org\n  User me\n  Port 2022\n  LocalForward 8888 localhost:8888\n";
        fs::write(dir.join("ssh_config"), config)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)))?;
        Ok(Lab { dir: dir.to_owned(), path })
    }

    /// What ssh would do if a shell were given `line`.
    pub(crate) fn typed(&self, line: &str) -> Result<Meaning> {
        let said = self.dir.join("said");
        let _ = fs::remove_file(&said);
        let output = Command::new("sh")
            .args(["-c", &format!("{line}\nwait")])
            .env("PATH", &self.path)
            .env("SAID", &said)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .output()?;
        let why = || format!("{line:?} {output:?} {:?}", fs::read_to_string(said.with_extension("err")));
        let text = fs::read_to_string(&said).with_context(why)?;
        ensure!(!text.is_empty(), "ssh does not take it: {}", why());
        Ok(self.meaning(&text))
    }

    /// What ssh would do as a tunnel file says; `text` tells which of the tunnel's times stand there.
    pub(crate) fn written(&self, spec: &TunnelSpec, text: &str) -> Result<Meaning> {
        let words = words(spec, text);
        let output = Command::new(system("ssh")?)
            .arg("-G")
            .args(&words)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .output()?;
        let Output { status, stdout, stderr } = output;
        ensure!(status.success(), "ssh {words:?}: {}", String::from_utf8_lossy(&stderr));
        Ok(self.meaning(&String::from_utf8(stdout)?))
    }

    /// What is printed, with one word for what means the same.
    fn meaning(&self, text: &str) -> Meaning {
        let is_for_all = text.lines().any(|line| line == "gatewayports yes");
        let mut meaning = Meaning::new();
        for line in text.lines() {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            let value = match keyword {
                // What the file calls strict asks a person, as ssh does with both.
                "stricthostkeychecking" if matches!(value, "true" | "yes") => "ask".to_owned(),
                "stricthostkeychecking" if matches!(value, "false" | "no" | "off") => "accept-new".to_owned(),
                "identityfile" if !value.starts_with(['~', '/']) => {
                    self.dir.join(value).display().to_string()
                }
                "localforward" | "dynamicforward" => listener(value, is_for_all),
                "remoteforward" => listener(value, false),
                _ => value.to_owned(),
            };
            meaning.entry(keyword.to_owned()).or_default().insert(value);
        }
        meaning
    }
}

/// The words of ssh for what a tunnel file means to the daemon.
fn words(spec: &TunnelSpec, text: &str) -> Vec<String> {
    let route = &spec.route;
    let mut words = Vec::new();
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    match &route.ssh_config {
        SshConfig::Usual => {}
        SshConfig::Nothing => add("-F", "none".into()),
        SshConfig::File(path) => add("-F", path.display().to_string()),
    }
    route.user.iter().for_each(|user| add("-l", user.clone()));
    route.port.iter().for_each(|port| add("-p", port.to_string()));
    route.identity_files.iter().flatten().for_each(|file| add("-i", file.display().to_string()));
    route.jump.iter().for_each(|hosts| match hosts.as_slice() {
        [] => add("-o", "ProxyJump=none".into()),
        hosts => add("-J", hosts.join(",")),
    });
    if let Some(files) = &route.known_hosts {
        let files: Vec<String> = files.iter().map(|file| format!("\"{}\"", file.display())).collect();
        add("-o", format!("UserKnownHostsFile={}", files.join(" ")));
    }
    route.host_key.iter().for_each(|policy| match policy {
        HostKeyPolicy::Strict => add("-o", "StrictHostKeyChecking=ask".into()),
        HostKeyPolicy::AcceptNew => add("-o", "StrictHostKeyChecking=accept-new".into()),
    });
    let times = [
        ("keepalive", "ServerAliveInterval", spec.policy.keepalive),
        ("connect_timeout", "ConnectTimeout", spec.policy.connect_timeout),
    ];
    for (key, keyword, time) in times {
        if text.contains(&format!("\n{key} = ")) {
            add("-o", format!("{keyword}={}", time.as_secs()));
        }
    }
    route.options.iter().for_each(|option| add("-o", option.clone()));
    for ForwardSpec { listen, target, owner_only: _ } in &spec.forwards {
        match target {
            Target::Socks => add("-D", listen.to_string()),
            Target::Tcp(..) | Target::Socket(_) => add("-L", format!("{listen}:{target}")),
            // Of these ssh knows nothing.
            Target::Notebook(_) | Target::Beyond { .. } => {}
        }
    }
    for RemoteSpec { listen, target } in &spec.remotes {
        match target {
            Target::Socks => add("-R", listen.to_string()),
            Target::Tcp(..) | Target::Socket(_) => add("-R", format!("{listen}:{target}")),
            Target::Notebook(_) | Target::Beyond { .. } => {}
        }
    }
    words.extend(["--".to_owned(), route.host.clone()]);
    words
}

/// Without an address it is this machine, and everybody with GatewayPorts; an empty one is everybody.
fn listener(value: &str, is_for_all: bool) -> String {
    if let Some(rest) = value.strip_prefix("[]:") {
        return format!("[*]:{rest}");
    }
    let bare = value.strip_prefix("[localhost]:").map(|rest| (false, rest));
    let (may_be_all, rest) = bare.unwrap_or((true, value));
    match rest.starts_with(|c: char| c.is_ascii_digit()) {
        true if is_for_all && may_be_all => format!("[*]:{rest}"),
        true | false => rest.to_owned(),
    }
}
