//! Questions to a person, and the answers: from a login in `ssh` to an `nbctl` and back. The text of an answer lives
//! only here and where it is used; it is wiped when it is dropped, and no Debug shows it.

use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot};

/// One thing that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// What to show before the answer, without control characters.
    pub text: String,
    /// Whether the answer may be seen while it is typed.
    pub echo: bool,
}

/// What is asked at once: one or several things, or none, where something is only to be read (RFC 4256 §3.2).
#[derive(Debug)]
pub struct Question {
    /// Who asks, as `user@host:port`, or which key file.
    pub from: String,
    /// What it is about, in a line; may be empty.
    pub title: String,
    /// More words of the server, several lines perhaps; may be empty.
    pub instructions: String,
    /// What is to be answered, in order.
    pub prompts: Vec<Prompt>,
    /// Takes as many answers as there are prompts. Dropped: nobody will answer.
    pub reply: oneshot::Sender<Vec<SecretString>>,
}

/// The person who may be asked. Everybody who holds a clone may ask; questions come one at a time.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<Question>);

impl Asker {
    /// An asker, and where its questions come out. Who drops the receiver cancels what is asked from then on.
    pub fn new() -> (Asker, mpsc::Receiver<Question>) {
        let (ask, questions) = mpsc::channel(1);
        (Asker(ask), questions)
    }

    /// Asks, and waits for as long as the person takes. `None`: cancelled, or nobody is there any more.
    pub async fn ask(
        &self,
        from: String,
        title: String,
        instructions: String,
        prompts: Vec<Prompt>,
    ) -> Option<Vec<SecretString>> {
        let count = prompts.len();
        let (reply, answers) = oneshot::channel();
        self.0.send(Question { from, title, instructions, prompts, reply }).await.ok()?;
        let answers = answers.await.ok()?;
        (answers.len() == count).then_some(answers)
    }

    /// Resolves when nobody is there any more.
    pub async fn gone(&self) {
        self.0.closed().await;
    }
}
