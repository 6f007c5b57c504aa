//! Proves who we are by a Kerberos ticket (gssapi-with-mic, RFC 4462 §3).

use nbtunnel_core::{Failure, FailureKind};
use tokio::time::timeout;

use super::{ANSWER_DEADLINE, Login, Tried};
use crate::ssh::classify::overdue;
use crate::ssh::credentials::Offer;
use crate::ssh::gssapi::{Exchange, Failed, IS_HERE, KERBEROS};

/// What it is called among what was accepted and refused.
const LABEL: &str = "the Kerberos ticket";

impl Login<'_> {
    /// Takes part in the exchange, if there is a ticket.
    pub(super) async fn by_ticket(&mut self, offer: &Offer) -> Result<Tried, Failure> {
        if let Some(why) = offer.ticket.missing() {
            self.no_ticket = Some(why.to_owned());
        }
        let has_served = self.accepted.iter().any(|accepted| accepted == LABEL);
        if !offer.ticket.is_ready() || has_served {
            return Ok(Tried::Refused);
        }
        let to = &self.shared.to;
        let mut exchange = Exchange::new(&to.host, to.login.gssapi_delegate);
        let (user, mechanisms) = (to.user.clone(), vec![KERBEROS.to_vec()]);
        let asked = self.session.authenticate_gssapi_with_mic(user, mechanisms, &mut exchange);
        let told = timeout(ANSWER_DEADLINE, asked).await;
        match told.map_err(|_| overdue(&self.shared.hop, "the login"))? {
            Ok(result) => {
                let tried = self.take(result).await?;
                let heard = exchange.heard.map(|heard| format!(": {heard}")).unwrap_or_default();
                match tried {
                    Tried::In => {}
                    Tried::Partly => self.accepted.push(LABEL.to_owned()),
                    Tried::Refused => self.refused.push(format!("{LABEL}{heard}")),
                }
                Ok(tried)
            }
            Err(Failed::Session) => Err(self.last_words().await),
            Err(Failed::Library(why)) => {
                self.shared.reporter.note(&format!("the Kerberos ticket was not used: {why}"));
                self.refused.push(format!("{LABEL}, which was not used: {why}"));
                Ok(Tried::Refused)
            }
        }
    }

    /// The failure that says why there is no ticket, where one would be taken. Some systems want Kerberos of everybody:
    /// who runs a build without it hears of that only where there is no other way in.
    pub(super) fn ticket_missing(&self, by_hand: &[&str]) -> Option<Failure> {
        let why = self.no_ticket.as_ref()?;
        if !IS_HERE && (!by_hand.is_empty() || self.takes_keys()) {
            return None;
        }
        let refused = match self.refused.len() {
            0 => String::new(),
            1 => format!("; it refused {}", self.refused[0]),
            count => format!("; it refused {} and {} more", self.refused[0], count - 1),
        };
        let message = format!("{} takes Kerberos, and {why}{refused}", self.shared.hop);
        Some(if IS_HERE {
            let hint = format!("run kinit; the tunnel then connects by itself{}", self.besides(by_hand));
            Failure::new(FailureKind::NoCredentials, message, hint)
        } else {
            let hint = "ask the server's administrator for a login by key, or use a build of nbtunneld with the cargo feature gssapi";
            Failure::new(FailureKind::AuthRefused, message, hint)
        })
    }
}
