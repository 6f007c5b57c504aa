//! What macOS says of sleep (`IORegisterForSystemPower`), heard on a thread with a run loop. Each question
//! whether the machine may sleep is answered yes at once: a silent listener would keep it awake for 30 s.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};

use nbtunnel_core::Nudge;
use objc2_core_foundation::{CFRunLoop, kCFRunLoopDefaultMode};
use objc2_io_kit::{
    IOAllowPowerChange, IONotificationPort, IORegisterForSystemPower, io_service_t, kIOMessageCanSystemSleep,
    kIOMessageSystemHasPoweredOn, kIOMessageSystemWillSleep,
};
use tokio::runtime::Handle;

use super::{Hint, Hints};

/// What the callback needs. Lives for ever, since the system keeps its address.
struct Listener {
    hints: Hints,
    /// The connection that answers go to; 0 until it is known.
    root: AtomicU32,
}

/// Starts the thread, which lives as long as the daemon.
pub(super) fn start(_handle: &Handle, hints: Hints) {
    if let Err(why) = std::thread::Builder::new().name("power".into()).spawn(move || listen(hints)) {
        tracing::debug!("macOS will not tell of sleep: {why}");
    }
}

fn listen(hints: Hints) {
    let listener: &'static Listener = Box::leak(Box::new(Listener { hints, root: AtomicU32::new(0) }));
    let (mut port, mut notifier) = (null_mut(), 0);
    // SAFETY: the context is never freed, the callback is of the type that is asked for, and both places to
    // write to are valid.
    let root = unsafe {
        IORegisterForSystemPower(
            std::ptr::from_ref(listener).cast_mut().cast(),
            &mut port,
            Some(told),
            &mut notifier,
        )
    };
    if root == 0 || port.is_null() {
        tracing::debug!("macOS will not tell of sleep");
        return;
    }
    // The callback comes from the run loop below, so not before this.
    listener.root.store(root, Ordering::SeqCst);
    // SAFETY: the port was just made and is never destroyed.
    let source = unsafe { IONotificationPort::run_loop_source(port) };
    // SAFETY: a constant of the framework.
    let mode = unsafe { kCFRunLoopDefaultMode };
    if let (Some(run_loop), Some(source)) = (CFRunLoop::current(), source) {
        run_loop.add_source(Some(&source), mode);
        CFRunLoop::run();
    }
    tracing::debug!("macOS tells of sleep no more");
}

/// Called by the run loop.
unsafe extern "C-unwind" fn told(
    context: *mut c_void,
    _service: io_service_t,
    what: u32,
    about: *mut c_void,
) {
    // SAFETY: the context is the listener that `listen` leaked.
    let listener = unsafe { &*context.cast::<Listener>() };
    if [kIOMessageCanSystemSleep, kIOMessageSystemWillSleep].contains(&what) {
        // The argument is no pointer but the number of the question.
        let answered = IOAllowPowerChange(listener.root.load(Ordering::SeqCst), about as isize);
        tracing::debug!("the machine may sleep (macOS, {answered})");
    } else if what == kIOMessageSystemHasPoweredOn {
        let reason = "the machine woke (macOS)".to_owned();
        // Nobody listens any more when the daemon ends.
        let _ = listener.hints.send(Hint { nudge: Nudge::Woke, reason });
    }
}
