//! What only a person can answer: asked at a real terminal, once, and never spent in the background. With a real
//! sshd behind PAM, and with a small server that asks what PAM cannot.
#![cfg(target_os = "linux")]

mod factors;
