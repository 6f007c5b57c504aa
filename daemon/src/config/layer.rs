//! Layers of settings, laid over one another by the `config` crate, and the spec that comes out.
//!
//! Every value has been vetted where it was written down, so that what can still fail here are only
//! combinations.

use std::path::Path;
use std::time::Duration;

use config::{Config, ConfigError, Map, Source, Value};
use nbtunnel_core::{NotebookSpec, Policy, Route, SshConfig, TunnelSpec};
use serde::Deserialize;
use toml::Spanned;

use super::Context;
use super::followed;
use super::here;
use super::notebook;
use super::schema::{Keys, List};
use super::values::{self, Flaw};
use crate::ssh_config::HostConfig;

/// What one source says of a tunnel; what it does not name is for the layer below.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Layer {
    host: Option<String>,
    user: Option<String>,
    port: Option<i64>,
    forward: Option<Vec<String>>,
    remote: Option<Vec<String>>,
    dynamic: Option<Vec<String>>,
    start: Option<String>,
    tags: Option<Vec<String>>,
    identity_file: Option<Vec<String>>,
    known_hosts: Option<Vec<String>>,
    host_key: Option<String>,
    pub(super) keepalive: Option<String>,
    pub(super) connect_timeout: Option<String>,
    hold: Option<String>,
    idle: Option<String>,
    buffer: Option<String>,
    renew_after: Option<String>,
    pub(super) renew_bytes: Option<String>,
    drain: Option<String>,
    jump: Option<Vec<String>>,
    ssh_config: Option<String>,
    ssh_forwards: Option<bool>,
    options: Option<Vec<String>>,
    share: Option<bool>,
    remember: Option<String>,
    pub(super) owner_only: Option<bool>,
}

impl From<Keys> for Layer {
    fn from(keys: Keys) -> Self {
        let word = |value: Option<Spanned<String>>| value.map(Spanned::into_inner);
        let words = |value: Option<Spanned<List>>| {
            value.map(|list| list.into_inner().0.into_iter().map(|item| item.text).collect())
        };
        Layer {
            host: word(keys.host),
            user: word(keys.user),
            port: keys.port.map(Spanned::into_inner),
            forward: words(keys.forward),
            remote: words(keys.remote),
            dynamic: words(keys.dynamic),
            start: word(keys.start),
            tags: words(keys.tags),
            identity_file: words(keys.identity_file),
            known_hosts: words(keys.known_hosts),
            host_key: word(keys.host_key),
            keepalive: word(keys.keepalive),
            connect_timeout: word(keys.connect_timeout),
            hold: word(keys.hold),
            idle: word(keys.idle),
            buffer: word(keys.buffer),
            renew_after: word(keys.renew_after),
            renew_bytes: word(keys.renew_bytes),
            drain: word(keys.drain),
            jump: words(keys.jump),
            ssh_config: word(keys.ssh_config),
            ssh_forwards: keys.ssh_forwards.map(Spanned::into_inner),
            options: words(keys.options),
            share: keys.share.map(Spanned::into_inner),
            remember: word(keys.remember),
            owner_only: keys.owner_only.map(Spanned::into_inner),
        }
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let words = [
            ("host", &self.host),
            ("user", &self.user),
            ("start", &self.start),
            ("host_key", &self.host_key),
            ("keepalive", &self.keepalive),
            ("connect_timeout", &self.connect_timeout),
            ("hold", &self.hold),
            ("idle", &self.idle),
            ("buffer", &self.buffer),
            ("renew_after", &self.renew_after),
            ("renew_bytes", &self.renew_bytes),
            ("drain", &self.drain),
            ("ssh_config", &self.ssh_config),
            ("remember", &self.remember),
        ];
        let lists = [
            ("forward", &self.forward),
            ("remote", &self.remote),
            ("dynamic", &self.dynamic),
            ("tags", &self.tags),
            ("identity_file", &self.identity_file),
            ("known_hosts", &self.known_hosts),
            ("jump", &self.jump),
            ("options", &self.options),
        ];
        let switches =
            [("ssh_forwards", self.ssh_forwards), ("share", self.share), ("owner_only", self.owner_only)];
        let words = words.into_iter().filter_map(|(key, v)| Some((key.to_owned(), Value::from(v.clone()?))));
        let lists = lists.into_iter().filter_map(|(key, v)| Some((key.to_owned(), Value::from(v.clone()?))));
        let port = self.port.map(|port| ("port".to_owned(), Value::from(port)));
        let switches = switches.into_iter().filter_map(|(key, on)| Some((key.to_owned(), Value::from(on?))));
        Ok(words.chain(lists).chain(switches).chain(port).collect())
    }
}

/// What holds where nobody says anything. Times and bounds are those of [`Policy::default`].
fn built_in() -> Layer {
    Layer {
        forward: Some(Vec::new()),
        start: Some("login".into()),
        tags: Some(Vec::new()),
        ..Layer::default()
    }
}

/// A flaw of the whole: the keys that it is about, those first that are likelier to be changed.
pub(super) struct Misfit {
    pub(super) keys: &'static [&'static str],
    pub(super) flaw: Flaw,
}

impl From<Flaw> for Misfit {
    fn from(flaw: Flaw) -> Self {
        Misfit { keys: &[], flaw }
    }
}

/// Lays `layers`, and the `notebooks` of the tunnel's own file, over what ssh_config says, and that over the built-in defaults, the last one on top. Relative paths
/// begin at `base`. What could not be followed of ssh_config stands in the second half.
///
/// # Errors
/// What does not go together in the sum of them.
pub(super) fn lay(
    layers: &[&Layer],
    notebooks: &[NotebookSpec],
    host: Option<&HostConfig>,
    ctx: &Context,
    base: &Path,
) -> Result<(TunnelSpec, Vec<String>), Misfit> {
    let mut builder = Config::builder().add_source(built_in());
    if let Some(host) = host {
        builder = builder.add_source(followed::layer(host));
    }
    for layer in layers {
        builder = builder.add_source((*layer).clone());
    }
    let sum: Layer = builder.build().and_then(Config::try_deserialize).map_err(|error| {
        Flaw::new(
            format!("the settings do not go together: {error}"),
            "compare the file with the defaults above it",
        )
    })?;
    let takes_forwards = sum.ssh_forwards.unwrap_or(true);
    let unplaced = sum.forward.iter().chain(&sum.dynamic).flatten().find(|text| here::names_no_address(text));
    let unplaced = unplaced.cloned();
    let mut spec = spec(sum, notebooks, ctx, base)?;
    let mut notes = Vec::new();
    if let Some(host) = host {
        notes.clone_from(&host.unhonoured);
        notes.extend(unplaced.filter(|_| host.gateway_ports).map(|text| {
            format!(
                "GatewayPorts yes is not followed for {text:?} of the tunnel's own files: it listens on localhost; \
                 write \"*:{text}\" to let other machines in"
            )
        }));
        spec.policy.unanswered = host.server_alive_count;
        spec.policy.all_or_nothing = host.exit_on_forward_failure.unwrap_or(false);
        if takes_forwards {
            notes.extend(followed::add_forwards(&mut spec, host, &ctx.home));
        }
    }
    Ok((spec, notes))
}

fn spec(sum: Layer, notebooks: &[NotebookSpec], ctx: &Context, base: &Path) -> Result<TunnelSpec, Misfit> {
    let host = sum
        .host
        .ok_or_else(|| Flaw::new("no host is named", "add a line such as host = \"login.example.org\""))?;
    let paths = |texts: Vec<String>| -> Result<Vec<_>, Flaw> {
        texts.iter().map(|text| values::path(text, &ctx.home, base)).collect()
    };
    let (local, dynamic) = (sum.forward.unwrap_or_default(), sum.dynamic.unwrap_or_default());
    let local = local.iter().map(|text| read_forward(text, here::local(text, &ctx.home)));
    let dynamic = dynamic.iter().map(|text| read_forward(text, here::dynamic(text, &ctx.home)));
    let remotes = sum.remote.unwrap_or_default();
    let mut spec = TunnelSpec {
        route: Route {
            host: values::host(&host)?,
            port: sum.port.map(values::port).transpose()?,
            user: sum.user.as_deref().map(values::user).transpose()?,
            identity_files: sum.identity_file.map(paths).transpose()?,
            known_hosts: sum.known_hosts.map(paths).transpose()?,
            host_key: sum.host_key.as_deref().map(values::host_key).transpose()?,
            jump: sum.jump.map(jumps).transpose()?,
            ssh_config: match sum.ssh_config {
                Some(text) => values::ssh_config(&text, &ctx.home, base)?,
                None => SshConfig::Usual,
            },
            options: sum.options.unwrap_or_default(),
            share: sum.share.unwrap_or(false),
            remember: match sum.remember {
                Some(text) => values::duration(&text, &values::REMEMBER)?,
                None => Duration::ZERO,
            },
        },
        forwards: local.chain(dynamic).collect::<Result<_, Flaw>>()?,
        remotes: remotes
            .iter()
            .map(|text| read_forward(text, here::remote(text, &ctx.home)))
            .collect::<Result<_, Flaw>>()?,
        notebooks: notebooks.to_vec(),
        start: values::start(sum.start.as_deref().unwrap_or("login"))?,
        tags: sum.tags.unwrap_or_default(),
        policy: Policy {
            keepalive: or_default(
                sum.keepalive,
                |p| p.keepalive,
                |t| values::duration(t, &values::KEEPALIVE),
            )?,
            unanswered: Policy::default().unanswered,
            connect_timeout: or_default(
                sum.connect_timeout,
                |p| p.connect_timeout,
                |t| values::duration(t, &values::CONNECT_TIMEOUT),
            )?,
            hold: or_default(sum.hold, |p| p.hold, |t| values::duration(t, &values::HOLD))?,
            idle: or_default(sum.idle, |p| p.idle, |t| values::duration(t, &values::IDLE))?,
            buffer: or_default(sum.buffer, |p| p.buffer, |t| values::size(t, &values::BUFFER))?,
            renew_after: or_default(
                sum.renew_after,
                |p| p.renew_after,
                |t| values::duration(t, &values::RENEW_AFTER),
            )?,
            renew_bytes: or_default(
                sum.renew_bytes,
                |p| p.renew_bytes,
                |t| values::size(t, &values::RENEW_BYTES),
            )?,
            drain: or_default(sum.drain, |p| p.drain, |t| values::duration(t, &values::DRAIN))?,
            trusted: Policy::default().trusted,
            all_or_nothing: Policy::default().all_or_nothing,
            owner_only: sum.owner_only.unwrap_or(ctx.owner_only),
        },
    };
    if spec.start == nbtunnel_core::Start::Demand && spec.policy.hold.is_zero() {
        let flaw = Flaw::new(
            "hold = \"0s\" refuses every connection before start = \"demand\" could act on it",
            "give hold a time, as in hold = \"30s\", or use start = \"login\"",
        );
        return Err(Misfit { keys: &["hold", "start"], flaw });
    }
    for forward in notebooks.iter().filter(|notebook| notebook.local_port != 0).map(notebook::forward) {
        // Those of one file were compared with each other; these may come from the defaults.
        if let Some(other) = spec.forwards.iter().find(|other| other.listen.collides(&forward.listen)) {
            let message =
                format!("a notebook and another forward of this tunnel both listen on {}", other.listen);
            let flaw = Flaw::new(message, "give the notebook another local_port, or none");
            return Err(Misfit { keys: &["notebook"], flaw });
        }
        spec.forwards.push(forward);
    }
    let listens = !spec.forwards.is_empty() || !spec.notebooks.is_empty();
    if spec.start == nbtunnel_core::Start::Demand && !listens && !spec.remotes.is_empty() {
        let flaw = Flaw::new(
            "start = \"demand\" waits for somebody on this side, and only the far end listens",
            "use start = \"login\", or add a forward or a dynamic one",
        );
        return Err(Misfit { keys: &["start", "remote"], flaw });
    }
    Ok(spec)
}

fn jumps(texts: Vec<String>) -> Result<Vec<String>, Flaw> {
    let hosts: Vec<Vec<String>> = texts.iter().map(|text| values::jump(text)).collect::<Result<_, _>>()?;
    Ok(hosts.concat())
}

fn read_forward<T>(text: &str, read: Result<T, String>) -> Result<T, Flaw> {
    read.map_err(|why| Flaw::new(format!("{text:?}: {why}"), "mend that forward"))
}

fn or_default<T>(
    text: Option<String>,
    default: impl Fn(Policy) -> T,
    parse: impl Fn(&str) -> Result<T, Flaw>,
) -> Result<T, Flaw> {
    match text {
        Some(text) => parse(&text),
        None => Ok(default(Policy::default())),
    }
}
