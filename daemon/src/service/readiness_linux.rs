//! Tells systemd how we are (`sd_notify(3)`). Without a service manager nothing happens.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use sd_notify::NotifyState;

/// Everything works; `status` is what `systemctl status` shows.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

/// We are going away.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Still alive. To be called from the main loop, every [`watchdog_interval`]. Waits for nobody: a service
/// manager that does not listen would otherwise stop the loop that it watches.
pub fn watchdog() {
    match (lasting_socket(), NotifyState::Watchdog) {
        (Some(socket), state) => {
            if let Err(error) = socket.send(format!("{state}\n").as_bytes()) {
                tracing::debug!(%error, "the service manager did not hear that we are alive");
            }
        }
        (None, state) => send(&[state]),
    }
}

/// A socket to the service manager that is kept: when no descriptor is to be had, the one thing that must not
/// fail is to say that we are alive. `None` where there is no such manager, or it is reached in another way.
fn lasting_socket() -> Option<&'static UnixDatagram> {
    static SOCKET: OnceLock<Option<UnixDatagram>> = OnceLock::new();
    let connect = |path: &OsStr| {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_nonblocking(true)?;
        std::io::Result::Ok(socket)
    };
    SOCKET.get_or_init(|| connect(&std::env::var_os("NOTIFY_SOCKET")?).ok()).as_ref()
}

/// How often to call [`watchdog`]: half of what the service manager allows; `None` if it does not ask.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|interval| !interval.is_zero())
}

/// Waits for nobody either. What a manager that is busy does not take at once must reach it later, and in order:
/// from then on a thread of its own waits for it.
fn send(states: &[NotifyState<'_>]) {
    static LATER: OnceLock<Option<Sender<String>>> = OnceLock::new();
    let text: String = states.iter().map(|state| format!("{state}\n")).collect();
    let Some(socket) = lasting_socket() else { return told(sd_notify::notify(states)) };
    if LATER.get().is_none() {
        match socket.send(text.as_bytes()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            sent => return told(sent.map(|_| ())),
        }
    }
    if let Some(later) = LATER.get_or_init(teller) {
        // The thread that hears it never ends.
        let _ = later.send(text);
    }
}

/// A thread that tells the service manager, however long that takes; `None` if there is no thread to be had.
fn teller() -> Option<Sender<String>> {
    let (later, texts) = channel::<String>();
    let tell = move || {
        for text in texts {
            told(sd_notify::notify(&[NotifyState::Custom(text.trim_end())]));
        }
    };
    let thread = std::thread::Builder::new().name("notify".into()).spawn(tell);
    thread.inspect_err(|error| tracing::warn!(%error, "the service manager will not hear of us")).ok()?;
    Some(later)
}

fn told(sent: std::io::Result<()>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "the service manager did not take a notification");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use rustix::process::{Resource, Rlimit, setrlimit};

    use super::*;

    #[test]
    fn the_service_manager_hears_everything_in_its_words() {
        if std::env::var_os("NBTUNNEL_TEST_NOTIFY").is_some() {
            assert_eq!(watchdog_interval(), Some(Duration::from_secs(15)));
            ready("2 tunnels");
            reloading();
            ready("3 tunnels");
            watchdog();
            // From here on there is no descriptor left.
            let few = Rlimit { current: Some(64), maximum: Some(64) };
            setrlimit(Resource::Nofile, few).unwrap();
            let mut all = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                all.push(file);
            }
            watchdog();
            drop(all);
            stopping();
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "service::readiness::tests::the_service_manager_hears_everything_in_its_words"])
            .env("NBTUNNEL_TEST_NOTIFY", "1")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "30000000")
            .env_remove("WATCHDOG_PID")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut heard = String::new();
        while !heard.contains("STOPPING=1") {
            let mut buffer = [0; 4096];
            let length = manager.recv(&mut buffer).unwrap();
            heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        for word in [
            "READY=1\n",
            "STATUS=2 tunnels\n",
            "RELOADING=1\n",
            "MONOTONIC_USEC=",
            "STATUS=3",
            "WATCHDOG=1\n",
        ] {
            assert!(heard.contains(word), "{word} is not in {heard}");
        }
        assert_eq!(heard.matches("WATCHDOG=1").count(), 2, "silent without descriptors: {heard}");
    }

    #[test]
    fn a_manager_that_does_not_listen_stops_nobody_and_hears_all_of_it_later() {
        const RELOADS: usize = 2000;
        if std::env::var_os("NBTUNNEL_TEST_NOTIFY").is_some() {
            (0..RELOADS).for_each(|number| ready(&format!("tunnels: {number}")));
            println!("not stopped");
            // Ends when the other end does, which has heard it all by then.
            let _ = std::io::stdin().read_line(&mut String::new());
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let name = "service::readiness::tests::a_manager_that_does_not_listen_stops_nobody_and_hears_all_of_it_later";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env("NBTUNNEL_TEST_NOTIFY", "1")
            .env("NOTIFY_SOCKET", &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, hears) = std::sync::mpsc::channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(said.send(line))));
        let not_stopped = loop {
            match hears.recv_timeout(Duration::from_secs(20)) {
                Ok(line) if line.contains("not stopped") => break true,
                Ok(_) => {}
                Err(_) => break false,
            }
        };
        for number in 0..if not_stopped { RELOADS } else { 0 } {
            let mut buffer = [0; 4096];
            let length = manager.recv(&mut buffer).unwrap();
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            assert_eq!(text.trim_end(), format!("READY=1\nSTATUS=tunnels: {number}"));
        }
        drop(child.stdin.take());
        if !not_stopped {
            child.kill().unwrap();
        }
        child.wait().unwrap();
        assert!(not_stopped, "a manager that does not listen stops the loop");
    }
}
