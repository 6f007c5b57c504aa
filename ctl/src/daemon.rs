//! The running daemon as the commands see it: one question at a time, each under a deadline, and where the
//! config directory is.

use std::path::PathBuf;
use std::time::Duration;

use nbtunnel_proto::{Client, Endpoint, FaultCode, Reply, Request, Status, places};

use crate::args::Globals;
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;

/// How long the daemon may take to answer what it can answer at once.
const ANSWER: Duration = Duration::from_secs(30);

/// How long the next daemon may take to answer in the place of one that went away, and how often it is asked.
const NEXT: Duration = nbtunnel_proto::client::HANDSHAKE;
const NEXT_EVERY: Duration = Duration::from_millis(100);

/// The daemon, whether it runs or not.
#[derive(Debug)]
pub(crate) struct Daemon {
    globals: Globals,
}

impl Daemon {
    /// The daemon that the command line means.
    pub(crate) fn new(globals: Globals) -> Self {
        Daemon { globals }
    }

    /// The socket that the command line names.
    pub(crate) fn socket(&self) -> Option<&PathBuf> {
        self.globals.socket.as_ref()
    }

    /// The directory that the daemon keeps for this user alone beside its socket.
    ///
    /// # Errors
    /// What is wrong with the name of the socket.
    pub(crate) fn runtime_dir(&self) -> Result<PathBuf, CommandError> {
        Ok(Endpoint::resolve(self.globals.socket.clone())?.runtime_dir()?)
    }

    /// A new connection.
    ///
    /// # Errors
    /// [`Exit::NoDaemon`], or why it cannot be talked to.
    pub(crate) async fn connect(&self) -> Result<Client, CommandError> {
        let endpoint = Endpoint::resolve(self.globals.socket.clone())?;
        let mut client = Client::connect(&endpoint).await?;
        // A daemon that was started before the agent, or elsewhere, would not find it otherwise.
        if let Ok(agent) = std::env::var("SSH_AUTH_SOCK")
            && !agent.is_empty()
        {
            client.send(&Request::Environment { agent }).await?;
        }
        Ok(client)
    }

    /// Asks one question on a connection of its own.
    ///
    /// # Errors
    /// What the daemon said, or that it said nothing in time.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Reply, CommandError> {
        ask(&mut self.connect().await?, request).await
    }

    /// The status of the tunnels that fit `names`. Where the daemon goes away meanwhile, the one that a service
    /// manager starts in its place is asked: to look twice changes nothing.
    ///
    /// # Errors
    /// As [`Daemon::ask`].
    pub(crate) async fn status(&self, names: Vec<String>) -> Result<Status, CommandError> {
        let gone = match self.look(&names).await? {
            Ok(status) => return Ok(status),
            Err(gone) => gone,
        };
        let look_again = async {
            loop {
                tokio::time::sleep(NEXT_EVERY).await;
                match self.look(&names).await {
                    Ok(Ok(status)) => return Ok(status),
                    Ok(Err(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        };
        match tokio::time::timeout(NEXT, look_again).await {
            Ok(Err(error)) if error.exit == Exit::NoDaemon => Err(gone),
            Ok(answer) => answer,
            Err(_) => Err(gone),
        }
    }

    /// One look at the status; inside, that there was a daemon which went away before it answered.
    async fn look(&self, names: &[String]) -> Result<Result<Status, CommandError>, CommandError> {
        let went_away =
            |error: &CommandError, by: &[FaultCode]| by.iter().any(|code| code.word() == error.code);
        let mut client = match self.connect().await {
            // It was accepted, and hung up on before it was greeted.
            Err(error) if went_away(&error, &[FaultCode::Protocol]) => return Ok(Err(error)),
            connected => connected?,
        };
        match status_on(&mut client, names.to_vec()).await {
            Err(error) if went_away(&error, &[FaultCode::Stopping, FaultCode::NoDaemon]) => Ok(Err(error)),
            answer => answer.map(Ok),
        }
    }

    /// The config directory: `--config-dir`, the environment, that of the running daemon, or the usual one.
    ///
    /// # Errors
    /// When there is no home directory to look in.
    pub(crate) async fn config_dir(&self) -> Result<PathBuf, CommandError> {
        let named = std::env::var_os("NBTUNNEL_CONFIG_DIR").is_some_and(|dir| !dir.is_empty());
        if self.globals.config_dir.is_none()
            && !named
            && let Ok(status) = self.status(vec![]).await
        {
            return Ok(PathBuf::from(status.daemon.config_dir));
        }
        self.named_config_dir()
    }

    /// The config directory without asking the daemon.
    ///
    /// # Errors
    /// When there is no home directory to look in.
    pub(crate) fn named_config_dir(&self) -> Result<PathBuf, CommandError> {
        Ok(places::config_dir(self.globals.config_dir.clone())?)
    }

    /// Lets a running daemon read its directory now, so that what was just written there takes effect before
    /// we return. Says whether a daemon runs.
    ///
    /// # Errors
    /// When a daemon runs and cannot be talked to.
    pub(crate) async fn reload(
        &self,
        config_dir: &std::path::Path,
        printer: &Printer,
    ) -> Result<bool, CommandError> {
        let mut client = match self.connect().await {
            Ok(client) => client,
            Err(error) if error.exit == Exit::NoDaemon => return Ok(false),
            Err(error) => return Err(error),
        };
        ask(&mut client, &Request::Reload).await?;
        let watched = PathBuf::from(status_on(&mut client, vec![]).await?.daemon.config_dir);
        let same = match (watched.canonicalize(), config_dir.canonicalize()) {
            (Ok(watched), Ok(ours)) => watched == ours,
            _ => watched == config_dir,
        };
        if !same {
            printer.note(&format!(
                "the running daemon watches {}, not {}",
                watched.display(),
                config_dir.display()
            ));
        }
        Ok(same)
    }
}

/// Asks one question on `client`, under the usual deadline.
///
/// # Errors
/// What the daemon said, or that it said nothing in time.
pub(crate) async fn ask(client: &mut Client, request: &Request) -> Result<Reply, CommandError> {
    match tokio::time::timeout(ANSWER, client.ask(request)).await {
        Ok(reply) => Ok(reply?),
        Err(_) => Err(CommandError::new(
            Exit::TimedOut,
            format!("nbtunneld did not answer within {} s", ANSWER.as_secs()),
            "restart nbtunneld; its log says what it was doing",
        )),
    }
}

/// The status over an open connection.
///
/// # Errors
/// As [`ask`].
pub(crate) async fn status_on(client: &mut Client, names: Vec<String>) -> Result<Status, CommandError> {
    match ask(client, &Request::Status { names }).await? {
        Reply::Status(status) => Ok(*status),
        other => Err(unexpected(&other)),
    }
}

/// The daemon answered another question than the one that was asked.
pub(crate) fn unexpected(reply: &Reply) -> CommandError {
    let what = match reply {
        Reply::Status(_) => "a status",
        Reply::Ordered(_) => "outcomes",
        Reply::Reloaded { .. } => "a reload",
        Reply::Log(_) => "a log line",
        Reply::Event(_) => "an event",
        Reply::Done => "an end",
        Reply::Proxied { .. } => "a way",
        Reply::SshHosts { .. } => "hosts",
        Reply::HostKey(_) => "a host key",
        Reply::Trusted { .. } => "a trusted key",
        Reply::Fault(_) => "a fault",
        Reply::Ask(_) => "a question",
        Reply::Finding(_) => "a finding",
        Reply::Progress(_) => "progress",
        Reply::Notebook(_) => "a notebook",
        Reply::Text(_) => "text",
        Reply::Keys(_) => "keys",
    };
    CommandError::new(
        Exit::Failed,
        format!("nbtunneld answered with {what}, which is no answer to this request"),
        "restart nbtunneld, and use the nbctl that was installed with it",
    )
    .with_code(FaultCode::Protocol.word())
}

/// The daemon ended a stream that has no end.
pub(crate) fn hung_up() -> CommandError {
    CommandError::new(Exit::NoDaemon, "nbtunneld went away", nbtunnel_proto::client::START)
}
