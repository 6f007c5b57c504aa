//! Linux: the environment that systemd gives to the user's services, as it is now. A daemon that was started before
//! the desktop set `SSH_AUTH_SOCK` there would never learn of it otherwise.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;
use zbus::proxy::{Builder, CacheProperties};
use zbus::{Connection, Proxy};

/// A bus that does not answer within this time is none.
const BUS_DEADLINE: Duration = Duration::from_secs(2);

/// The environment of the user's service manager.
#[derive(Default)]
pub(super) struct Environment {
    /// Kept between questions, which come once a second while a tunnel waits for an agent.
    bus: Mutex<Option<Connection>>,
}

impl Environment {
    /// What a variable says there, if there is a service manager and it has the variable.
    pub(super) async fn get(&self, name: &str) -> Option<PathBuf> {
        let variables = match timeout(BUS_DEADLINE, self.variables()).await {
            Ok(Ok(variables)) => variables,
            Ok(Err(why)) => {
                tracing::trace!("systemd does not tell its environment: {why}");
                return None;
            }
            Err(_) => return None,
        };
        let value = variables.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        (!value.is_empty()).then(|| PathBuf::from(value))
    }

    async fn variables(&self) -> zbus::Result<Vec<String>> {
        let mut bus = self.bus.lock().await;
        // Taken, so that one that fails is not asked again.
        let connection = match bus.take() {
            Some(connection) => connection,
            None => Connection::session().await?,
        };
        let manager: Proxy<'_> = Builder::new(&connection)
            .destination("org.freedesktop.systemd1")?
            .path("/org/freedesktop/systemd1")?
            .interface("org.freedesktop.systemd1.Manager")?
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let variables = manager.get_property("Environment").await?;
        *bus = Some(connection);
        Ok(variables)
    }
}
