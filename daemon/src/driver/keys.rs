//! `nbctl key`: what a tunnel offers to its server, and what the server makes of it. As with the doctor, neither the
//! loop nor the tunnel takes part in that.

use std::sync::Arc;

use nbtunnel_core::Failure;
use nbtunnel_proto::{Fault, FaultCode, Reply};

use super::Driver;
use super::doctor::tell;
use crate::control::convert;
use crate::event::Asked;
use crate::ssh::Patient;

impl Driver {
    /// Begins to say what the tunnel `name` offers; the rest comes from a task.
    pub(super) fn keys(&self, asked: &Asked, name: &str) -> Result<(), Fault> {
        let patient = self.patient(name)?;
        let (links, answer) = (Arc::clone(self.effects.links()), asked.answer.clone());
        tokio::spawn(async move {
            let reply = match links.keys(patient).await {
                Ok(trial) => Reply::Keys(Box::new(convert::keys(trial))),
                Err(failure) => Reply::Fault(fault(failure)),
            };
            let _ = answer.send(reply).await;
        });
        Ok(())
    }

    /// Begins to log in by key; the rest comes from a task that ends with its client.
    pub(super) fn test_key(&self, asked: &Asked, name: &str, file: Option<String>) -> Result<(), Fault> {
        let patient = self.patient(name)?;
        let (links, answer) = (Arc::clone(self.effects.links()), asked.answer.clone());
        let name = name.to_owned();
        tokio::spawn(async move {
            let tried = async {
                let trial =
                    tell(&name, &answer, |on| links.try_keys(patient, file.map(Into::into), on)).await;
                let _ = answer.send(Reply::Keys(Box::new(convert::keys(trial)))).await;
            };
            tokio::select! {
                () = tried => {}
                () = answer.closed() => {}
            }
        });
        Ok(())
    }

    fn patient(&self, name: &str) -> Result<Patient, Fault> {
        let known = self.one(name)?;
        self.case(&known).map(|case| case.patient).ok_or_else(|| self.no_such_tunnel(name))
    }
}

fn fault(failure: Failure) -> Fault {
    Fault::new(FaultCode::Failed, failure.message, failure.hint)
}
