//! What Windows says of sleep (`PowerRegisterSuspendResumeNotification`), in a callback on a thread of its
//! own. Never unregistered: the daemon listens for as long as it runs.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::null_mut;

use nbtunnel_core::Nudge;
use tokio::runtime::Handle;
use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::System::Power::{
    DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS, PowerRegisterSuspendResumeNotification,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{DEVICE_NOTIFY_CALLBACK, PBT_APMRESUMEAUTOMATIC};

use super::{Hint, Hints};

/// Registers the callback.
pub(super) fn start(_handle: &Handle, hints: Hints) {
    // Both live for ever, since the system keeps their addresses.
    let hints: &'static Hints = Box::leak(Box::new(hints));
    let recipient: &'static _ = Box::leak(Box::new(DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS {
        Callback: Some(told),
        Context: std::ptr::from_ref(hints).cast_mut().cast(),
    }));
    let mut registration = null_mut();
    // SAFETY: with DEVICE_NOTIFY_CALLBACK the recipient is a DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS; it and its
    // context are never freed, and `registration` is a valid place to write to.
    let code = unsafe {
        PowerRegisterSuspendResumeNotification(
            DEVICE_NOTIFY_CALLBACK,
            std::ptr::from_ref(recipient).cast_mut().cast(),
            &mut registration,
        )
    };
    if code != ERROR_SUCCESS {
        tracing::debug!("Windows will not tell of sleep: error {code}");
    }
}

/// Called by the system. PBT_APMRESUMEAUTOMATIC comes at every resume; others tell of the same once more.
unsafe extern "system" fn told(context: *const c_void, what: u32, _setting: *const c_void) -> u32 {
    if what == PBT_APMRESUMEAUTOMATIC {
        // SAFETY: the context is the sender that `start` leaked; it can be used from any thread.
        let hints = unsafe { &*context.cast::<Hints>() };
        let reason = "the machine woke (Windows)".to_owned();
        // Nobody listens any more when the daemon ends.
        let _ = hints.send(Hint { nudge: Nudge::Woke, reason });
    }
    ERROR_SUCCESS
}
