//! What a shard has counted, and how many bytes it holds of what.

use std::fmt;

/// A struct of plain numbers that can be added up and listed by name.
macro_rules! numbers {
    ($(#[$about:meta])* $type:ident { $($(#[doc = $doc:literal])+ $name:ident),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $type { $($(#[doc = $doc])+ pub $name: u64),* }

        impl $type {
            /// Adds another shard's numbers to these.
            pub fn merge(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Names and values, in order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }

            /// What a number stands for, as its documentation says; `None` for an unknown name.
            pub fn describe(name: &str) -> Option<&'static str> {
                match name {
                    $(stringify!($name) => Some(concat!($($doc),+).trim_ascii()),)*
                    _ => None,
                }
            }
        }

        /// `name=value name=value ..`, without those that are zero.
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let counted = self.iter().filter(|&(_, value)| value > 0);
                for (place, (name, value)) in counted.enumerate() {
                    let space = if place > 0 { " " } else { "" };
                    write!(f, "{space}{name}={value}")?;
                }
                Ok(())
            }
        }
    };
}

numbers! {
    /// What a shard has counted since it began. All only grow. From `mail_sent` on they are told by
    /// the driver, once a second.
    Counters {
        /// Sockets accepted.
        accepted,
        /// Connections opened (101 written).
        opened,
        /// Open connections that ended, however.
        closed,
        /// Handshakes refused by HTTP status.
        refused,
        /// Plain HTTP requests handed to the service thread.
        http_requests,
        /// Connections that moved to their user's home shard.
        moved,
        /// Messages received.
        messages_in,
        /// Payload bytes received, after inflating.
        bytes_in,
        /// Messages sent to one connection.
        messages_out,
        /// Messages published on this shard.
        published,
        /// Messages appended to local topic logs.
        appended,
        /// Messages that topics owe to their subscribers: one for each subscriber of each message
        /// appended, the publisher among them.
        fanned_out,
        /// Bytes of frames for single connections and for each subscriber of a topic, as encoded.
        bytes_out,
        /// Sends that a full socket took only in part, or not at all.
        short_sends,
        /// Messages to one connection dropped for backpressure.
        dropped_backpressure,
        /// Subscribers whom a topic's window has passed.
        lagged,
        /// Connections closed for a breach of RFC 6455 or of a limit in it.
        violations,
        /// Connections closed because nothing was heard of them.
        timed_out,
        /// Connections closed because they took nothing.
        too_slow,
        /// Older connections closed in favour of a user's newer one.
        evicted,
        /// Reading paused for a connection above its watermark.
        read_pauses,
        /// Connections no longer read from because the process ran short of memory.
        pressed,
        /// Handshakes refused because the process had no more memory to give.
        refused_memory,
        /// Turns that took longer than `slow_turn`.
        slow_turns,
        /// Requests refused because the service thread's queue was full.
        service_busy,
        /// Mail for a connection or a user who was gone.
        mail_undeliverable,
        /// Mails sent to other shards.
        mail_sent,
        /// Mails that waited because a queue between shards was full.
        mail_delayed,
        /// Receives that found no buffer, because all of the shard's were in use.
        receive_buffers_exhausted,
        /// Times that completions overflowed their queue.
        completion_overflows,
        /// Times that accepting paused for want of descriptors or memory.
        accept_pauses,
        /// Calls of `io_uring_enter(2)`: about one a turn, and one for each 256 sends beyond the first.
        enters,
        /// Sends handed to the kernel by reference, one per connection and turn.
        sends,
        /// Sleeping shards that were woken because there was mail for them.
        wakes,
        /// TLS handshakes that were done, resumed sessions among them.
        tls_handshakes,
        /// TLS sessions that came back by a ticket.
        tls_resumed,
        /// TLS handshakes that failed because the client spoke no TLS.
        tls_failed_plain,
        /// TLS handshakes that failed because the client refused: by an alert of its own.
        tls_failed_refused,
        /// TLS handshakes that failed because the client broke the protocol, or offered nothing that is
        /// spoken here.
        tls_failed_protocol,
        /// TLS handshakes that were left before they were done, by the client or for taking too long.
        tls_failed_unfinished,
        /// Connections cut for want of a trusted proxy's PROXY protocol header.
        proxy_refused,
    }
}

numbers! {
    /// Bytes that a shard holds, by what they are for: running sums, kept where they are allocated.
    ///
    /// Lengths, unless said otherwise: a buffer may have grown to twice of what is in it.
    Memory {
        /// Records of connections, whatever their phase.
        connections,
        /// Private queues: what is sent to one connection alone and has not gone out.
        queues,
        /// Sends under way that a full socket left over.
        in_flight,
        /// What has come in and waits: request heads, and frames of connections that have too much
        /// waiting for them.
        held,
        /// Messages of which a part has come in; memory taken.
        partial,
        /// Chunks of the topics' logs; memory taken.
        topic_logs,
        /// Proofs of delivery that are awaited; memory taken.
        barriers,
        /// Empty queues and chunks that are kept for reuse; memory taken.
        spare,
        /// Buffers that the kernel receives into; memory taken.
        receive_buffers,
        /// Sessions of TLS and headers of proxies: what is of fixed size, and what waits in them; without
        /// what rustls allocates for itself. Told by the driver, once a second.
        tls,
    }
}

impl Memory {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, bytes)| bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_counted_is_not_shown() {
        let counters = Counters {
            opened: 3,
            wakes: 2,
            ..Counters::default()
        };
        assert_eq!(counters.to_string(), "opened=3 wakes=2");
        assert_eq!(Counters::default().to_string(), "");
    }
}
