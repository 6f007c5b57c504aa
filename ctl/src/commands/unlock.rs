//! `nbctl unlock`: starts a tunnel and answers what its server, or a key, asks. Whoever ends it parks the tunnel.

use nbtunnel_proto::{Order, Outcome, Question, Reply, Request, Secret};

use super::order::settle;
use crate::args::UnlockArgs;
use crate::daemon::{Daemon, hung_up, unexpected};
use crate::exit::{CommandError, Exit};
use crate::person::{self, NoAnswer, Person};
use crate::printer::Printer;
use crate::signals;

pub(crate) async fn run(args: UnlockArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let person = Person::find().ok_or_else(|| person::nobody(&args.name))?;
    let outcomes = unlock(&args.name, &person, daemon).await?;
    settle(Order::Start, &outcomes, printer)
}

/// Starts one tunnel with `person` at hand, and says what became of it.
///
/// # Errors
/// What the daemon said, or that the person would not answer.
pub(super) async fn unlock(
    name: &str,
    person: &Person,
    daemon: &Daemon,
) -> Result<Vec<Outcome>, CommandError> {
    let mut client = daemon.connect().await?;
    client.send(&Request::Unlock { name: name.to_owned() }).await?;
    let mut cancelled = std::pin::pin!(signals::end());
    let mut question: Option<Question> = None;
    loop {
        let answer = answer(person, question.as_ref());
        tokio::select! {
            // What the daemon says is newer than what is being asked: the tunnel may be up, or the server gone.
            biased;
            reply = client.next() => match reply? {
                Some(Reply::Ask(asked)) => question = Some(*asked),
                Some(Reply::Ordered(outcomes)) => return Ok(outcomes),
                Some(other) => return Err(unexpected(&other)),
                None => return Err(hung_up()),
            },
            () = &mut cancelled => return Err(given_up(name)),
            answers = answer => {
                let answers = answers.map_err(|NoAnswer| given_up(name))?;
                if let Some(answered) = question.take() {
                    client.send(&Request::Answers { number: answered.number, answers }).await?;
                }
            }
        }
    }
}

async fn answer(person: &Person, question: Option<&Question>) -> Result<Vec<Secret>, NoAnswer> {
    match question {
        Some(question) => person.answer(question).await,
        None => std::future::pending().await,
    }
}

fn given_up(name: &str) -> CommandError {
    CommandError::new(
        Exit::NeedsYou,
        format!("what was asked for {name} was not answered"),
        format!("run `nbctl unlock {name}` again when you can"),
    )
}
