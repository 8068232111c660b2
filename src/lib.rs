//! Campanile: a realtime WebSocket server and library for Linux.
//!
//! One thread per core, each a *shard* with its own io_uring, its own connections and its own maps.
//! Modules are listed by layer; a module imports only from layers above it in this list.

// Layer 0: vocabulary.
pub mod id;
pub mod limits;
pub mod time;

// Layer 4: the kernel and the other cores.
pub mod mesh;
pub mod ring;
