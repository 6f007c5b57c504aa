//! The columns: each kind of forward, and an exchange over it whose every byte is known beforehand on both sides.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::door::Door;
use nbtunnel_tests::net::{self, Pattern};
use nbtunnel_tests::socks::{self, Ask};
use nbtunnel_tests::tunnel_file::quoted;
use nbtunnel_tests::{Server, TunnelFile, World, wait};
use serde_json::Value;
use tempfile::TempDir;

/// So many bytes go each way, odd so that no buffer ends with them.
const BYTES: u64 = (1 << 20) + 17;
/// Behind its bytes the far end says how many of ours were right, in so many more.
const VERDICT: u64 = 8;
/// Of the two patterns: what goes there is not what comes back.
const THERE: u64 = 11;
const BACK: u64 = 12;

/// Where somebody connects.
pub(crate) enum From {
    Port,
    /// One that the server chooses.
    AnyPort,
    Socket,
}

/// Where the connection is to lead.
pub(crate) enum To {
    Port,
    Socket,
    /// Wherever the client asks to be led.
    Proxy(Ask<'static>),
}

pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// The key of the tunnel file.
    key: &'static str,
    from: From,
    to: To,
}

const fn column(name: &'static str, key: &'static str, from: From, to: To) -> Column {
    Column { name, key, from, to }
}

/// In the order in which the status shows them.
pub(crate) const COLUMNS: [Column; 10] = [
    column("local TCP", "forward", From::Port, To::Port),
    column("local from a Unix socket", "forward", From::Socket, To::Port),
    column("local to a Unix socket", "forward", From::Port, To::Socket),
    column("dynamic SOCKS5", "dynamic", From::Port, To::Proxy(Ask::Five("localhost"))),
    column("dynamic SOCKS4a", "dynamic", From::Port, To::Proxy(Ask::FourA("localhost"))),
    column("remote TCP", "remote", From::Port, To::Port),
    column("remote port 0", "remote", From::AnyPort, To::Port),
    column("remote Unix socket", "remote", From::Socket, To::Port),
    column("remote to a Unix socket", "remote", From::Port, To::Socket),
    column("remote SOCKS", "remote", From::Port, To::Proxy(Ask::Five("localhost"))),
];

impl Column {
    /// The word of the status.
    fn kind(&self) -> &'static str {
        match (self.key, &self.to) {
            ("forward", _) => "local",
            ("dynamic", _) => "dynamic",
            (_, To::Proxy(_)) => "remote_dynamic",
            (_, To::Port | To::Socket) => "remote",
        }
    }
}

/// What the forwards of one tunnel lead to, and the sockets on the way.
pub(crate) struct Ends {
    target: Server,
    _door: Door,
    dir: TempDir,
    ports: Vec<u16>,
}

impl Ends {
    pub(crate) fn new() -> Result<Ends> {
        let dir = tempfile::Builder::new().prefix("nbt-ends-").tempdir()?;
        let target = Server::start(|stream| serve(&stream))?;
        let door = Door::to(target.port(), &dir.path().join("target"))?;
        let ports = COLUMNS.iter().map(|_| net::free_port()).collect::<Result<_>>()?;
        Ok(Ends { target, _door: door, dir, ports })
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(name.replace(' ', "-"))
    }

    /// Adds every column to `file`.
    pub(crate) fn write(&self, file: TunnelFile) -> TunnelFile {
        ["forward", "dynamic", "remote"].into_iter().fold(file, |file, key| {
            let columns = COLUMNS.iter().zip(&self.ports).filter(|(column, _)| column.key == key);
            let texts: Vec<String> =
                columns.map(|(column, port)| quoted(&self.text(column, *port))).collect();
            file.set(key, format!("[{}]", texts.join(", ")))
        })
    }

    /// The forward in the grammar of ssh.
    fn text(&self, column: &Column, port: u16) -> String {
        let from = match column.from {
            From::Port => port.to_string(),
            From::AnyPort => "0".to_owned(),
            From::Socket => self.socket(column.name).display().to_string(),
        };
        match column.to {
            To::Port => format!("{from}:127.0.0.1:{}", self.target.port()),
            To::Socket => format!("{from}:{}", self.socket("target").display()),
            To::Proxy(_) => from,
        }
    }

    /// Waits until each forward listens, or has been told that it may not.
    pub(crate) fn settled(&self, world: &World) -> Result<Vec<Value>> {
        let tunnel = world.wait_until("alice", "each forward listens or cannot", |tunnel| {
            let forwards = tunnel["forwards"].as_array();
            let settled = |one: &Value| one["listens"][0].is_string() || !one["problem"].is_null();
            tunnel["state"] == "up" && forwards.is_some_and(|all| all.iter().all(settled))
        })?;
        let shown = tunnel["forwards"].as_array().cloned().context("forwards are a list")?;
        let kinds: Vec<_> =
            shown.iter().map(|forward| forward["kind"].as_str().unwrap_or_default()).collect();
        ensure!(kinds == COLUMNS.each_ref().map(Column::kind), "they are shown as {kinds:?}");
        Ok(shown)
    }

    /// Both ways at once, every byte.
    pub(crate) fn carries(&self, column: &Column, shown: &Value) -> Result<()> {
        ensure!(shown["problem"].is_null(), "{}", shown["problem"]);
        let listens = shown["listens"][0].as_str().context("it does not listen")?;
        if matches!(column.from, From::Socket) {
            let stream = UnixStream::connect(listens).context(listens.to_owned())?;
            stream.set_read_timeout(Some(wait::SOON))?;
            stream.set_write_timeout(Some(wait::SOON))?;
            return exchange(&stream, || stream.shutdown(Shutdown::Write));
        }
        let port: u16 = listens.rsplit(':').next().context("it names a port")?.parse()?;
        let stream = match column.to {
            To::Proxy(ask) => socks::connect(port, ask, self.target.port(), &[])?,
            To::Port | To::Socket => net::connect(port, wait::SOON)?,
        };
        exchange(&stream, || stream.shutdown(Shutdown::Write))
    }

    /// The server does not know this kind: it has said so, and whoever connects is not left waiting.
    pub(crate) fn is_refused(&self, world: &World, column: &Column, shown: &Value) -> Result<()> {
        if let Some(listens) = shown["listens"][0].as_str() {
            let port = listens.rsplit(':').next().context("it names a port")?.parse()?;
            let met = net::connect(port, wait::SOON)?.read(&mut [0]);
            ensure!(!matches!(met, Ok(1)), "it carries something");
        }
        let number = COLUMNS.iter().position(|other| other.name == column.name).unwrap_or_default();
        let tunnel = world.wait_until("alice", "the refusal is shown", |tunnel| {
            tunnel["forwards"][number]["problem"]["code"] == "forwarding_denied"
        })?;
        ensure!(tunnel["state"] == "up" && tunnel["problem"].is_null(), "it harms the tunnel: {tunnel:#}");
        Ok(())
    }

    /// What the daemon counted is what was carried, in the direction in which it was.
    pub(crate) fn are_counted(&self, world: &World, refused: &[&str]) -> Result<()> {
        let (there, back) = (BYTES, BYTES + VERDICT);
        world.wait_until("alice", "all is counted and over", |tunnel| {
            COLUMNS.iter().enumerate().filter(|(_, column)| !refused.contains(&column.name)).all(
                |(number, column)| {
                    let forward = &tunnel["forwards"][number];
                    // Towards the local user: the client of a local forward, the server of a remote one.
                    let (come, gone) = if column.key == "remote" { (there, back) } else { (back, there) };
                    forward["total"] == 1
                        && forward["open"] == 0
                        && forward["bytes_in"] == come
                        && forward["bytes_out"] == gone
                },
            )
        })?;
        Ok(())
    }
}

/// The far end: sends its bytes, takes the other side's at the same time, and says how many of these were right.
fn serve(mut stream: &TcpStream) -> io::Result<()> {
    let (mut pattern, mut right, mut good) = (Pattern::new(THERE), 0_u64, true);
    std::thread::scope(|scope| {
        let sends = scope.spawn(|| Pattern::new(BACK).write(&mut &*stream, BYTES));
        let (mut reading, mut buffer) = (stream, vec![0; 64 << 10]);
        loop {
            match net::read(&mut reading, &mut buffer)? {
                0 => break,
                got if good => {
                    let matching = pattern.matching(&buffer[..got]);
                    right += matching as u64;
                    good = matching == got;
                }
                _ => {}
            }
        }
        sends.join().unwrap_or_else(|_| Err(io::Error::other("the sender panicked")))
    })?;
    stream.write_all(&right.to_be_bytes())
}

/// The near end of the same.
fn exchange<S: Sync>(stream: &S, end: impl FnOnce() -> io::Result<()> + Send) -> Result<()>
where
    for<'a> &'a S: Read + Write,
{
    std::thread::scope(|scope| {
        let sends = scope.spawn(|| Pattern::new(THERE).write(&mut &*stream, BYTES).and_then(|()| end()));
        let mut reading = stream;
        Pattern::new(BACK).expect(&mut reading, BYTES)?;
        let mut verdict = [0; VERDICT as usize];
        reading.read_exact(&mut verdict).context("the far end does not answer after our end")?;
        let right = u64::from_be_bytes(verdict);
        ensure!(right == BYTES, "{right} of {BYTES} bytes arrived as they were");
        ensure!(net::read(&mut reading, &mut [0])? == 0, "more came than was sent");
        sends.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?.context("cannot send")
    })
}
