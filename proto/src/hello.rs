//! The first bytes of a connection, from both sides at once: fixed, encoded by hand, and therefore readable by
//! every version that ever was or will be. What follows them is read only when the protocols are equal.
//!
//! Layout: 8 bytes of magic, the protocol as a big-endian `u16`, the length of the build's version as one byte,
//! then that version in UTF-8.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::fault::{Fault, FaultCode};

/// The version of the control protocol. Any change of a wire type bumps it.
pub const PROTOCOL: u16 = 5;

/// What every connection begins with.
pub const MAGIC: [u8; 8] = *b"nbtunnel";

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The protocol that they speak.
    pub protocol: u16,
    /// The version of their program, for people: at most 255 bytes, printable.
    pub build: String,
}

impl Hello {
    /// This build's own.
    pub fn ours() -> Self {
        Hello { protocol: PROTOCOL, build: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// The bytes on the wire. A longer build than fits is cut.
    pub fn encode(&self) -> Vec<u8> {
        let build = &self.build.as_bytes()[..self.build.len().min(usize::from(u8::MAX))];
        let mut bytes = Vec::with_capacity(MAGIC.len() + 3 + build.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.protocol.to_be_bytes());
        bytes.push(u8::try_from(build.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(build);
        bytes
    }

    /// Sends it.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        stream.write_all(&self.encode()).await?;
        stream.flush().await
    }

    /// Reads the peer's, and not one byte more.
    ///
    /// # Errors
    /// [`FaultCode::Protocol`] for anything that is no hello, and for an end in the middle of it.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, Fault> {
        let mut head = [0u8; MAGIC.len() + 3];
        stream.read_exact(&mut head[..MAGIC.len()]).await.map_err(cut_short)?;
        if head[..MAGIC.len()] != MAGIC {
            return Err(Fault::new(
                FaultCode::Protocol,
                "the other end does not speak nbtunnel's protocol",
                "use nbctl to talk to nbtunneld, and check which program owns the socket",
            ));
        }
        stream.read_exact(&mut head[MAGIC.len()..]).await.map_err(cut_short)?;
        let [.., high, low, length] = head;
        let mut build = vec![0u8; usize::from(length)];
        stream.read_exact(&mut build).await.map_err(cut_short)?;
        let build = String::from_utf8_lossy(&build).chars().filter(|c| !c.is_control()).collect();
        Ok(Hello { protocol: u16::from_be_bytes([high, low]), build })
    }

    /// Whether `nbctl` and `daemon` understand each other.
    ///
    /// # Errors
    /// [`FaultCode::Version`], with a text that says which side is to be renewed.
    pub fn agree(nbctl: &Hello, daemon: &Hello) -> Result<(), Fault> {
        if nbctl.protocol == daemon.protocol {
            return Ok(());
        }
        let message = format!(
            "nbctl {} speaks protocol {}, the running daemon {} speaks {}",
            nbctl.build, nbctl.protocol, daemon.build, daemon.protocol
        );
        let hint = if daemon.protocol < nbctl.protocol {
            format!("restart the daemon, which is the older one: {RESTART}")
        } else {
            "update nbctl, which is the older one, or call the one that was installed with the daemon"
                .to_owned()
        };
        Err(Fault::new(FaultCode::Version, message, hint))
    }
}

#[cfg(target_os = "linux")]
const RESTART: &str = "`systemctl --user restart nbtunneld`, or stop it and start it again";
#[cfg(not(target_os = "linux"))]
const RESTART: &str = "stop nbtunneld and start it again";

fn cut_short(error: std::io::Error) -> Fault {
    let message = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the other end hung up before it said who it is".to_owned(),
        _ => format!("the connection broke before the other end said who it is: {error}"),
    };
    Fault::new(FaultCode::Protocol, message, "try again; if it stays so, restart nbtunneld")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(protocol: u16, build: &str) -> Hello {
        Hello { protocol, build: build.to_owned() }
    }

    #[tokio::test]
    async fn the_bytes_are_fixed_for_ever() {
        let bytes = hello(0x0102, "0.1.0").encode();
        assert_eq!(bytes, b"nbtunnel\x01\x02\x050.1.0");
        assert_eq!(Hello::read(&mut &bytes[..]).await.unwrap(), hello(0x0102, "0.1.0"));
    }

    #[tokio::test]
    async fn a_build_of_any_length_and_content_is_bounded_and_printable() {
        let long = hello(1, &"x".repeat(1000)).encode();
        assert_eq!(Hello::read(&mut &long[..]).await.unwrap().build.len(), 255);
        let odd = b"nbtunnel\x00\x01\x04\x1b[\xff\x00";
        assert_eq!(Hello::read(&mut &odd[..]).await.unwrap().build, "[\u{fffd}");
    }

    #[tokio::test]
    async fn what_is_no_hello_is_a_fault() {
        for bytes in [&b""[..], b"nbtunn", b"GET / HTTP/1.1\r\n", b"nbtunnel", b"nbtunnel\x00\x01\x09abc"] {
            let fault = Hello::read(&mut &bytes[..]).await.unwrap_err();
            assert_eq!(fault.code, FaultCode::Protocol, "{bytes:?}");
        }
    }

    #[test]
    fn a_mismatch_says_which_side_to_renew() {
        let fault = Hello::agree(&hello(2, "0.2.0"), &hello(1, "0.1.0")).unwrap_err();
        assert_eq!(fault.message, "nbctl 0.2.0 speaks protocol 2, the running daemon 0.1.0 speaks 1");
        assert!(fault.hint.starts_with("restart the daemon"), "{}", fault.hint);
        let fault = Hello::agree(&hello(1, "0.1.0"), &hello(2, "0.2.0")).unwrap_err();
        assert!(fault.hint.starts_with("update nbctl"), "{}", fault.hint);
        assert!(Hello::agree(&hello(1, "0.1.9"), &hello(1, "0.1.0")).is_ok());
    }
}
