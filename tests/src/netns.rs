//! Two networks with a cable between them, for what loopback cannot do: cut, unplug, lose packets, move to
//! another address. The thread that enters is *here*, with everything that it starts; the servers are *there*.
//!
//! The kernel removes a network namespace with its last user, so nothing is left behind when a test is killed.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::programs::system;
use crate::told::tell;
use crate::wait;

/// The address at this end of the cable.
pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// Another one that this end may be given.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 3);
/// The address at the far end of the cable.
pub const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 2));

/// The cable's name at both ends.
const CABLE: &str = "cable";

/// What does not get through any more, in both directions and without a word to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All of the cable.
    Everything,
    /// What goes to and from this TCP port there.
    Port(u16),
    /// The connection that has this TCP port here; new ones get through.
    Connection(u16),
}

/// One network namespace, for as long as somebody holds this or lives in it.
#[derive(Debug)]
pub(crate) struct Space(File);

impl Space {
    fn new() -> Result<Space> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("nbt-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::SeqCst));
        run("ip", &["netns", "add", &name])?;
        let space = File::open(format!("/run/netns/{name}"));
        // Only its name goes: the open file keeps it.
        run("ip", &["netns", "del", &name])?;
        Ok(Space(space.context("cannot open a network namespace that was just made")?))
    }

    fn current() -> Result<Space> {
        Ok(Space(File::open("/proc/thread-self/ns/net").context("there are no network namespaces")?))
    }

    fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .context("only root can enter a network namespace")
    }

    /// Does `work` in it. Threads and programs that this starts stay there.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let before = Space::current()?;
        self.enter()?;
        let back = Back(before);
        let done = work();
        drop(back);
        Ok(done)
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// Goes back to where the thread was, also when it panics.
struct Back(Space);

impl Drop for Back {
    fn drop(&mut self) {
        // It has been there, so it may go there.
        let _ = self.0.enter();
    }
}

/// Two networks and the cable. The thread that made them lives *here* until this is dropped.
#[derive(Debug)]
pub struct Networks {
    home: Space,
    pub(crate) here: Space,
    pub(crate) there: Rc<Space>,
}

impl Networks {
    /// Makes them, and moves the calling thread there where [`HERE`] is.
    ///
    /// # Errors
    /// We are not root, or `ip` or `nft` is missing.
    pub fn enter() -> Result<Networks> {
        let (home, here, there) = (Space::current()?, Space::new()?, Rc::new(Space::new()?));
        let networks = Networks { home, here, there };
        networks.here.enter()?;
        let far = networks.there.path();
        run("ip", &["link", "add", CABLE, "type", "veth", "peer", "name", CABLE, "netns", &far])?;
        let equip = |address: IpAddr| -> Result<()> {
            run("ip", &["address", "add", &format!("{address}/24"), "dev", CABLE])?;
            run("ip", &["link", "set", "lo", "up"])?;
            run("ip", &["link", "set", CABLE, "up"])?;
            run("nft", &["add table inet chaos"])?;
            run("nft", &["add chain inet chaos in { type filter hook input priority 0; policy accept; }"])
        };
        equip(HERE.into())?;
        networks.there(|| equip(THERE))??;
        wait::until("the cable is plugged in", wait::SOON, || {
            fs::read_to_string("/proc/thread-self/net/route").is_ok_and(|routes| routes.contains(CABLE))
                && run("ip", &["route", "get", &THERE.to_string()]).is_ok()
        })?;
        Ok(networks)
    }

    /// Does `work` at the far end. Threads and programs that this starts stay there.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn there<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        self.there.within(work)
    }

    /// The same for a thing that must be dropped there too, such as a server.
    ///
    /// # Errors
    /// Those of `make`, or the namespace cannot be entered.
    pub fn make_there<T>(&self, make: impl FnOnce() -> Result<T>) -> Result<There<T>> {
        let thing = self.there(make)??;
        Ok(There { thing: Some(thing), space: Rc::clone(&self.there) })
    }

    /// Lets packets vanish, beside those that vanish already.
    ///
    /// # Errors
    /// nft fails.
    pub fn cut(&self, what: Cut) -> Result<()> {
        let (here, there) = match what {
            // Whatever device it comes by, so that delayed paths are cut too.
            Cut::Everything => ("iifname != \"lo\"".to_owned(), "iifname != \"lo\"".to_owned()),
            Cut::Port(port) => (format!("tcp sport {port}"), format!("tcp dport {port}")),
            Cut::Connection(port) => (format!("tcp dport {port}"), format!("tcp sport {port}")),
        };
        let drop = |what: &str| run("nft", &[&format!("add rule inet chaos in {what} drop")]);
        drop(&here)?;
        self.there(|| drop(&there))?
    }

    /// Lets everything through again.
    ///
    /// # Errors
    /// nft fails.
    pub fn heal(&self) -> Result<()> {
        let flush = || run("nft", &["flush chain inet chaos in"]);
        flush()?;
        self.there(flush)?
    }

    /// Pulls the cable out at this end, or puts it back.
    ///
    /// # Errors
    /// ip fails.
    pub fn plug(&self, in_: bool) -> Result<()> {
        run("ip", &["link", "set", CABLE, if in_ { "up" } else { "down" }])
    }

    /// This end gets the address `new` and loses `old`, as with another Wi-Fi.
    ///
    /// # Errors
    /// ip fails.
    pub fn move_to(&self, old: Ipv4Addr, new: Ipv4Addr) -> Result<()> {
        run("ip", &["address", "del", &format!("{old}/24"), "dev", CABLE])?;
        run("ip", &["address", "add", &format!("{new}/24"), "dev", CABLE])
    }

    /// Resets every connection from here to `port` there, at both ends.
    ///
    /// # Errors
    /// ss fails: the kernel cannot do it (`CONFIG_INET_DIAG_DESTROY`).
    pub fn reset(&self, port: u16) -> Result<()> {
        run("ss", &["-K", "dport", "=", &format!(":{port}")])
    }

    /// The local ports of the connections from here to `port` there.
    ///
    /// # Errors
    /// ss fails.
    pub fn connections(&self, port: u16) -> Result<Vec<u16>> {
        let port = format!(":{port}");
        let listed = output("ss", &["-tnH", "state", "established", "dport", "=", &port])?;
        // Recv-Q Send-Q Local:Port Peer:Port (ss(8)).
        let local = |line: &str| line.split_whitespace().nth(2)?.rsplit_once(':')?.1.parse().ok();
        Ok(listed.lines().filter_map(local).collect())
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        // The thread came from there, so it may go back.
        let _ = self.home.enter();
    }
}

/// A thing that lives at the far end: it is dropped there.
#[derive(Debug)]
pub struct There<T> {
    // Only `drop` takes it.
    thing: Option<T>,
    space: Rc<Space>,
}

impl<T> Deref for There<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.thing {
            Some(thing) => thing,
            None => unreachable!("it is taken only when this is dropped"),
        }
    }
}

impl<T> DerefMut for There<T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.thing {
            Some(thing) => thing,
            None => unreachable!("it is taken only when this is dropped"),
        }
    }
}

impl<T> Drop for There<T> {
    fn drop(&mut self) {
        let thing = self.thing.take();
        // Where that fails it is dropped here instead.
        let _ = self.space.within(move || drop(thing));
    }
}

/// Gives the end of the cable where the calling thread is one more address.
pub(crate) fn give(address: Ipv4Addr) -> Result<()> {
    run("ip", &["address", "add", &format!("{address}/24"), "dev", CABLE])
}

/// Runs a program of the system in the network where the calling thread is.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<()> {
    output(program, args).map(drop)
}

fn output(program: &str, args: &[&str]) -> Result<String> {
    let told = tell(Command::new(system(program)?).args(args), &[], wait::SOON)?;
    ensure!(told.code == 0, "{program} {} failed: {}", args.join(" "), told.stderr.trim());
    Ok(told.stdout)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::net;

    /// A connection across the cable, both ends of it.
    fn across(networks: &Networks) -> (TcpStream, TcpStream, u16) {
        let listener = networks.there(|| TcpListener::bind((THERE, 0))).unwrap().unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((THERE, port)).unwrap();
        let (server, _) = listener.accept().unwrap();
        for end in [&client, &server] {
            end.set_read_timeout(Some(wait::SOON)).unwrap();
        }
        (client, server, port)
    }

    fn carries(client: &mut TcpStream, server: &mut TcpStream) -> bool {
        use std::io::Write;
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).is_ok()
    }

    #[test]
    fn what_is_cut_vanishes_and_what_is_healed_arrives() {
        let networks = Networks::enter().unwrap();
        let (mut client, mut server, port) = across(&networks);
        let own = client.local_addr().unwrap().port();
        assert_eq!(networks.connections(port).unwrap(), [own]);
        for cut in [Cut::Everything, Cut::Port(port), Cut::Connection(own)] {
            assert!(carries(&mut client, &mut server));
            networks.cut(cut).unwrap();
            server.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
            assert!(!carries(&mut client, &mut server), "{cut:?}");
            networks.heal().unwrap();
            // What was sent meanwhile comes by itself.
            server.set_read_timeout(Some(wait::SOON)).unwrap();
            server.read_exact(&mut [0]).unwrap();
        }
    }

    #[test]
    fn a_reset_and_a_move_are_real() {
        let networks = Networks::enter().unwrap();
        let (mut client, _server, port) = across(&networks);
        networks.reset(port).unwrap();
        assert!(net::read(&mut client, &mut [0]).is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock));

        networks.move_to(HERE, ELSEWHERE).unwrap();
        let (client, _server, _) = across(&networks);
        assert_eq!(client.local_addr().unwrap().ip(), IpAddr::V4(ELSEWHERE));
        client.shutdown(Shutdown::Both).unwrap();
        networks.plug(false).unwrap();
        let nowhere = SocketAddr::new(THERE, port);
        let refused = TcpStream::connect_timeout(&nowhere, Duration::from_millis(100));
        assert!(refused.is_err_and(|e| e.kind() != std::io::ErrorKind::ConnectionRefused));
    }

    #[test]
    fn a_server_there_is_reached_there_alone_and_ends_there() {
        let networks = Networks::enter().unwrap();
        let echo = networks.make_there(crate::Server::echo).unwrap();
        assert!(net::connect(echo.port(), wait::SOON).is_err(), "it is on the loopback of the far end");
        let port = echo.port();
        assert!(networks.there(|| net::echoes(port, wait::SOON)).unwrap());
        drop(echo);
        assert!(!networks.there(|| net::echoes(port, wait::SOON)).unwrap());
    }
}
