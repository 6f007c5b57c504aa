//! A TCP connection to a server that has several addresses: IPv6 and IPv4 in turn, each a little after the
//! other, and the first that answers wins (RFC 8305, without its DNS part).

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nbtunnel_core::session::PATIENCE;
use nbtunnel_core::{Failure, FailureKind};
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::hop::{Dialling, Family};
use super::{Stopwatch, system};

/// How much later the next address is tried.
const APART: Duration = Duration::from_millis(250);

/// No address is given longer; core has shorter deadlines.
const CONNECT_DEADLINE: Duration = Duration::from_secs(60);

/// How long bytes may stay unacknowledged: never shorter than the patience of core with a link that does not
/// answer, which begins when the answer to a probe is overdue, at most a minute after it was sent.
const SILENCE: Duration = Duration::from_secs(PATIENCE.as_secs() + AFTER_A_PROBE.as_secs());
/// How long after a probe patience begins at the latest, and a little.
const AFTER_A_PROBE: Duration = Duration::from_secs(PATIENCE.as_secs() + 10);
/// The system counts in milliseconds, and has room for three weeks.
const LONGEST_SILENCE: Duration = Duration::from_secs(14 * 86_400);

/// So long a connection is idle before the system itself keeps NATs and firewalls from forgetting it.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A connection, and how long its own attempt took, without what was tried before it: one round trip.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) tcp: TcpStream,
    pub(super) took: Duration,
}

/// Connects to the first of `addresses` that answers, as `how` says, from one of `from` if that names any. `hop` is
/// how users know the machine.
///
/// # Errors
/// `refused`, `timed_out`, `unreachable` or `exhausted`: the most telling of what the addresses gave; `unreachable`
/// also when none of them may be used.
pub(super) async fn dial(
    hop: &str,
    addresses: Vec<SocketAddr>,
    how: &Dialling,
    from: Option<Vec<IpAddr>>,
    stopwatch: &Stopwatch,
) -> Result<Dialled, Failure> {
    let from = from.as_deref();
    let own = |to: &SocketAddr| from.map(|from| from.iter().find(|own| own.is_ipv4() == to.is_ipv4()));
    let may_be_used = |to: &SocketAddr| how.family.takes(to) && own(to) != Some(None);
    let addresses: Vec<SocketAddr> = addresses.into_iter().filter(may_be_used).collect();
    if addresses.is_empty() {
        return Err(none_may_be_used(hop, how));
    }
    let mut waiting: VecDeque<SocketAddr> = interleave(addresses).into();
    let mut trying = FuturesUnordered::new();
    let mut failed = Vec::new();
    loop {
        if let Some(address) = waiting.pop_front() {
            let own = own(&address).flatten().copied();
            trying.push(connect(address, own, !how.no_tcp_keepalive, stopwatch));
        }
        tokio::select! {
            tried = trying.next() => match tried {
                Some(Ok(dialled)) => return Ok(dialled),
                Some(Err(failure)) => failed.push(failure),
                None => return Err(worst(hop, failed)),
            },
            () = sleep(APART), if !waiting.is_empty() => {}
        }
    }
}

/// IPv6 and IPv4 in turn, beginning with what the system put first.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let six_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (six, four): (VecDeque<_>, VecDeque<_>) = addresses.into_iter().partition(SocketAddr::is_ipv6);
    let (mut now, mut next) = if six_first { (six, four) } else { (four, six) };
    let mut all = Vec::new();
    while let Some(address) = now.pop_front().or_else(|| next.pop_front()) {
        all.push(address);
        std::mem::swap(&mut now, &mut next);
    }
    all
}

async fn connect(
    address: SocketAddr,
    own: Option<IpAddr>,
    keep_alive: bool,
    stopwatch: &Stopwatch,
) -> Result<Dialled, (SocketAddr, io::Error)> {
    let began = stopwatch();
    let connected = timeout(CONNECT_DEADLINE, connect_from(own, address)).await;
    let tcp = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|e| (address, e))?;
    let took = stopwatch().saturating_sub(began);
    set_options(&tcp, keep_alive).map_err(|error| (address, error))?;
    Ok(Dialled { tcp, took })
}

async fn connect_from(own: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let Some(own) = own else { return TcpStream::connect(address).await };
    let socket = if own.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(own, 0))?;
    socket.connect(address).await
}

fn set_options(stream: &TcpStream, keep_alive: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if keep_alive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    }
    system::bound_silence(socket, SILENCE)
}

/// The machine has addresses, but none that ssh_config lets us use.
fn none_may_be_used(hop: &str, how: &Dialling) -> Failure {
    let wanted = match how.family {
        Family::Any => "our own end (BindAddress, BindInterface) can reach",
        Family::Inet => "AddressFamily inet lets us use",
        Family::Inet6 => "AddressFamily inet6 lets us use",
    };
    Failure::new(
        FailureKind::Unreachable,
        format!("{hop} has no address that {wanted}"),
        "check AddressFamily, BindAddress and BindInterface in ssh_config",
    )
}

/// Makes the system no less patient with a connection than whoever waits for an answer on it for `patience`.
///
/// # Errors
/// The system's, if it will not.
pub(super) fn be_patient(socket: &Socket, patience: Duration) -> io::Result<()> {
    let silence = patience.saturating_add(AFTER_A_PROBE).clamp(SILENCE, LONGEST_SILENCE);
    system::bound_silence(SockRef::from(socket), silence)
}

/// One failure for all addresses: a refusal tells more than silence, silence more than a missing route.
fn worst(hop: &str, failed: Vec<(SocketAddr, io::Error)>) -> Failure {
    let kinds = failed.iter().map(|(_, error)| kind_of(error));
    let kind = kinds.min_by_key(rank).unwrap_or(FailureKind::Unreachable);
    let tried: Vec<String> =
        failed.iter().map(|(address, error)| format!("{}: {}", address.ip(), plain(error))).collect();
    let tried = tried.join(", ");
    match kind {
        FailureKind::Refused => Failure::new(
            kind,
            format!("{hop} refused the connection"),
            "check host and port; if they are right, the SSH server is not running, or a firewall forbids it",
        ),
        FailureKind::TimedOut => Failure::new(
            kind,
            format!("{hop} did not answer ({tried})"),
            "the machine may be off or behind a firewall; check whether you need a VPN",
        ),
        FailureKind::Exhausted => Failure::new(
            kind,
            format!("no connection to {hop} could be opened here ({tried})"),
            "close other programs, or raise the limit on open files (ulimit -n)",
        ),
        _ => Failure::new(
            FailureKind::Unreachable,
            format!("no network leads to {hop} ({tried})"),
            "check whether this machine is online, or needs a VPN. On macOS, allow local network access",
        ),
    }
}

/// The system's words without the number that it adds to them.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

fn kind_of(error: &io::Error) -> FailureKind {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => FailureKind::Refused,
        io::ErrorKind::TimedOut => FailureKind::TimedOut,
        _ if system::is_exhausted(error) => FailureKind::Exhausted,
        _ => FailureKind::Unreachable,
    }
}

fn rank(kind: &FailureKind) -> u8 {
    match kind {
        FailureKind::Exhausted => 0,
        FailureKind::Refused => 1,
        FailureKind::TimedOut => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    async fn dialled(hop: &str, addresses: Vec<SocketAddr>) -> Result<Dialled, Failure> {
        dial(hop, addresses, &Dialling::default(), None, &crate::wake::stopwatch()).await
    }

    #[test]
    fn families_take_turns_and_the_first_stays_first() {
        let four = ["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"].map(at);
        let six = at("[::1]:1");
        assert_eq!(interleave([four[0], four[1], four[2], six].into()), [four[0], six, four[1], four[2]]);
        assert_eq!(interleave([six, four[0], four[1]].into()), [six, four[0], four[1]]);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_hide_a_living_one() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let addresses =
            vec![SocketAddr::new([0, 0, 0, 0, 0, 0, 0, 1].into(), port), server.local_addr().unwrap()];
        assert_eq!(dialled("there", addresses).await.unwrap().tcp.peer_addr().unwrap().port(), port);
    }

    #[tokio::test]
    async fn only_the_wanted_family_is_dialled_and_from_the_wanted_address() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = vec![at("[::1]:1"), server.local_addr().unwrap()];
        let clock = crate::wake::stopwatch();
        let inet = Dialling { family: Family::Inet, ..Dialling::default() };
        let from = Some(vec!["::1".parse().unwrap(), "127.0.0.9".parse().unwrap()]);
        #[cfg(target_os = "linux")]
        {
            let dialled = dial("h", addresses.clone(), &inet, from.clone(), &clock).await.unwrap();
            assert_eq!(dialled.tcp.local_addr().unwrap().ip(), from.clone().unwrap()[1]);
        }
        let only_six = Some(vec!["::1".parse().unwrap()]);
        let failure = dial("h", addresses, &inet, only_six, &clock).await.unwrap_err();
        assert!(failure.message.contains("AddressFamily inet"), "{failure}");
        let _ = from;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_system_has_more_patience_with_silence_than_core() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let Dialled { tcp, .. } = dialled("there", vec![server.local_addr().unwrap()]).await.unwrap();
        let socket = SockRef::from(&tcp);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(SILENCE));
        let with_person = nbtunnel_core::session::PATIENCE_WITH_PERSON;
        for (patience, silence) in [
            (with_person, with_person + AFTER_A_PROBE),
            (Duration::from_secs(1), SILENCE),
            (Duration::MAX, LONGEST_SILENCE),
        ] {
            be_patient(&socket.try_clone().unwrap(), patience).unwrap();
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(silence));
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_as_one() {
        let nobody = SocketAddr::from(([127, 0, 0, 1], crate::ssh::testbed::free_port()));
        let failure = dialled("there:22", vec![nobody]).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Refused);
        assert!(failure.message.starts_with("there:22 refused"), "{failure}");
    }

    #[test]
    fn the_most_telling_failure_wins() {
        let failed = |kind: io::ErrorKind| (at("1.1.1.1:1"), io::Error::from(kind));
        use io::ErrorKind::{ConnectionRefused, NetworkUnreachable, TimedOut};
        let kind = |kinds: &[io::ErrorKind]| worst("h", kinds.iter().map(|k| failed(*k)).collect()).kind;
        assert_eq!(kind(&[NetworkUnreachable, ConnectionRefused, TimedOut]), FailureKind::Refused);
        assert_eq!(kind(&[NetworkUnreachable, TimedOut]), FailureKind::TimedOut);
        assert_eq!(kind(&[NetworkUnreachable]), FailureKind::Unreachable);
        let full = (at("1.1.1.1:1"), io::Error::from_raw_os_error(if cfg!(windows) { 10024 } else { 24 }));
        assert_eq!(worst("h", vec![full, failed(ConnectionRefused)]).kind, FailureKind::Exhausted);
    }
}
