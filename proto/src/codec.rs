//! How messages become bytes: bincode inside length-delimited frames. The only file that names bincode.
//!
//! A request is one frame of at most [`MAX_REQUEST`] bytes. A reply is one or more frames of at most
//! [`MAX_FRAME`] bytes, since the status of many tunnels has no natural bound; the first byte of each says
//! whether another one follows. Both sides reject what is longer than it should be.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder, LengthDelimitedCodec};
use zeroize::Zeroizing;

use crate::fault::{Fault, FaultCode};

/// The longest request, in bytes.
pub const MAX_REQUEST: usize = 64 << 10;

/// The longest frame of a reply, in bytes.
pub const MAX_FRAME: usize = 1 << 20;

/// The longest reply, all frames together, in bytes.
pub const MAX_REPLY: usize = 64 << 20;

/// First byte of a reply's last frame, and of one that has a successor.
const LAST: u8 = 0;
const MORE: u8 = 1;

/// Encodes one message.
///
/// # Errors
/// [`FaultCode::Protocol`] for a message longer than `limit` bytes.
pub fn encode<T: Serialize>(message: &T, limit: usize) -> Result<Vec<u8>, Fault> {
    let bytes = bincode::serde::encode_to_vec(message, bincode::config::standard()).map_err(|e| {
        Fault::new(
            FaultCode::Protocol,
            format!("a message cannot be encoded: {e}"),
            "this is a fault of nbtunnel",
        )
    })?;
    if bytes.len() > limit { Err(too_long(limit)) } else { Ok(bytes) }
}

/// The one frame of a request, wiped when it is dropped: there may be answers in it.
///
/// # Errors
/// [`FaultCode::Protocol`] for a request longer than [`MAX_REQUEST`].
pub(crate) fn request_frame<T: Serialize>(request: &T) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let bytes = Zeroizing::new(encode(request, MAX_REQUEST)?);
    let length = u32::try_from(bytes.len()).map_err(|_| too_long(MAX_REQUEST))?;
    let mut frame = Zeroizing::new(Vec::with_capacity(size_of::<u32>() + bytes.len()));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&bytes);
    Ok(frame)
}

/// Decodes one message, which has to be all of `bytes`: what a newer peer appended would otherwise be lost
/// without a word.
///
/// # Errors
/// [`FaultCode::Protocol`] for anything else.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let config = bincode::config::standard().with_limit::<MAX_REPLY>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((message, consumed)) if consumed == bytes.len() => Ok(message),
        Ok((_, consumed)) => Err(not_a_message(&format!("{} bytes too many", bytes.len() - consumed))),
        Err(error) => Err(not_a_message(&error.to_string())),
    }
}

/// The frames of one reply.
///
/// # Errors
/// [`FaultCode::Protocol`] for a reply longer than [`MAX_REPLY`].
pub(crate) fn reply_frames<T: Serialize>(reply: &T) -> Result<Vec<Bytes>, Fault> {
    let bytes = encode(reply, MAX_REPLY)?;
    let chunks: Vec<&[u8]> = bytes.chunks(MAX_FRAME - 1).collect();
    let last = chunks.len().saturating_sub(1);
    let frame = |(index, chunk): (usize, &&[u8])| {
        let mut frame = BytesMut::with_capacity(1 + chunk.len());
        frame.put_u8(if index == last { LAST } else { MORE });
        frame.put_slice(chunk);
        frame.freeze()
    };
    Ok(chunks.iter().enumerate().map(frame).collect())
}

/// Puts the frames of replies together again.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    bytes: Vec<u8>,
}

impl Assembly {
    /// Takes the next frame; the reply, when this was its last.
    ///
    /// # Errors
    /// [`FaultCode::Protocol`] for what is no frame of a reply, and for one that has no end.
    pub(crate) fn push<T: DeserializeOwned>(&mut self, frame: &[u8]) -> Result<Option<T>, Fault> {
        let Some((&flag, chunk)) = frame.split_first() else {
            return Err(not_a_message("an empty frame"));
        };
        if self.bytes.len() + chunk.len() > MAX_REPLY {
            return Err(too_long(MAX_REPLY));
        }
        self.bytes.extend_from_slice(chunk);
        match flag {
            MORE => Ok(None),
            LAST => decode(&std::mem::take(&mut self.bytes)).map(Some),
            other => Err(not_a_message(&format!("a frame that begins with {other}"))),
        }
    }
}

/// Cuts the stream into frames, and knows whether it stands in the middle of one.
#[derive(Debug)]
pub(crate) struct Frames {
    inner: LengthDelimitedCodec,
    limit: usize,
    /// Some bytes of a frame have come, but not all.
    pub(crate) midway: bool,
}

impl Frames {
    pub(crate) fn new(limit: usize) -> Self {
        Frames { inner: writer(limit), limit, midway: false }
    }
}

impl Decoder for Frames {
    type Item = BytesMut;
    type Error = Fault;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<BytesMut>, Fault> {
        let any = !source.is_empty();
        let frame = self.inner.decode(source).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => too_long(self.limit),
            _ => Fault::from(error),
        })?;
        // The length is taken from `source` before the rest has come: once begun, a frame stays begun.
        self.midway = frame.is_none() && (any || self.midway);
        Ok(frame)
    }

    fn decode_eof(&mut self, source: &mut BytesMut) -> Result<Option<BytesMut>, Fault> {
        match self.decode(source)? {
            None if self.midway => Err(Fault::new(
                FaultCode::Protocol,
                "the other end hung up in the middle of a message",
                "try again; if it stays so, restart nbtunneld",
            )),
            frame => Ok(frame),
        }
    }
}

/// What a peer would make of `bytes`, were they all that it is sent: the frames, cut `step` bytes at a time.
/// For tests that feed it anything.
///
/// # Errors
/// As for the connection itself; and that they end in the middle of a frame.
pub fn frames(bytes: &[u8], limit: usize, step: usize) -> Result<Vec<Vec<u8>>, Fault> {
    let (mut codec, mut source, mut all) = (Frames::new(limit), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(step.max(1)) {
        source.extend_from_slice(piece);
        while let Some(frame) = codec.decode(&mut source)? {
            all.push(frame.to_vec());
        }
    }
    while let Some(frame) = codec.decode_eof(&mut source)? {
        all.push(frame.to_vec());
    }
    Ok(all)
}

/// The replies that `frames` hold. For tests that feed it anything.
///
/// # Errors
/// The first frame that is none, or that ends no reply.
pub fn replies<T: DeserializeOwned>(frames: &[Vec<u8>]) -> Result<Vec<T>, Fault> {
    let mut assembly = Assembly::default();
    frames.iter().filter_map(|frame| assembly.push(frame).transpose()).collect()
}

/// The framing for what is sent.
pub(crate) fn writer(limit: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(limit).new_codec()
}

fn too_long(limit: usize) -> Fault {
    Fault::new(
        FaultCode::Protocol,
        format!("a message is longer than {} KiB", limit >> 10),
        "ask for fewer tunnels at once, for example with a glob such as 'lab-*' instead of every name",
    )
}

fn not_a_message(why: &str) -> Fault {
    Fault::new(
        FaultCode::Protocol,
        format!("what came is not a message of this protocol ({why})"),
        "restart nbtunneld, and use the nbctl that was installed with it",
    )
}

#[cfg(test)]
mod tests;
