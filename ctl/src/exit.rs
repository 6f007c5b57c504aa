//! How nbctl ends: the exit codes that scripts rely on, and the one error type that carries them.

use std::process::ExitCode;

use nbctl::ssh_line::Refusal;
use nbtunnel_proto::{Fault, FaultCode, Problem};
use serde_json::{Map, Value, json};

/// The exit code. The numbers are a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// It was tried and failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No tunnel of that name.
    NoSuchTunnel = 3,
    /// A human has to decide something: a host key, credentials, an answer.
    NeedsYou = 4,
    /// No daemon is running.
    NoDaemon = 5,
    /// It took too long.
    TimedOut = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl From<FaultCode> for Exit {
    fn from(code: FaultCode) -> Exit {
        match code {
            FaultCode::Usage => Exit::Usage,
            FaultCode::NoSuchTunnel => Exit::NoSuchTunnel,
            FaultCode::NeedsYou => Exit::NeedsYou,
            FaultCode::NoDaemon | FaultCode::Stopping => Exit::NoDaemon,
            FaultCode::TimedOut => Exit::TimedOut,
            FaultCode::Failed
            | FaultCode::Version
            | FaultCode::Busy
            | FaultCode::TooSlow
            | FaultCode::Protocol => Exit::Failed,
        }
    }
}

/// The exit code for a tunnel that cannot get where it was sent.
pub(crate) fn exit_for(problem: &Problem) -> Exit {
    match problem.code.as_str() {
        "host_key_unknown" | "host_key_changed" | "auth_refused" | "no_credentials" | "answer_needed"
        | "config" => Exit::NeedsYou,
        _ => Exit::Failed,
    }
}

/// Why a command did not do what it was asked to.
#[derive(Clone, Debug)]
pub(crate) struct CommandError {
    /// What nbctl exits with.
    pub exit: Exit,
    /// A stable snake_case word.
    pub code: String,
    /// What happened, in one sentence. Empty: there is nobody left to tell, and nothing is printed.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// What `--json` prints beside the error.
    pub beside: Map<String, Value>,
}

impl CommandError {
    /// An error with its two sentences; its word follows from the exit code.
    pub(crate) fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let code = match exit {
            Exit::Done => "done",
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::NoSuchTunnel => "no_such_tunnel",
            Exit::NeedsYou => "needs_you",
            Exit::NoDaemon => "no_daemon",
            Exit::TimedOut => "timed_out",
        };
        CommandError {
            exit,
            code: code.to_owned(),
            message: message.into(),
            hint: hint.into(),
            beside: Map::new(),
        }
    }

    /// What could not be done with a file.
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "check who owns the file and its directory",
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                "make room on that disk; nothing was changed"
            }
            std::io::ErrorKind::ReadOnlyFilesystem => "make that disk writable, or name another --config-dir",
            _ => "check the path, and --config-dir if you gave one",
        };
        CommandError::new(Exit::Failed, format!("{} cannot be {what}: {error}", path.display()), hint)
    }

    /// Whoever read our output is gone, as in `nbctl logs | head`: a clean end.
    pub(crate) fn nobody_reads() -> Self {
        CommandError::new(Exit::Done, "", "")
    }

    /// The same error under a more exact word.
    #[must_use]
    pub(crate) fn with_code(mut self, code: &str) -> Self {
        code.clone_into(&mut self.code);
        self
    }

    /// The same error with something beside it under `--json`.
    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.beside.insert(key.to_owned(), value);
        self
    }

    /// What `--json` prints.
    pub(crate) fn to_json(&self) -> Value {
        let mut all = self.beside.clone();
        all.insert(
            "error".to_owned(),
            json!({"code": self.code, "message": self.message, "hint": self.hint}),
        );
        Value::Object(all)
    }
}

impl From<Fault> for CommandError {
    fn from(fault: Fault) -> Self {
        CommandError::new(fault.code.into(), fault.message, fault.hint).with_code(fault.code.word())
    }
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> Self {
        CommandError::new(Exit::Usage, refusal.message, refusal.hint)
    }
}
