//! Plain counters of one shard: no lock, no atomic; a snapshot goes out by mail.

use std::fmt;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a shard has counted since it began. All but the gauges only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64),* }

        impl Counters {
            /// Adds another shard's counters to these.
            pub fn merge(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Names and values, in order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }

        /// `name=value name=value ..`, without those that are zero.
        impl fmt::Display for Counters {
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

counters! {
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
    /// Requests refused because the service thread's queue was full.
    service_busy,
    /// Mail for a connection or a user who was gone.
    mail_undeliverable,
    /// Mails sent to other shards. This and what follows is told by the driver, once a second.
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
