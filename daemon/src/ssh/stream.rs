//! What a session runs over: a TCP connection of ours, a channel of a jump host's session, or the standard
//! streams of a ProxyCommand.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::channel_stream::ChannelStream;
use super::proxy_command::ProxyStream;

/// Carries a session's bytes.
pub(super) enum Stream {
    Tcp(TcpStream),
    Jump(ChannelStream),
    Proxy(ProxyStream),
}

impl Stream {
    /// The socket, where it is one of ours that leads to the server.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(tcp) => Some(tcp),
            Stream::Jump(_) | Stream::Proxy(_) => None,
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Stream {
        Stream::Tcp(tcp)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Jump(jump) => Pin::new(jump).poll_read(cx, buf),
            Stream::Proxy(proxy) => Pin::new(proxy).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Stream::Jump(jump) => Pin::new(jump).poll_write(cx, buf),
            Stream::Proxy(proxy) => Pin::new(proxy).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Stream::Jump(jump) => Pin::new(jump).poll_write_vectored(cx, slices),
            Stream::Proxy(proxy) => Pin::new(proxy).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp().is_some_and(TcpStream::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Jump(jump) => Pin::new(jump).poll_flush(cx),
            Stream::Proxy(proxy) => Pin::new(proxy).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Jump(jump) => Pin::new(jump).poll_shutdown(cx),
            Stream::Proxy(proxy) => Pin::new(proxy).poll_shutdown(cx),
        }
    }
}
