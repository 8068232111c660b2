//! Two players and a code: who is connected with whom. A pure state machine.
#![forbid(unsafe_code)]
