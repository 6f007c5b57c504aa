//! The passphrase of a key file: asked of the person who is there, and only for a key that the server takes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::agent::Constraint;
use secrecy::SecretString;
use tokio::time::timeout;

use super::hands::{Hands, Unsigned};
use crate::ask::Prompt;
use crate::ssh::credentials::{Locked, unlock};
use crate::ssh::hop::AddToAgent;

/// How often somebody may mistype.
const TRIES: u32 = 3;

/// How long an agent may take to take a key.
const ADD_DEADLINE: Duration = Duration::from_secs(60);

impl Hands<'_> {
    /// Whether somebody can say the passphrase of the key in `path`.
    pub(super) fn can_unlock(&self, path: &Path) -> bool {
        self.asker.is_some() || self.agents.passphrases.has(path)
    }

    /// What is said to be the passphrase of the key in `path`, for the `attempt`th time; counted from 1.
    async fn passphrase(&self, path: &Path, print: &str, attempt: u32) -> Option<SecretString> {
        let title = if attempt > 1 { "that was another passphrase" } else { "" };
        let prompt = Prompt { text: format!("passphrase of {}: ", path.display()), echo: false };
        let from = format!("{} {print}", path.display()).trim_end().to_owned();
        let mut answers = self.asker?.ask(from, title.to_owned(), String::new(), vec![prompt]).await?;
        answers.pop()
    }

    /// The key in `path`, opened by what was said of it earlier.
    pub(super) async fn open_as_before(&self, path: &Path) -> Option<Arc<PrivateKey>> {
        let said = self.agents.passphrases.of(path)?;
        let opened = open(path, said).await;
        if let Ok(None) = opened {
            // The file was given another passphrase.
            self.agents.passphrases.forget(path);
        }
        opened.ok().flatten()
    }

    /// The key in `path`, opened by what the person who is there said of it in this or another login.
    pub(super) async fn open_as_said(&self, path: &Path) -> Option<Arc<PrivateKey>> {
        let said = self.asker?.passphrase_of(path)?;
        open(path, said).await.ok().flatten()
    }

    /// Asks until the key in `path` opens. Says whether what was typed is kept, so that nobody is asked again.
    pub(super) async fn ask_passphrase(
        &self,
        path: &Path,
        print: &str,
    ) -> Result<(Arc<PrivateKey>, bool), Unsigned> {
        for attempt in 1..=TRIES {
            let Some(said) = self.passphrase(path, print, attempt).await else { break };
            if let Some(key) = open(path, said.clone()).await? {
                let remember = self.shared.to.login.remember;
                self.asker.inspect(|asker| asker.keep_passphrase(path, &said));
                return Ok((key, self.agents.passphrases.keep(path, &said, remember)));
            }
        }
        Err(Unsigned::Locked(path.to_owned()))
    }

    /// `AddKeysToAgent`: a key whose passphrase was typed need not be asked for again. Says whether it is kept now
    /// and can be used without asking.
    pub(super) async fn add_to_agent(&mut self, key: &PrivateKey) -> bool {
        let login = &self.shared.to.login;
        let (lifetime, confirm) = match login.add_to_agent {
            AddToAgent::No => return false,
            AddToAgent::Yes(lifetime) => (lifetime, None),
            AddToAgent::Confirm(lifetime) => (lifetime, Some(Constraint::Confirm)),
        };
        let lifetime = lifetime.map(|time| Constraint::KeyLifetime {
            seconds: u32::try_from(time.as_secs()).unwrap_or(u32::MAX),
        });
        let constraints: Vec<Constraint> = lifetime.into_iter().chain(confirm).collect();
        let agent = match self.agent {
            Some(agent) => Some(agent.clone()),
            None => self.agents.find(login.agent.as_ref()).await.held.map(|held| held.agent),
        };
        let Some(agent) = agent else { return false };
        let added = async { agent.connect().await?.add_identity(key, &constraints).await.ok() };
        let is_added = matches!(timeout(ADD_DEADLINE, added).await, Ok(Some(())));
        if !is_added {
            self.shared.reporter.note(&format!("{agent} did not take the key"));
        }
        is_added && !matches!(login.add_to_agent, AddToAgent::Confirm(_))
    }
}

/// Opens the key in `path`; `None`: not with this passphrase.
async fn open(path: &Path, said: SecretString) -> Result<Option<Arc<PrivateKey>>, Unsigned> {
    let file = path.to_owned();
    match tokio::task::spawn_blocking(move || unlock(&file, &said)).await {
        Ok(Ok(key)) => Ok(Some(Arc::new(key))),
        Ok(Err(Locked::WrongPassphrase)) => Ok(None),
        Ok(Err(Locked::Unusable(why))) => Err(Unsigned::Unusable(why)),
        Err(_) => Err(Unsigned::Unusable(format!("{} cannot be opened", path.display()))),
    }
}
