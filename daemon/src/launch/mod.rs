//! stub
use crate::forward::FarSide;
use nbtunnel_core::*;
use std::sync::Arc;
pub struct Launch {
    pub name: Name,
    pub command: String,
    pub dir: Option<String>,
    pub port: Option<u16>,
    pub ports: Option<(u16, u16)>,
}
pub struct Batch {
    pub name: Name,
    pub spec: SlurmSpec,
    pub command: Option<String>,
    pub dir: Option<String>,
}
pub async fn start(_: Arc<dyn FarSide>, _: &Launch) -> Result<(), Failure> {
    todo!()
}
pub async fn stop(_: Arc<dyn FarSide>, _: &Launch, _: Option<u32>) -> Result<(), Failure> {
    todo!()
}
pub async fn log(_: Arc<dyn FarSide>, _: &Launch, _: u32) -> Result<String, Failure> {
    todo!()
}
pub async fn queue(_: Arc<dyn FarSide>, _: &Batch) -> Result<Option<Job>, Failure> {
    todo!()
}
pub async fn submit(_: Arc<dyn FarSide>, _: &Batch) -> Result<Job, Failure> {
    todo!()
}
pub async fn cancel(_: Arc<dyn FarSide>, _: &Batch) -> Result<(), Failure> {
    todo!()
}
pub async fn job_log(_: Arc<dyn FarSide>, _: &Batch, _: u32) -> Result<String, Failure> {
    todo!()
}
pub fn on_node(_: Arc<dyn FarSide>, _: &Job) -> Arc<dyn FarSide> {
    todo!()
}
