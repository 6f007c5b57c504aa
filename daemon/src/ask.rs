//! Questions to a person, and the answers: from a login in `ssh` to an `nbctl` and back. The text of an answer lives
//! only here and where it is used; it is wiped when it is dropped, and no Debug shows it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
#[derive(Clone)]
pub struct Asker {
    questions: mpsc::Sender<Question>,
    /// Passphrases that opened a key file, while the person is there: one login may need the same key for several
    /// machines on the way, or be made anew.
    said: Arc<Mutex<BTreeMap<PathBuf, SecretString>>>,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker")
    }
}

impl Asker {
    /// An asker, and where its questions come out. Who drops the receiver cancels what is asked from then on.
    pub fn new() -> (Asker, mpsc::Receiver<Question>) {
        let (ask, questions) = mpsc::channel(1);
        (Asker { questions: ask, said: Arc::default() }, questions)
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
        self.questions.send(Question { from, title, instructions, prompts, reply }).await.ok()?;
        let answers = answers.await.ok()?;
        (answers.len() == count).then_some(answers)
    }

    /// Resolves when nobody is there any more.
    pub async fn gone(&self) {
        self.questions.closed().await;
    }

    fn said(&self) -> MutexGuard<'_, BTreeMap<PathBuf, SecretString>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this person said to open the key in `path`.
    pub fn passphrase_of(&self, path: &Path) -> Option<SecretString> {
        self.said().get(path).cloned().filter(|_| !self.questions.is_closed())
    }

    /// Keeps what opened the key in `path`, until the person leaves.
    pub fn keep_passphrase(&self, path: &Path, said: &SecretString) {
        if !self.questions.is_closed() {
            self.said().insert(path.to_owned(), said.clone());
        }
    }

    /// The person leaves.
    pub fn forget_all(&self) {
        self.said().clear();
    }
}
