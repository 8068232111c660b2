//! The tables of all options, by subject. One entry gives the field, its default, its bounds and its
//! text: the parser, the checks, `campanile default-config` and docs/CONFIGURATION.md all read it there.
//!
//! Deadlines have a grain of one second: a shard keeps them in a coarse timer wheel.

use super::kind::{Kind, Raw, Word};
use super::reload::Changes;

/// Largest message that may be configured, bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Largest queue or window that may be configured, bytes.
pub const QUEUE_BYTES_MAX: usize = 1 << 30;

/// Seconds of an hour.
const HOUR: u64 = 3600;
/// Seconds of a day.
const DAY: u64 = 24 * HOUR;
/// Seconds of a year of 365.25 days, as durations are written.
const YEAR: u64 = 31_557_600;
/// Highest rate and burst that may be configured: beyond any client's reach.
const RATE_MAX: u32 = 1_000_000;

/// A file or a folder. "" = none.
const PATH: Word = Word {
    bytes: 0..=1024,
    what: "a path without control characters",
    fits: |path| !path.contains(char::is_control),
};

/// What is known of an option beside its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// Name inside its section.
    pub(super) key: &'static str,
    /// What it does; lines of plain Markdown.
    pub(super) doc: &'static [&'static str],
    /// Unit and range in words.
    pub(super) expected: fn() -> String,
}

/// A section of the configuration, seen by the names of its options.
pub(super) trait Section {
    /// What the section is about; lines of plain Markdown.
    fn about(&self) -> &'static [&'static str];
    /// Its options, in the order of the table.
    fn entries(&self) -> &'static [Entry];
    /// Sets one option. `None`: no such option. The error says what was expected.
    fn set(&mut self, key: &str, raw: &Raw) -> Option<Result<(), String>>;
    /// Writes one option's value as TOML. `None`: no such option.
    fn show(&self, key: &str) -> Option<String>;
    /// Holds one option's value against its bounds. `None`: no such option.
    fn check(&self, key: &str) -> Option<Result<(), String>>;
}

/// A section that can be loaded again.
pub(super) trait Reload {
    /// Takes back from `old` what has changed and waits for a restart. `section` is the name.
    fn hold_back(&mut self, old: &Self, section: &str, changes: &mut Changes);
}

macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $kind:expr; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!("Default: `", stringify!($default), "`. Bounds: `", stringify!($kind), "`.")]
                pub $key: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl Reload for $name {
            fn hold_back(&mut self, old: &Self, section: &str, changes: &mut Changes) {
                $(
                    let differs = self.$key != old.$key;
                    if differs && changes.note(format!("{section}.{}", stringify!($key))) {
                        self.$key = old.$key.clone();
                    }
                )+
            }
        }

        impl Section for $name {
            fn about(&self) -> &'static [&'static str] {
                &[$($about),+]
            }

            fn entries(&self) -> &'static [Entry] {
                &[$(Entry {
                    key: stringify!($key),
                    doc: &[$($doc),+],
                    expected: || $kind.expected(),
                }),+]
            }

            fn set(&mut self, key: &str, raw: &Raw) -> Option<Result<(), String>> {
                match key {
                    $(stringify!($key) => Some($kind.take(raw).map(|value| self.$key = value)),)+
                    _ => None,
                }
            }

            fn show(&self, key: &str) -> Option<String> {
                match key {
                    $(stringify!($key) => Some($kind.write(&self.$key)),)+
                    _ => None,
                }
            }

            fn check(&self, key: &str) -> Option<Result<(), String>> {
                match key {
                    $(stringify!($key) => Some($kind.check(&self.$key)),)+
                    _ => None,
                }
            }
        }
    };
}

mod access;
mod house;
mod limits;
mod listeners;
mod rooms;

pub use access::{AdminAccess, Api, ApiKey, Auth, AuthKey, Jwt, Origins};
pub use house::{Log, Shutdown, Store};
pub use limits::{Compression, Heartbeat, Limits};
pub use listeners::{Certificate, DEFAULT_ADMIN_PORT, DEFAULT_PORT, Route, Server, Tls};
pub use rooms::{Delivery, Messaging, Namespace, Pairing, Presence, Rpc};
