//! Those who are there to answer what logins ask: one at an `nbctl unlock` a tunnel. What they are asked comes here
//! one after the other, goes out to them, and their answers go back; nothing of it is kept or written down.

use std::collections::VecDeque;

use nbtunnel_core::{AskerId, FleetInput, Input, Name, WaitFor};
use nbtunnel_proto::{Fault, FaultCode, Reply, Secret};
use tokio::task::AbortHandle;

use super::Driver;
use crate::ask::{Asker, Question};
use crate::control::convert;
use crate::event::{Asked, ClientId, Event, Events};

/// All who are there.
#[derive(Default)]
pub(super) struct Unlocks {
    next: u64,
    open: Vec<Unlock>,
}

/// One person, at one tunnel.
struct Unlock {
    id: AskerId,
    name: Name,
    asked: Asked,
    asker: Asker,
    /// What is asked now, and what comes after it, each with its number.
    questions: VecDeque<(u64, Question)>,
    /// The number of the last question that came, and of the last that was shown.
    last: u64,
    shown: u64,
    /// Hands the questions over; without it nobody answers any more.
    hand_over: AbortHandle,
}

impl Drop for Unlock {
    fn drop(&mut self) {
        self.hand_over.abort();
        self.asker.forget_all();
    }
}

impl Unlocks {
    fn begin(&mut self, asked: Asked, name: Name, events: Events) -> AskerId {
        self.next += 1;
        let id = AskerId(self.next);
        let (asker, mut questions) = Asker::new();
        let hand_over = tokio::spawn(async move {
            while let Some(question) = questions.recv().await {
                if events.send(Event::Question(id, question)).is_err() {
                    return;
                }
            }
        });
        let (questions, hand_over) = (VecDeque::new(), hand_over.abort_handle());
        let (last, shown) = (0, 0);
        self.open.push(Unlock { id, name, asked, asker, questions, last, shown, hand_over });
        id
    }

    /// The person with this number, if still there.
    pub(super) fn asker(&self, id: AskerId) -> Option<Asker> {
        self.open.iter().find(|unlock| unlock.id == id).map(|unlock| unlock.asker.clone())
    }

    /// A login asks.
    pub(super) fn asks(&mut self, id: AskerId, question: Question) {
        if let Some(unlock) = self.open.iter_mut().find(|unlock| unlock.id == id) {
            unlock.last += 1;
            unlock.questions.push_back((unlock.last, question));
            unlock.show();
        }
    }

    /// The person answered. What is no answer to what is asked now is dropped: an answer and the next question may
    /// meet on their way, and what was typed for one server is not for another.
    pub(super) fn answers(&mut self, client: ClientId, number: u64, answers: Vec<Secret>) {
        if let Some(unlock) = self.open.iter_mut().find(|unlock| unlock.asked.client == client)
            && unlock.questions.front().is_some_and(|(asked, _)| *asked == number)
            && let Some((_, question)) = unlock.questions.pop_front()
        {
            // Whoever asked may have gone meanwhile.
            let _ = question.reply.send(convert::answers(answers));
            unlock.show();
        }
    }

    /// Takes out those that `ended`.
    fn end(&mut self, ended: impl Fn(&Unlock) -> bool) -> Vec<(Name, AskerId)> {
        let gone = self.open.extract_if(.., |unlock| ended(unlock));
        gone.map(|unlock| (unlock.name.clone(), unlock.id)).collect()
    }
}

impl Unlock {
    /// Shows what is asked now, unless it was, leaving out what nobody wants to know any more.
    fn show(&mut self) {
        while self.questions.front().is_some_and(|(_, question)| question.reply.is_closed()) {
            self.questions.pop_front();
        }
        if let Some((number, question)) = self.questions.front()
            && *number != self.shown
        {
            self.shown = *number;
            self.asked.answer(Reply::Ask(Box::new(convert::question(*number, &self.name, question))));
        }
    }
}

impl Driver {
    /// Starts the tunnel with a person at hand; the answer comes as for `--wait`.
    pub(super) fn unlock(&mut self, asked: &Asked, name: &str) -> Result<(), Fault> {
        let name = self.one(name)?;
        if self.unlocks.open.iter().any(|unlock| unlock.name == name) {
            return Err(Fault::new(
                FaultCode::Busy,
                format!("somebody is being asked for {name} already, at another nbctl"),
                "answer there, or end that nbctl with Ctrl-C and try again",
            ));
        }
        let id = self.unlocks.begin(asked.clone(), name.clone(), self.events.clone());
        self.tell(FleetInput::Tunnel(name.clone(), Input::Unlock(id)));
        for (name, wait) in self.waits.begin(asked.clone(), std::slice::from_ref(&name)) {
            self.tell(FleetInput::Tunnel(name, Input::Wait(wait, WaitFor::Up)));
        }
        self.end_unlocks();
        Ok(())
    }

    /// A client is gone, and with it the person there.
    pub(super) fn person_left(&mut self, client: ClientId) {
        for (name, id) in self.unlocks.end(|unlock| unlock.asked.client == client) {
            self.tell(FleetInput::Tunnel(name, Input::Left(id)));
        }
    }

    /// Nobody is asked any more for what is up, or cannot come up.
    pub(super) fn end_unlocks(&mut self) {
        if self.unlocks.open.is_empty() {
            return;
        }
        let waits = &self.waits;
        for (name, id) in self.unlocks.end(|unlock| !waits.has(unlock.asked.client)) {
            self.tell(FleetInput::Tunnel(name, Input::Left(id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use nbtunnel_proto::Request;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    fn question(title: &str) -> (Question, oneshot::Receiver<Vec<secrecy::SecretString>>) {
        let (reply, answers) = oneshot::channel();
        let (from, title, instructions) = ("u@h".to_owned(), title.to_owned(), String::new());
        (Question { from, title, instructions, prompts: Vec::new(), reply }, answers)
    }

    fn shown(asked: &mut mpsc::Receiver<Reply>) -> Option<(u64, String)> {
        match asked.try_recv().ok()? {
            Reply::Ask(question) => Some((question.number, question.title)),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_nobody_wants_to_know_any_more_gives_way_and_takes_no_answer_of_another() {
        let (answer, mut asked) = mpsc::channel(8);
        let client = ClientId(1);
        let from = Asked { client, request: Request::Unlock { name: "a".into() }, answer };
        let (events, _events) = mpsc::unbounded_channel();
        let mut unlocks = Unlocks::default();
        let id = unlocks.begin(from, Name::parse("a").unwrap(), events);
        let (first, gone) = question("of one server");
        unlocks.asks(id, first);
        assert_eq!(shown(&mut asked), Some((1, "of one server".into())));
        drop(gone);
        let (second, mut answers) = question("of another");
        unlocks.asks(id, second);
        assert_eq!(shown(&mut asked), Some((2, "of another".into())));
        // They met on their way.
        unlocks.answers(client, 1, vec![Secret::new("for the first".into())]);
        assert!(answers.try_recv().is_err(), "an answer went to another server");
        let (third, _answers) = question("the next");
        unlocks.asks(id, third);
        assert_eq!(shown(&mut asked), None, "one at a time");
        unlocks.answers(client, 2, Vec::new());
        assert!(answers.try_recv().is_ok());
        assert_eq!(shown(&mut asked), Some((3, "the next".into())));
    }
}
