//! Which Windows user a process belongs to. Nothing but the four calls that this takes.

// SAFETY of the whole file: each block says why its pointers and handles are good.
#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::{FromRawHandle, OwnedHandle, RawHandle};
use std::ptr;

use widestring::U16CStr;
use windows_sys::Win32::Foundation::{HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::ConvertSidToStringSidW;
use windows_sys::Win32::Security::{GetTokenInformation, TOKEN_QUERY, TOKEN_USER, TokenUser};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, OpenProcess, OpenProcessToken, PROCESS_QUERY_LIMITED_INFORMATION,
};

/// The SID of this process's user, as `S-1-5-…`.
pub(crate) fn our_sid() -> io::Result<String> {
    // SAFETY: the call takes nothing and gives a pseudo handle that needs no closing.
    sid_of(unsafe { GetCurrentProcess() })
}

/// The SID of another process's user.
pub(crate) fn sid_of_process(pid: u32) -> io::Result<String> {
    // SAFETY: the call takes plain values; its result is checked before it is owned.
    let handle = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
    let process = owned(handle)?;
    let sid = sid_of(handle);
    drop(process);
    sid
}

fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller has just been given this open handle, and nobody else closes it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle as RawHandle) })
}

fn sid_of(process: HANDLE) -> io::Result<String> {
    let mut token: HANDLE = ptr::null_mut();
    // SAFETY: `process` is open, `token` is ours to be written to.
    if unsafe { OpenProcessToken(process, TOKEN_QUERY, &raw mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let _close = owned(token)?;
    // A SID has at most 68 bytes; u64 aligns the TOKEN_USER in front of it.
    let mut buffer = [0u64; 32];
    let mut length = 0;
    let size = u32::try_from(size_of_val(&buffer)).map_err(io::Error::other)?;
    // SAFETY: the buffer is ours, aligned, and as long as we say.
    let ok =
        unsafe { GetTokenInformation(token, TokenUser, buffer.as_mut_ptr().cast(), size, &raw mut length) };
    if ok == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call filled the buffer with a TOKEN_USER, whose SID points into it.
    let sid = unsafe { (*buffer.as_ptr().cast::<TOKEN_USER>()).User.Sid };
    let mut text: *mut u16 = ptr::null_mut();
    // SAFETY: `sid` is valid as long as the buffer is; `text` is ours to be written to.
    if unsafe { ConvertSidToStringSidW(sid, &raw mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: on success `text` is a string with a final NUL.
    let sid = unsafe { U16CStr::from_ptr_str(text) }.to_string_lossy();
    // SAFETY: the string was allocated by LocalAlloc for us, and is not used any more.
    unsafe { LocalFree(text.cast()) };
    Ok(sid)
}
