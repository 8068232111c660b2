//! Rooms, messages, and what users have with each other.

use std::time::Duration;

use super::{
    Changes, DAY, Entry, HOUR, Kind, MESSAGE_BYTES_MAX, QUEUE_BYTES_MAX, Raw, Reload, Section, YEAR,
};
use crate::config::kind::{Bytes, Choice, Count, Switch, Time, Word};
use crate::config::lists::People;
use crate::config::words::{ControlCharacters, Create, DeliveryProof, PlainText, SlowPolicy};
use crate::limits::TOPIC_BYTES_MAX;
use crate::who::Who;

const ROOM_PATTERN: Word = Word {
    bytes: 1..=TOPIC_BYTES_MAX,
    what: "a name or pattern without control characters",
    fits: |pattern| !pattern.contains(char::is_control),
};

section! {
    /// How messages reach subscribers.
    Messaging {
        /// Deliver a message to the connection that sent it, too.
        echo_to_sender: bool = false, Switch;
        /// What a subscriber gets who fell further behind than `limits.topic_window_bytes`.
        /// "gap": what is still there. "latest": only what comes next. "disconnect": close 4508.
        slow_policy: SlowPolicy = SlowPolicy::Gap, Choice::<SlowPolicy>::new();
        /// What becomes of a text that does not begin like JSON. "profile": a chat in the flat
        /// profile, refused with `invalid_json` in the others. "chat": a chat in every profile.
        /// "reject": refused in every profile.
        plain_text: PlainText = PlainText::Profile, Choice::<PlainText>::new();
        /// For how long a `client_message_id` is remembered: a message that comes again within it is
        /// answered as before and published once. "0s" = not at all.
        dedupe_window: Duration = Duration::from_secs(300), Time::seconds(0, DAY);
        /// Who may send a message to everybody who is connected.
        broadcast: Vec<Who> = vec![Who::Role("admin".into())], People;
        /// Who may send a notification to another user.
        notify: Vec<Who> = vec![Who::Role("admin".into())], People;
        /// Who may make a room by request. Whether joining an absent room makes it, its namespace says.
        create_rooms: Vec<Who> = vec![Who::Anyone], People;
    }
}

section! {
    /// What is told about who is in a room.
    Presence {
        /// Most members that are named. A room with more is told their number only, at most once a
        /// second.
        max_members: usize = 1000, Count(1..=100_000);
        /// How long after its last connection a user is still shown in a room: who comes back within
        /// it has neither left nor joined.
        leave_delay: Duration = Duration::ZERO, Time::seconds(0, HOUR);
        /// Largest `info` that a member may show of itself, bytes of JSON.
        max_info_size: usize = 1024, Bytes(2..=65_536);
    }
}

section! {
    /// What holds for the rooms whose names match a pattern. Repeat `[[namespace]]` for several: the
    /// first that matches holds, and a room that none matches has the defaults.
    Namespace {
        /// Names of rooms. `*` stands for any run of characters and may stand anywhere.
        pattern: String = "*".into(), ROOM_PATTERN;
        /// What joining an absent room does. "on_demand": makes it. "api_only": is refused with
        /// `not_found`; rooms are made by request.
        create: Create = Create::OnDemand, Choice::<Create>::new();
        /// Most members of a room, unless the room says otherwise; a further one is refused with
        /// `room_full`. 0 = no limit.
        max_clients: u32 = 0, Count(0..=100_000_000);
        /// Let in only whom the room's access list names, unless the room says otherwise.
        private: bool = false, Switch;
        /// Messages of a room that are kept for those who come later. 0 = none.
        history_size: u32 = 100, Count(0..=1_000_000);
        /// For how long a message is kept. "0s" = as long as the room. In a persistent room
        /// `retention_age` says so instead.
        history_ttl: Duration = Duration::from_secs(600), Time::seconds(0, YEAR);
        /// Bytes of a room's messages that are kept. At least the largest message.
        history_bytes: usize = 1 << 20, Bytes(1024..=QUEUE_BYTES_MAX);
        /// Rooms and their messages outlive the process. Needs `store.path`.
        persist: bool = false, Switch;
        /// Messages of a persistent room that the store keeps. 0 = no bound by number.
        retention_messages: u64 = 10_000, Count(0u64..=1_000_000_000_000);
        /// For how long the store keeps a message. "0s" = no bound by age.
        retention_age: Duration = Duration::ZERO, Time::seconds(0, 100 * YEAR);
        /// Bytes of a persistent room's messages that the store keeps. 0 = no bound by bytes.
        retention_bytes: usize = 0, Bytes(0..=1 << 50);
        /// Rooms have presence at all.
        presence: bool = true, Switch;
        /// Presence says who joins and leaves; without, there are snapshots only.
        join_leave: bool = true, Switch;
        /// How long after its last member has left a room that is not persistent is removed.
        /// "0s" = never.
        cleanup_after: Duration = Duration::from_secs(60), Time::seconds(0, YEAR);
        /// Who may publish.
        publish: Vec<Who> = vec![Who::Member], People;
        /// Longest text of a chat, characters; a longer one is refused with `invalid_message`.
        /// 0 = as long as a message may be.
        max_content_chars: usize = 0, Count(0..=MESSAGE_BYTES_MAX);
        /// What becomes of control characters in the text of a chat, tab and line ends aside.
        /// "reject": refused with `invalid_message`.
        control_characters: ControlCharacters = ControlCharacters::Allow, Choice::<ControlCharacters>::new();
    }
}

section! {
    /// Whether and how authors hear what became of their messages.
    Delivery {
        /// Tell authors when their messages are delivered and read.
        enabled: bool = true, Switch;
        /// What counts as delivered. "pong": the answer to a ping that was sent behind the message.
        /// "ack": the client's own acknowledgement. "write": the kernel took the bytes.
        proof: DeliveryProof = DeliveryProof::Pong, Choice::<DeliveryProof>::new();
        /// Most recipients of which each one's state is told; where more are, their numbers are.
        max_recipients: usize = 50, Count(0..=1000);
        /// Send a user who comes back what was not delivered meanwhile, unless the client resumes on
        /// its own.
        replay_on_connect: bool = true, Switch;
        /// Least time between two pings that prove delivery to one connection.
        ping_interval: Duration = Duration::from_secs(1), Time::seconds(1, HOUR);
    }
}

section! {
    /// Remote procedures.
    Rpc {
        /// How long a procedure may take until its caller is told `timeout`.
        timeout: Duration = Duration::from_secs(10), Time::seconds(1, HOUR);
    }
}

section! {
    /// Pairings: two users are joined by a one-time code.
    Pairing {
        /// Characters of a code, of 31 that cannot be mistaken for one another.
        code_length: usize = 6, Count(6..=16);
        /// How long a code can be used, unless its request says less.
        expires_in: Duration = Duration::from_secs(600), Time::seconds(10, 7 * DAY);
        /// Most pairings of one user that wait for a partner; a further one is refused with
        /// `rate_limited` and the time until the first of them expires.
        max_pending_per_player: usize = 10, Count(1..=1000);
    }
}
