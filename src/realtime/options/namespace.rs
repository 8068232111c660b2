//! What holds for which rooms.

use std::time::Duration;

use crate::pattern::Pattern;
use crate::realtime::content::ContentOptions;
use crate::who::Who;

/// What holds for the rooms whose names match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Names of rooms: `*` stands for any run of characters, the empty one too, and may stand
    /// anywhere, as often as one likes; all else stands for itself.
    pub pattern: String,
    /// Whether joining an absent room makes it.
    pub create: Create,
    /// Most members of a room, unless it has a bound of its own; a further one is refused with
    /// `room_full`. 0: no limit.
    pub members_max: u32,
    /// Whether rooms let in only whom their access list names, unless they say otherwise.
    pub private: bool,
    /// What is kept of the messages of a room for those who come later.
    pub history: HistoryOptions,
    /// Whether rooms and their messages outlive the process. Needs a store.
    pub persist: bool,
    /// What the store keeps of the messages of a persistent room.
    pub retention: RetentionOptions,
    /// Whether rooms have presence at all.
    pub presence: bool,
    /// Whether presence says who joins and leaves. Without, there are snapshots only.
    pub join_leave: bool,
    /// How long after its last member has left a room that is not persistent is removed. Grain: one
    /// second. Zero: never.
    pub cleanup_after: Duration,
    /// Who may publish.
    pub publish: Vec<Who>,
    /// What a chat's text may be.
    pub content: ContentOptions,
}

/// Whether joining an absent room makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// It does.
    OnDemand,
    /// Rooms are made by request only; joining an absent one is refused with `not_found`.
    ApiOnly,
}

/// What is kept of a room's messages in memory. The oldest go first, whichever bound is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryOptions {
    /// Most messages. 0: no history, hence no offsets.
    pub size: u32,
    /// For how long a message is kept. Zero: as long as the room.
    pub ttl: Duration,
    /// Most bytes of messages.
    pub bytes: usize,
}

/// What the store keeps of a persistent room's messages. The oldest go first, whichever bound is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionOptions {
    /// Most messages. 0: no bound by number.
    pub messages: u64,
    /// For how long. Zero: no bound by age.
    pub age: Duration,
    /// Most bytes of messages. 0: no bound by bytes.
    pub bytes: u64,
}

impl Default for Namespace {
    fn default() -> Self {
        Self {
            pattern: "*".into(),
            create: Create::OnDemand,
            members_max: 0,
            private: false,
            history: HistoryOptions::default(),
            persist: false,
            retention: RetentionOptions::default(),
            presence: true,
            join_leave: true,
            cleanup_after: Duration::from_secs(60),
            publish: vec![Who::Member],
            content: ContentOptions::default(),
        }
    }
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self {
            size: 100,
            ttl: Duration::from_secs(10 * 60),
            bytes: 1 << 20,
        }
    }
}

impl Default for RetentionOptions {
    fn default() -> Self {
        Self {
            messages: 10_000,
            age: Duration::ZERO,
            bytes: 0,
        }
    }
}

/// Namespaces made ready to be asked for rooms.
#[derive(Clone, Debug)]
pub struct Namespaces {
    /// Never empty; the last one matches every name.
    list: Vec<(Pattern, Namespace)>,
}

impl Namespaces {
    /// Compiles the patterns, and adds [`Namespace::default`] for names that none matches.
    pub fn new(namespaces: &[Namespace]) -> Self {
        let all = namespaces.iter().cloned().chain([Namespace::default()]);
        Self {
            list: all.map(|n| (Pattern::new(&n.pattern), n)).collect(),
        }
    }

    /// The place of the first namespace whose pattern matches the room's name, for [`at`](Self::at).
    pub fn place(&self, room: &str) -> usize {
        self.list
            .iter()
            .position(|(pattern, _)| pattern.matches(room))
            .expect("the last pattern matches every name")
    }

    /// The namespace at a place. Panics if [`place`](Self::place) gave no such place.
    pub fn at(&self, place: usize) -> &Namespace {
        &self.list[place].1
    }

    /// The first namespace whose pattern matches the room's name.
    pub fn find(&self, room: &str) -> &Namespace {
        self.at(self.place(room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_namespace_that_matches_holds() {
        let named = |pattern: &str| Namespace {
            pattern: pattern.into(),
            private: true,
            ..Namespace::default()
        };
        let namespaces = Namespaces::new(&[named("team:*"), named("*:private"), named("team:a")]);
        for (room, pattern) in [
            ("team:a", "team:*"),
            ("team:a:private", "team:*"),
            ("x:private", "*:private"),
        ] {
            assert_eq!(namespaces.find(room), &named(pattern), "{room}");
            assert_eq!(namespaces.at(namespaces.place(room)), namespaces.find(room));
        }
        assert_eq!(namespaces.find("elsewhere"), &Namespace::default());
        assert_eq!(Namespaces::new(&[]).find(""), &Namespace::default());
    }
}
