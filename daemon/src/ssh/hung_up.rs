//! Sees that a server hung up while a person is being asked: the library reads nothing then, and the person would
//! answer a server that is gone.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use socket2::Socket;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);
/// So often it is seen before it counts: whoever reads says more about the end than that it is there.
const TIMES: u32 = 5;

/// Returns when the peer of `socket` has hung up, and nobody took notice for a while. What it sent last and nobody
/// read hides that.
pub(super) async fn hung_up(socket: &Socket) {
    let mut seen = 0;
    while seen < TIMES {
        tokio::time::sleep(EVERY).await;
        seen = if is_over(socket) { seen + 1 } else { 0 };
    }
}

fn is_over(socket: &Socket) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    match socket.peek(&mut byte) {
        Ok(read) => read == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn an_end_is_seen_and_silence_is_none() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
        let (mut theirs, _) = server.accept().await.unwrap();
        let socket = SockRef::from(&ours).try_clone().unwrap();
        assert!(!is_over(&socket));
        theirs.write_all(b"x").await.unwrap();
        ours.readable().await.unwrap();
        assert!(!is_over(&socket));
        ours.try_read(&mut [0; 8]).unwrap();
        drop(theirs);
        tokio::time::timeout(Duration::from_secs(30), hung_up(&socket)).await.unwrap();
    }
}
