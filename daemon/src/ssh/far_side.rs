//! The far end of a session for what the daemon itself does there: streams to targets, and scripts. Nothing of it
//! outlives its caller, and what waits for a caller who does not read is bounded.

use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, Target};
use russh::{ChannelMsg, ChannelOpenFailure};
use tokio::time::{sleep, timeout};

use super::beyond::{Through, not_there};
use super::carry::{SshCarrier, Unreached, Wanted, denied, gone, late, nowhere};
use super::channel::{ChannelReader, ChannelWriter, Far};
use super::channel_stream::ChannelStream;
use super::programs::{Refused, Turn};
use super::script::{Heard, Script, TooMuch};
use crate::forward::far::FarWriter;
use crate::forward::far_side::{FarSide, FarStream, Going, Opening, Ran, Running, Unopened};

/// So much may wait for a caller who does not read: a stream of its own, for probes. Who carries more uses
/// [`crate::forward::Carrier::carry`], where it waits on disk.
const MOST_UNREAD: usize = 32 << 20;

/// The number of extended data that are a program's standard error (RFC 4254 §5.2).
const STDERR: u32 = 1;

/// What runs a script, whatever the login shell is.
const SHELL: &str = "exec sh -s";

/// A program that ended here may not have ended there: it is looked after these pauses, which double, whether another
/// may begin.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

const FIXED_PORT: &str = "set remote_port in the file, so that nothing needs to be run there";

impl FarSide for SshCarrier {
    fn open(self: Arc<Self>, target: Target) -> Opening {
        Box::pin(async move {
            let cannot_go = || match self.is_there_itself(&target) {
                true => Unopened::Denied(not_there(&target)),
                false => Unopened::LinkGone(gone(&self.hop, &target)),
            };
            let Some(Through { by, target: seen, one }) = self.through(&target) else {
                return Err(cannot_go());
            };
            match by.reach(&seen, nowhere()).await {
                Ok(far) => {
                    let stream = ChannelStream::new(far, one, MOST_UNREAD, &self.runtime, async {});
                    Ok(Box::new(stream) as FarStream)
                }
                Err(Unreached::Denied(why)) => Err(Unopened::Denied(denied(&by.hop, &seen, &why))),
                Err(Unreached::Late) => Err(Unopened::Denied(late(&by.hop, &seen))),
                Err(Unreached::LinkGone) => Err(cannot_go()),
            }
        })
    }

    fn beyond(self: Arc<Self>, machine: String) -> Going {
        Box::pin(async move {
            let Some(beyond) = &self.beyond else { return Err(cut(&self.hop)) };
            tokio::select! {
                there = beyond.machine(&machine) => there.map(|there| there as Arc<dyn FarSide>),
                () = self.given_up.cancelled() => Err(cut(&self.hop)),
            }
        })
    }

    fn run(self: Arc<Self>, script: String, patience: Duration) -> Running {
        Box::pin(async move {
            let hop = &self.hop;
            let Some(_one) = self.carried.one() else { return Err(cut(hop)) };
            let mut random = [0; 16];
            aws_lc_rs::rand::fill(&mut random).map_err(|_| no_chance())?;
            let script = Script::new(&script, random);
            // Dropped half-way, the channel closes by itself.
            match timeout(patience, self.run_script(&script)).await {
                Ok(ran) => ran,
                Err(_) if self.is_silent() => Err(cut(hop)),
                Err(_) => Err(Failure::new(
                    FailureKind::TimedOut,
                    format!("what was started on {hop} was not over after {} s", patience.as_secs()),
                    "the machine may be very busy, or its file system hang; it is tried again by itself",
                )),
            }
        })
    }
}

impl SshCarrier {
    async fn run_script(self: &Arc<Self>, script: &Script) -> Result<Ran, Failure> {
        let hop = &self.hop;
        let (_turn, Far { mut reader, mut writer }) = self.begin().await?;
        let mut heard = script.listen();
        let ended = {
            let talking = talk(&mut writer, script);
            let listening = listen(&mut reader, &mut heard);
            tokio::pin!(talking, listening);
            tokio::select! {
                ended = &mut listening => ended,
                () = &mut talking => listening.await,
            }
        };
        writer.close().await;
        match ended {
            Ended::Over => match heard.result() {
                Ok(ran) => {
                    self.programs.ran();
                    Ok(ran)
                }
                Err(said) => Err(self.no_shell(&said)),
            },
            Ended::NotAllowed => Err(self.no_shell("")),
            Ended::TooMuch => Err(Failure::new(
                FailureKind::Internal,
                format!("what was started on {hop} printed more than {} KiB", Ran::MOST >> 10),
                "see whether the shell's start files over there print without end",
            )),
            Ended::Cut => Err(cut(hop)),
        }
    }
}

impl SshCarrier {
    /// A channel for a program, once it is its turn.
    async fn begin(self: &Arc<Self>) -> Result<(Turn<'_>, Far), Failure> {
        let hop = &self.hop;
        let mut pause = FIRST_PAUSE;
        let mut turn = self.programs.turn().await;
        loop {
            let why = match self.get(Wanted::Program).await {
                Ok(far) => {
                    turn.let_in();
                    return Ok((turn, far));
                }
                Err(Unreached::Denied(why)) => why,
                Err(Unreached::Late | Unreached::LinkGone) => return Err(cut(hop)),
            };
            if why == ChannelOpenFailure::ResourceShortage {
                return Err(short(hop));
            }
            turn = match turn.refused() {
                Refused::Always => return Err(no_program(hop)),
                Refused::Full => self.programs.turn().await,
                Refused::Leftover(_) if pause > LAST_PAUSE => return Err(busy(hop)),
                Refused::Leftover(turn) => {
                    sleep(pause).await;
                    pause *= 2;
                    turn
                }
            };
        }
    }

    /// No shell read the script. Where one did before, that says nothing of what the server allows.
    fn no_shell(&self, said: &str) -> Failure {
        let said = if said.is_empty() { String::new() } else { format!("; it says {said:?}") };
        let hop = &self.hop;
        if self.programs.have_run() {
            let message = format!("{hop} could not run a shell this time{said}");
            let hint = "it is tried again by itself; the machine may be out of processes or memory";
            return Failure::new(FailureKind::Refused, message, hint);
        }
        Failure::new(FailureKind::NoShell, format!("{hop} lets no shell run there{said}"), FIXED_PORT)
    }
}

/// How listening to a script ended.
enum Ended {
    /// The script is over, or its channel.
    Over,
    /// The server runs no program.
    NotAllowed,
    TooMuch,
    /// The session is gone.
    Cut,
}

/// Has the script run. What fails shows in what is heard.
async fn talk(writer: &mut ChannelWriter, script: &Script) {
    if writer.exec(SHELL).await.is_ok() && writer.write(script.text.clone().into()).await.is_ok() {
        let _ = writer.eof().await;
    }
}

async fn listen(reader: &mut ChannelReader, heard: &mut Heard<'_>) -> Ended {
    while !heard.is_over() {
        match reader.message().await {
            Some(ChannelMsg::Data { data }) => {
                if heard.out(&data) == Err(TooMuch) {
                    return Ended::TooMuch;
                }
            }
            Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => heard.err(&data),
            Some(ChannelMsg::ExitStatus { exit_status }) => heard.status = Some(exit_status),
            Some(ChannelMsg::Failure) => return Ended::NotAllowed,
            Some(ChannelMsg::Close) => break,
            // The status comes after the end of the output (RFC 4254 §6.10), and then the close.
            Some(_) => {}
            None => return Ended::Cut,
        }
    }
    Ended::Over
}

pub(super) fn cut(hop: &str) -> Failure {
    Failure::new(
        FailureKind::Disconnected,
        format!("the session with {hop} ended while something ran there"),
        "it is tried again by itself",
    )
}

fn no_chance() -> Failure {
    Failure::new(
        FailureKind::Internal,
        "this system gives no random numbers",
        "restart the machine; if it stays so, please report it",
    )
}

fn short(hop: &str) -> Failure {
    Failure::new(
        FailureKind::Refused,
        format!("{hop} is out of resources and runs nothing more"),
        "it is tried again by itself; close what is not needed over there",
    )
}

/// The server runs programs, and not this one now.
fn busy(hop: &str) -> Failure {
    Failure::new(
        FailureKind::Refused,
        format!("{hop} runs nothing more over this session: what was begun there before is not over"),
        "it is tried again by itself; MaxSessions in its sshd_config says how much may run at a time",
    )
}

/// The server opens no session channel.
fn no_program(hop: &str) -> Failure {
    Failure::new(FailureKind::NoShell, format!("{hop} lets no program run there"), FIXED_PORT)
}

#[cfg(test)]
#[cfg(unix)]
#[path = "far_side_tests.rs"]
mod tests;
