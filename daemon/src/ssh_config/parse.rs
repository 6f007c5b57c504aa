//! What `ssh -G` prints, understood. Pure, and total for any text.

use std::collections::BTreeMap;
use std::time::Duration;

use super::host_config::{HostConfig, Way};
use super::values::{self, Expected};
use super::{JumpHost, forwards, keywords};

/// The order in which ssh tries them (PreferredAuthentications in ssh_config(5)).
const METHODS: [&str; 5] = ["gssapi-with-mic", "hostbased", "publickey", "keyboard-interactive", "password"];

/// What Debian's ssh says of ServerAliveInterval under BatchMode by itself. It looks as if somebody had said so, and
/// makes a dead server go unseen for minutes.
const DEBIAN_BATCH_INTERVAL: Duration = Duration::from_secs(300);

/// Reads the output of `ssh -G`; `baseline` is that of `ssh -F none -G`, and what is equal there counts as not set.
/// Tokens, and `~`, stand as ssh leaves them.
///
/// # Errors
/// One sentence that names the keyword that makes no sense, or that we refuse.
pub fn parse(stdout: &str, baseline: &str) -> Result<HostConfig, String> {
    let lines = Lines { said: Said::of(stdout), usual: Said::of(baseline) };
    let mut config = resolved(&lines)?;
    refuse(&lines)?;
    way(&mut config, &lines)?;
    authentication(&mut config, &lines)?;
    host_key(&mut config, &lines)?;
    connection(&mut config, &lines)?;
    let gateway = lines.set("gatewayports", values::switch)?.unwrap_or(false);
    let all = |keyword| lines.said.all(keyword);
    let found = forwards::read(all("localforward"), all("remoteforward"), all("dynamicforward"), gateway);
    config.local_forwards = found.local;
    config.remote_forwards = found.remote;
    config.dynamic_forwards = found.dynamic;
    config.gateway_ports = gateway;
    config.exit_on_forward_failure = lines.set("exitonforwardfailure", values::switch)?;
    config.unhonoured = lines.unhonoured();
    Ok(config)
}

/// Keywords in lower case with their values in order.
pub(super) struct Said<'a>(BTreeMap<String, Vec<&'a str>>);

impl<'a> Said<'a> {
    pub(super) fn of(text: &'a str) -> Said<'a> {
        let mut said: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for line in text.lines() {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            if !keyword.is_empty() && keyword.bytes().all(|b| b.is_ascii_alphanumeric()) {
                said.entry(keyword.to_ascii_lowercase()).or_default().push(value);
            }
        }
        Said(said)
    }

    fn all(&self, keyword: &str) -> &[&'a str] {
        self.0.get(keyword).map_or(&[], Vec::as_slice)
    }

    /// The value of a keyword that has one.
    pub(super) fn one(&self, keyword: &str) -> Option<&'a str> {
        self.all(keyword).first().copied()
    }
}

struct Lines<'a> {
    said: Said<'a>,
    usual: Said<'a>,
}

impl<'a> Lines<'a> {
    /// The values of a keyword, if they are not the usual ones.
    fn all(&self, keyword: &str) -> Option<&[&'a str]> {
        let said = self.said.all(keyword);
        (!said.is_empty() && said != self.usual.all(keyword)).then_some(said)
    }

    fn one(&self, keyword: &str) -> Option<&'a str> {
        self.all(keyword)?.first().copied()
    }

    fn set<T>(&self, keyword: &str, read: impl Fn(&str) -> Result<T, Expected>) -> Result<Option<T>, String> {
        self.one(keyword).map(|value| understood(keyword, value, read)).transpose()
    }

    fn words(&self, keyword: &str) -> Option<Vec<String>> {
        self.one(keyword).map(values::words)
    }

    /// Whether it is said to be off.
    fn off(&self, keyword: &str) -> bool {
        self.one(keyword).is_some_and(|value| matches!(value, "no" | "false"))
    }

    fn unhonoured(&self) -> Vec<String> {
        self.said
            .0
            .iter()
            .filter(|(keyword, _)| self.all(keyword).is_some())
            .filter_map(|(keyword, values)| {
                // What is said of us goes through a terminal.
                let shown: String = values.join(" ").chars().filter(|c| !c.is_control()).take(200).collect();
                keywords::sentence(keyword, &shown)
            })
            .collect()
    }
}

fn understood<T>(
    keyword: &str,
    value: &str,
    read: impl Fn(&str) -> Result<T, Expected>,
) -> Result<T, String> {
    let name = keywords::find(keyword).map_or(keyword, |(name, _)| name);
    read(value).map_err(|expected| format!("ssh says {name} {value:?}, where {expected} was expected"))
}

fn resolved(lines: &Lines<'_>) -> Result<HostConfig, String> {
    let needed = |keyword: &str| {
        let value = lines.said.one(keyword).filter(|value| !value.is_empty());
        value.ok_or_else(|| format!("ssh does not say which {keyword} it would take"))
    };
    let port: u16 = understood("port", needed("port")?, values::number)?;
    if port == 0 {
        return Err("ssh says that the port is 0".into());
    }
    Ok(HostConfig {
        hostname: needed("hostname")?.to_owned(),
        user: needed("user")?.to_owned(),
        port,
        ..HostConfig::default()
    })
}

/// What must not be ignored, and cannot be done.
fn refuse(lines: &Lines<'_>) -> Result<(), String> {
    match lines.one("verifyhostkeydns") {
        None | Some("no" | "false") => Ok(()),
        Some(value) => {
            let value = if value == "true" { "yes" } else { value };
            Err(format!("VerifyHostKeyDNS {value} is not possible: host keys are not looked up in DNS"))
        }
    }
}

fn way(config: &mut HostConfig, lines: &Lines<'_>) -> Result<(), String> {
    let some = |keyword| lines.one(keyword).filter(|value| !value.is_empty() && *value != "none");
    config.way = match (some("proxyjump"), some("proxycommand")) {
        (Some(hops), _) => Some(Way::Jump(JumpHost::list(hops)?)),
        (None, Some(command)) => Some(Way::Command(command.to_owned())),
        (None, None) => None,
    };
    config.address_family = lines.set("addressfamily", values::family)?.flatten();
    config.bind_address = some("bindaddress").map(str::to_owned);
    config.bind_interface = some("bindinterface").map(str::to_owned);
    Ok(())
}

fn authentication(config: &mut HostConfig, lines: &Lines<'_>) -> Result<(), String> {
    let paths = |values: &[&str]| values.iter().filter(|v| **v != "none").map(Into::into).collect();
    config.identity_files = lines.all("identityfile").map(paths);
    config.certificate_files = lines.all("certificatefile").map(paths).unwrap_or_default();
    config.identities_only = lines.set("identitiesonly", values::switch)?;
    config.identity_agent = lines.one("identityagent").map(values::agent);
    config.add_keys_to_agent = lines.set("addkeystoagent", values::add_keys)?.flatten();
    config.gssapi_authentication = lines.set("gssapiauthentication", values::switch)?;
    config.gssapi_delegate_credentials = lines.set("gssapidelegatecredentials", values::switch)?;
    config.pubkey_accepted_algorithms = lines.words("pubkeyacceptedalgorithms");
    config.batch_mode = lines.set("batchmode", values::switch)?;
    let on = |method: &str| match method {
        "publickey" => !lines.off("pubkeyauthentication"),
        "keyboard-interactive" => !lines.off("kbdinteractiveauthentication"),
        "password" => !lines.off("passwordauthentication"),
        _ => true,
    };
    let preferred = lines.words("preferredauthentications");
    config.preferred_authentications = match preferred {
        None if METHODS.iter().all(|method| on(method)) => None,
        preferred => {
            let all = preferred.unwrap_or_else(|| METHODS.map(str::to_owned).to_vec());
            Some(all.into_iter().filter(|method| on(method)).collect())
        }
    };
    Ok(())
}

fn host_key(config: &mut HostConfig, lines: &Lines<'_>) -> Result<(), String> {
    config.user_known_hosts = lines.one("userknownhostsfile").map(values::files);
    config.global_known_hosts = lines.one("globalknownhostsfile").map(values::files);
    config.host_key_alias = lines.one("hostkeyalias").map(str::to_owned);
    config.host_key_checking = lines.set("stricthostkeychecking", values::strict)?.flatten();
    config.check_host_ip = lines.set("checkhostip", values::switch)?;
    config.update_host_keys = lines.set("updatehostkeys", values::update)?;
    config.hash_known_hosts = lines.set("hashknownhosts", values::switch)?;
    config.host_key_algorithms = lines.words("hostkeyalgorithms");
    Ok(())
}

fn connection(config: &mut HostConfig, lines: &Lines<'_>) -> Result<(), String> {
    config.ciphers = lines.words("ciphers");
    config.kex_algorithms = lines.words("kexalgorithms");
    config.macs = lines.words("macs");
    config.connect_timeout = lines.set("connecttimeout", values::seconds)?.flatten();
    config.tcp_keep_alive = lines.set("tcpkeepalive", values::switch)?;
    config.compression = lines.set("compression", values::switch)?;
    config.server_alive_interval = lines.set("serveraliveinterval", values::seconds)?.flatten();
    if config.batch_mode == Some(true) && config.server_alive_interval == Some(DEBIAN_BATCH_INTERVAL) {
        config.server_alive_interval = None;
    }
    config.server_alive_count = lines.set("serveralivecountmax", values::number)?;
    let rekey = lines.set("rekeylimit", values::rekey)?.unwrap_or_default();
    (config.rekey_bytes, config.rekey_after) = (rekey.bytes, rekey.after);
    Ok(())
}
