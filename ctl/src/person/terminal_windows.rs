//! The console. Nothing that is typed is echoed by it, and it is as before when a question is over.

#![allow(unsafe_code)]

use std::io::{self, IsTerminal, Read, Write};

use nbtunnel_proto::Secret;
use tokio::sync::oneshot;
use windows_sys::Win32::System::Console::{
    CONSOLE_MODE, GetConsoleMode, GetStdHandle, STD_INPUT_HANDLE, SetConsoleMode,
};

use super::NoAnswer;
use super::line::{Key, Line};

pub(super) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// There are none unless their user asks for one.
pub(super) fn forbid_images() {}

/// Shows lines.
pub(super) fn show(text: &str) -> io::Result<()> {
    io::stderr().write_all(format!("{text}\n").as_bytes())
}

/// Asks once.
pub(super) async fn ask(text: &str, echo: bool) -> Result<Secret, NoAnswer> {
    let quiet = Quiet::new().ok_or(NoAnswer)?;
    io::stderr().write_all(format!("  {text} ").as_bytes()).map_err(|_| NoAnswer)?;
    let (tell, told) = oneshot::channel();
    // A thread of its own, for which nobody waits.
    std::thread::spawn(move || {
        let _ = tell.send(read(Line::new(echo)));
    });
    let typed = told.await.ok().flatten();
    drop(quiet);
    let _ = io::stderr().write_all(b"\n");
    typed.ok_or(NoAnswer)
}

fn read(mut line: Line) -> Option<Secret> {
    let mut byte = [0];
    loop {
        if io::stdin().lock().read(&mut byte).ok()? == 0 {
            return None;
        }
        match line.push(byte[0]) {
            Key::Show(shown) => io::stderr().write_all(&shown).ok()?,
            Key::Enter => return line.finish(),
            Key::Cancel => return None,
        }
    }
}

/// A console that gives keys one by one and shows none, until this is dropped.
struct Quiet {
    before: CONSOLE_MODE,
}

impl Quiet {
    fn new() -> Option<Quiet> {
        let mut before = 0;
        // SAFETY: the handle is our own standard input, and the mode is written to a variable of ours.
        let set = unsafe {
            let input = GetStdHandle(STD_INPUT_HANDLE);
            GetConsoleMode(input, &raw mut before) != 0 && SetConsoleMode(input, 0) != 0
        };
        set.then_some(Quiet { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { SetConsoleMode(GetStdHandle(STD_INPUT_HANDLE), self.before) };
    }
}
