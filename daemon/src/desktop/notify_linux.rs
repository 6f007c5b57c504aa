//! The notifications of freedesktop.org's desktops (Desktop Notifications Specification 1.2), over the bus of the
//! user's session.

use std::collections::HashMap;

use zbus::Connection;
use zbus::zvariant::Value;

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// Shows a notification.
///
/// # Errors
/// There is no bus, or nobody on it who shows notifications.
pub(super) async fn notify(summary: &str, body: &str) -> zbus::Result<()> {
    let bus = Connection::session().await?;
    // It stays until somebody looks: whoever is away is the one it is for.
    let hints = HashMap::from([("urgency", Value::U8(2)), ("desktop-entry", Value::from("nbtunnel"))]);
    let (icon, replaces, actions, expires) = ("network-error", 0u32, Vec::<&str>::new(), 0i32);
    let notification = ("nbtunnel", replaces, icon, summary, body, actions, hints, expires);
    bus.call_method(Some(NAME), PATH, Some(NAME), "Notify", &notification).await?;
    Ok(())
}
