//! Whom `nbctl` means by the name of a notebook.

use nbtunnel_core::{ForwardSpec, ListenAt, Name, Target, Tunnel, TunnelSpec};
use nbtunnel_proto::{Fault, FaultCode};

use super::Driver;
use super::notebooks::Key;
use crate::notebook::is_loopback;

impl Driver {
    /// The tunnel that `name` means to who only looks: a notebook's name stands for the tunnel that it is in.
    pub(super) fn meant(&self, name: &str) -> Result<Name, Fault> {
        self.one(name).or_else(|fault| match self.notebook_named(name) {
            Ok((tunnel, _)) => Ok(tunnel),
            Err(several) if several.code == FaultCode::Usage => Err(several),
            Err(_) => Err(fault),
        })
    }

    /// The notebook that `name` means: `TUNNEL/NAME`, its own name, or that of a tunnel with one notebook.
    pub(super) fn notebook_named(&self, name: &str) -> Result<Key, Fault> {
        let all = || {
            self.present().flat_map(|tunnel| {
                let specs = self.fleet.tunnels().get(tunnel).map(|tunnel| tunnel.spec().notebooks.as_slice());
                specs.unwrap_or_default().iter().map(move |spec| (tunnel.clone(), spec.name.clone()))
            })
        };
        let fits = |wanted: &dyn Fn(&Key) -> bool| all().filter(|key| wanted(key)).collect::<Vec<_>>();
        let found = match name.split_once('/') {
            Some((tunnel, notebook)) => fits(&|key| key.0.as_str() == tunnel && key.1.as_str() == notebook),
            None => match fits(&|key| key.1.as_str() == name) {
                found if found.is_empty() => fits(&|key| key.0.as_str() == name),
                found => found,
            },
        };
        let shown = |keys: &[Key]| {
            let names = keys.iter().take(12).map(|(tunnel, notebook)| format!("{tunnel}/{notebook}"));
            names.collect::<Vec<_>>().join(", ")
        };
        match found.as_slice() {
            [key] => Ok(key.clone()),
            [] => Err(self.no_notebook(name, &shown(&all().collect::<Vec<_>>()))),
            several => Err(Fault::new(
                FaultCode::Usage,
                format!("{name:?} may be any of {} notebooks", several.len()),
                format!("say which: {}", shown(several)),
            )),
        }
    }

    fn no_notebook(&self, name: &str, there_are: &str) -> Fault {
        let tunnel = self.present().find(|tunnel| tunnel.as_str() == name);
        let spec = tunnel.and_then(|tunnel| self.fleet.tunnels().get(tunnel)).map(Tunnel::spec);
        let hint = match (spec.map(|spec| section(name, spec)), there_are) {
            (Some((section, instead)), _) => {
                format!("the tunnel {name} has none: with `nbctl edit {name}`, write {section}{instead}")
            }
            (None, "") => "there are none yet: add one with `nbctl add 'ssh user@host'`".into(),
            (None, there_are) => format!("there are: {there_are}"),
        };
        Fault::new(FaultCode::NoSuchTunnel, format!("there is no notebook {name:?}"), hint)
    }
}

/// The section that a tunnel without notebooks lacks: for the one forward that it has, or whatever runs over there. And
/// what it stands instead of.
fn section(name: &str, spec: &TunnelSpec) -> (String, &'static str) {
    if let [ForwardSpec { listen: ListenAt::Loopback(local), target: Target::Tcp(host, port), .. }] =
        spec.forwards.as_slice()
    {
        let host = if is_loopback(host) { String::new() } else { format!(", host = \"{host}\"") };
        let section = format!(
            "[notebook.{name}] and below it, a line each, remote_port = {port}{host}, local_port = {local}"
        );
        return (section, " in the place of its forward");
    }
    (format!("[notebook.{name}] and below it find = \"auto\" at its end"), "")
}
