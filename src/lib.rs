//! Campanile: a realtime WebSocket server and library for Linux.
//!
//! One thread per core, each a *shard* with its own io_uring, its own connections and its own maps.
//! Modules are listed by layer; a module imports only from layers above it in this list.

// Layer 0: vocabulary.
pub mod collections;
pub mod config;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod pattern;
pub mod security;
pub mod time;
pub mod who;

// Layer 1: wire formats and checks, sans-IO; and the store behind its queue.
pub mod auth;
pub mod http;
pub mod store;
pub mod tls;
pub mod ws;

// Layer 2: the core.
pub mod shard;

// Layer 3: the realtime application, and pairing.
pub mod pairing;
pub mod realtime;

// Layer 4: the kernel, the other cores, the service thread, and the pretend worlds.
pub mod mesh;
pub mod ring;
mod service;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

// Layer 5: assembly.
pub mod server;

// Layer 6: what is said over HTTP.
pub mod api;

pub use server::{Server, ServerHandle, StartError};
pub use service::{HttpFetch, NoHttpClient, keep_keys_fresh};
pub use shard::{Accept, App, Ask, Asked, Context, Knock, Message, Request, Socket, Upgrade};

/// The code in the documents, compiled and run.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    pub struct Readme;
    #[doc = include_str!("../docs/HANDLERS.md")]
    pub struct Handlers;
}
