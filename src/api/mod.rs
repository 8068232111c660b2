//! What is said over HTTP: the API, health, metrics and the dashboard.
#![forbid(unsafe_code)]

pub mod health;
pub mod metrics;
