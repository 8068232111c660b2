//! The ring against real sockets on loopback.
