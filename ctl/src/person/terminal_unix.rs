//! The terminal that we belong to, whatever stdin and stdout are. Nothing that is typed is echoed by it, and it is
//! as before when a question is over, however it ended.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use nbtunnel_proto::Secret;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::sync::oneshot;

use super::NoAnswer;
use super::line::{Key, Line};

/// How long one look for a key takes, in tenths of a second: so soon nobody reads any more once the question is
/// over.
const LOOK: u8 = 2;

fn open() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/tty")
}

pub(super) fn is_there() -> bool {
    open().is_ok()
}

/// Keeps the system from writing an image of our memory: what is typed goes through it.
pub(super) fn forbid_images() {
    // Where it cannot be had, nothing else could be done.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// Shows lines.
pub(super) fn show(text: &str) -> io::Result<()> {
    open()?.write_all(format!("{text}\n").as_bytes())
}

/// Asks once.
pub(super) async fn ask(text: &str, echo: bool) -> Result<Secret, NoAnswer> {
    let tty = open().map_err(|_| NoAnswer)?;
    let quiet = Quiet::new(&tty).map_err(|_| NoAnswer)?;
    (&tty).write_all(format!("  {text} ").as_bytes()).map_err(|_| NoAnswer)?;
    let (tell, told) = oneshot::channel();
    let over = Arc::clone(&quiet.over);
    let reading = tty.try_clone().map_err(|_| NoAnswer)?;
    // A thread of its own: the terminal of some systems cannot be waited for in another way, and nobody waits for
    // this one.
    std::thread::spawn(move || {
        let _ = tell.send(read(&reading, Line::new(echo), &over));
    });
    let typed = told.await.ok().flatten();
    drop(quiet);
    // The key that ended the line was not shown either.
    let _ = (&tty).write_all(b"\n");
    typed.ok_or(NoAnswer)
}

fn read(mut tty: &File, mut line: Line, over: &AtomicBool) -> Option<Secret> {
    let mut byte = [0];
    while !over.load(SeqCst) {
        match tty.read(&mut byte) {
            // Nobody typed anything for a moment, or the terminal is gone.
            Ok(0) => {}
            Ok(_) => match line.push(byte[0]) {
                Key::Show(shown) => tty.write_all(&shown).ok()?,
                Key::Enter => return line.finish(),
                Key::Cancel => return None,
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    None
}

/// A terminal that shows no key by itself, until this is dropped.
struct Quiet {
    tty: File,
    before: Termios,
    over: Arc<AtomicBool>,
}

impl Quiet {
    fn new(tty: &File) -> io::Result<Quiet> {
        let tty = tty.try_clone()?;
        let before = tcgetattr(&tty)?;
        let mut quiet = before.clone();
        // Keys come one by one, Ctrl-C and Ctrl-Z too: stopped in the middle, we would leave a terminal that
        // shows nothing.
        quiet.local_modes -= LocalModes::ECHO
            | LocalModes::ECHONL
            | LocalModes::ICANON
            | LocalModes::ISIG
            | LocalModes::IEXTEN;
        quiet.input_modes -= InputModes::IXON;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 0;
        quiet.special_codes[SpecialCodeIndex::VTIME] = LOOK;
        // What was typed before the question is no answer to it.
        tcsetattr(&tty, OptionalActions::Flush, &quiet)?;
        Ok(Quiet { tty, before, over: Arc::default() })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        let _ = tcsetattr(&self.tty, OptionalActions::Flush, &self.before);
    }
}
