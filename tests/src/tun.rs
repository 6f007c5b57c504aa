//! A TUN device: an interface whose packets a program reads and writes (tun(4), TUNSETIFF).
#![allow(unsafe_code, reason = "rustix leaves the ioctl of a device that it does not know to its caller")]

use std::fs::File;

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `struct ifreq` of netdevice(7), as TUNSETIFF reads it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
/// Whole IP packets, without a header of the device's own.
const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;

/// Makes the device `name` in the network where the calling thread is. It is gone when the file is closed;
/// reading it does not block.
///
/// # Errors
/// We are not root, or the kernel has no TUN.
pub(crate) fn open(name: &str) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open("/dev/net/tun", flags, Mode::empty()).context("cannot open /dev/net/tun")?;
    let mut request = Request { name: [0; 16], flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    // The last byte stays 0: it ends the name.
    for (to, from) in request.name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: TUNSETIFF reads a `struct ifreq`, which is 40 bytes on 64-bit Linux, and `Request` is laid out
    // like it; the name in it ends with 0. (That the number is built with an `int` is the kernel's own way.)
    unsafe { ioctl(&file, Setter::<TUNSETIFF, Request>::new(request)) }
        .context("cannot make a TUN device")?;
    Ok(file.into())
}
