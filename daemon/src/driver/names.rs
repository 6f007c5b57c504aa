//! Whom `nbctl` means by the name of a notebook.

use nbtunnel_core::Name;
use nbtunnel_proto::{Fault, FaultCode};

use super::Driver;
use super::notebooks::Key;

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
        let hint = match (self.present().find(|tunnel| tunnel.as_str() == name), there_are) {
            (Some(tunnel), _) => format!(
                "the tunnel {tunnel} has none: add a section to it with `nbctl edit {tunnel}`, as in [notebook.{tunnel}] \
                 and below it find = \"auto\""
            ),
            (None, "") => "there are none yet: add one with `nbctl add 'ssh user@host'`".into(),
            (None, there_are) => format!("there are: {there_are}"),
        };
        Fault::new(FaultCode::NoSuchTunnel, format!("there is no notebook {name:?}"), hint)
    }
}
