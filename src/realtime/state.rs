//! What all handlers of a shard share, besides the core.

use std::sync::Arc;

use super::RealtimeOptions;
use super::protocol::Timestamp;
use super::rooms::Rooms;
use crate::limits::TOPIC_BYTES_MAX;
use crate::time::Now;

/// A scratch buffer larger than this is given back after use, bytes. A snapshot of a thousand
/// members and a message of the default size stay below it.
const SCRATCH_BYTES_MAX: usize = 256 * 1024;

/// What one shard's instance holds and has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rooms at home on this shard that have a member.
    pub rooms: usize,
    /// Their members: a user counts once per room.
    pub members: usize,
    /// Messages refused for the sender's fault, since the start.
    pub refused: u64,
    /// Messages whose handler returned an error that is no rejection.
    pub handler_errors: u64,
    /// Messages whose handler panicked.
    pub handler_panics: u64,
}

/// One shard's rooms, buffers and counters.
#[derive(Debug)]
pub(super) struct State {
    pub(super) options: Arc<RealtimeOptions>,
    pub(super) rooms: Rooms,
    pub(super) scratch: Scratch,
    pub(super) refused: u64,
    pub(super) handler_errors: u64,
    pub(super) handler_panics: u64,
}

impl State {
    pub(super) fn new(options: Arc<RealtimeOptions>) -> Self {
        assert!(
            u16::try_from(options.routes.len()).is_ok(),
            "too many routes"
        );
        let names = options
            .routes
            .iter()
            .filter_map(|route| route.room.as_ref());
        for name in names {
            let is_topic = !name.is_empty() && name.len() <= TOPIC_BYTES_MAX;
            assert!(is_topic, "no room can be called {name:?}");
        }
        Self {
            rooms: Rooms::new(options.presence.members_max),
            scratch: Scratch::default(),
            options,
            refused: 0,
            handler_errors: 0,
            handler_panics: 0,
        }
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            rooms: self.rooms.len(),
            members: self.rooms.member_count(),
            refused: self.refused,
            handler_errors: self.handler_errors,
            handler_panics: self.handler_panics,
        }
    }
}

/// The buffer that frames are written in, and the turn's time stamp.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    out: Vec<u8>,
    stamp: Option<(u64, Timestamp)>,
}

impl Scratch {
    /// The time stamp of this turn, made once.
    pub(super) fn timestamp(&mut self, now: Now) -> Timestamp {
        match self.stamp {
            Some((unix_ms, stamp)) if unix_ms == now.unix_ms => stamp,
            _ => {
                let stamp = Timestamp::new(now.unix_ms);
                self.stamp = Some((now.unix_ms, stamp));
                stamp
            }
        }
    }

    /// Writes a frame and lends its text.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &str {
        self.out.clear();
        self.out.shrink_to(SCRATCH_BYTES_MAX);
        write(&mut self.out);
        simdutf8::basic::from_utf8(&self.out).expect("frames are written from text")
    }
}
