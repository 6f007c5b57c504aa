//! stub until the config branch
use crate::spec::{Name, TunnelSpec};
/// Change
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// a
    Add(Name, Box<TunnelSpec>),
    /// b
    Respec(Name, Box<TunnelSpec>),
    /// c
    Remove(Name),
}
