//! Configuration: typed options, where they come from, and what is wrong with them.
//!
//! Sources in rising order of weight: defaults, a TOML file, `CAMPANILE_SECTION__KEY` variables,
//! flags. Everything that is wrong is listed at once, each with its source, line and key; an option
//! that does not exist is wrong, too. [`load`] reads nothing itself: it is a function of texts.
//!
//! ```
//! use campanile::config::{Config, Sources, load};
//!
//! let sources = Sources {
//!     file: Some(("campanile.toml".into(), "[limits]\nmax_message_size = \"64KiB\"".into())),
//!     environment: vec![("CAMPANILE_SERVER__SHARDS".into(), "2".into())],
//!     ..Sources::default()
//! };
//! let config = load(&sources).unwrap();
//! assert_eq!(config.limits.max_message_size, 65_536);
//! assert_eq!(config.server.shards, 2);
//!
//! let sources = Sources { file: Some(("x.toml".into(), "[server]\nshard = 2".into())), ..Sources::default() };
//! let problems = load(&sources).unwrap_err();
//! assert_eq!(
//!     problems[0].to_string(),
//!     "x.toml:2: server.shard: unknown option; did you mean \"shards\"?",
//! );
//! ```
#![forbid(unsafe_code)]

mod document;
mod file;
mod kind;
mod lists;
mod load;
mod network;
mod options;
mod planned;
mod reload;
mod secret;
mod suggest;
mod validate;
mod words;

use std::fmt;
use std::path::PathBuf;

pub use document::{default_toml, reference};
pub use load::{Flag, Sources, load, load_and_check};
pub use options::{
    AdminAccess, Api, ApiKey, Auth, AuthKey, Certificate, Compression, DEFAULT_ADMIN_PORT,
    DEFAULT_PORT, Delivery, Heartbeat, Jwt, Limits, Log, MESSAGE_BYTES_MAX, Messaging, Namespace,
    Origins, Pairing, Presence, QUEUE_BYTES_MAX, Route, Rpc, Server, Shutdown, Store, Tls,
};
pub use reload::Reloaded;
pub use secret::{Secret, is_key};
pub use words::{
    Algorithm, AuthMode, ControlCharacters, Create, DeliveryProof, Io, OnUserLimit, OriginRequire,
    PlainText, Profile, ProxyProtocol, Scope, SlowPolicy, Source, Synchronous, TlsVersion,
};

use options::{Reload, Section};

/// Most routes of one server.
pub const ROUTES_MAX: usize = 256;
/// Most namespaces of one server: a room's is looked for from the first to the last.
pub const NAMESPACES_MAX: usize = 256;

/// Most certificates of one server.
pub const CERTIFICATES_MAX: usize = 256;
/// Most keys that tokens are verified with, beside those of a key set.
pub const AUTH_KEYS_MAX: usize = 64;
/// Most keys of the HTTP API.
pub const API_KEYS_MAX: usize = 256;

/// A section that may stand several times, `[[name]]`.
#[derive(Debug)]
struct Table {
    name: &'static str,
    /// Most of them.
    count_max: usize,
    /// The section behind which it stands in the documentation.
    after: &'static str,
}

/// The name of a section as it stands between its brackets.
macro_rules! name {
    ($head:ident $(. $rest:ident)*) => {
        concat!(stringify!($head) $(, ".", stringify!($rest))*)
    };
}

macro_rules! config {
    (
        once {
            $($(#[doc = $doc:literal])+ [$($name:ident).+] $section:ident: $type:ty,)+
        }
        often {
            $(
                $(#[doc = $table_doc:literal])+
                [[$($table_name:ident).+]] $table:ident: $element:ty, at most $most:expr,
                    after [$($after:ident).+], else $defaults:expr;
            )+
        }
    ) => {
        /// Every option of the server.
        ///
        /// Built in code, it may hold values that [`Config::validate`] refuses.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $section: $type,)+
            $($(#[doc = $table_doc])+ pub $table: Vec<$element>,)+
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($section: <$type>::default(),)+ $($table: $defaults,)+ }
            }
        }

        /// Sections that stand once, in the order of the documentation.
        const SECTIONS: &[&str] = &[$(name!($($name).+)),+];

        /// Sections that may stand several times.
        const TABLES: &[Table] = &[$(Table {
            name: name!($($table_name).+),
            count_max: $most,
            after: name!($($after).+),
        }),+];

        impl Config {
            fn section(&self, name: &str) -> Option<&dyn Section> {
                match name {
                    $(name!($($name).+) => Some(&self.$section),)+
                    _ => None,
                }
            }

            fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
                match name {
                    $(name!($($name).+) => Some(&mut self.$section),)+
                    _ => None,
                }
            }

            /// Takes back from `old` what has changed and waits for a restart.
            fn hold_back(&mut self, old: &Self, changes: &mut reload::Changes) {
                $(self.$section.hold_back(&old.$section, name!($($name).+), changes);)+
                $(
                    let differs = self.$table != old.$table;
                    if differs && changes.note(name!($($table_name).+).into()) {
                        self.$table.clone_from(&old.$table);
                    }
                )+
            }

            /// The sections of one of [`TABLES`].
            fn table(&self, name: &str) -> Vec<&dyn Section> {
                match name {
                    $(name!($($table_name).+) => self.$table.iter().map(|s| s as &dyn Section).collect(),)+
                    _ => unreachable!("{name} is in no table"),
                }
            }

            /// Empties one of [`TABLES`].
            fn clear(&mut self, name: &str) {
                match name {
                    $(name!($($table_name).+) => self.$table.clear(),)+
                    _ => unreachable!("{name} is in no table"),
                }
            }

            /// Appends a section with its defaults to one of [`TABLES`]. Its place and itself.
            fn append(&mut self, name: &str) -> (usize, &mut dyn Section) {
                match name {
                    $(name!($($table_name).+) => {
                        let place = self.$table.len();
                        self.$table.push(<$element>::default());
                        (place, &mut self.$table[place])
                    })+
                    _ => unreachable!("{name} is in no table"),
                }
            }
        }
    };
}

config! {
    once {
        /// Where the server listens and how many threads it runs.
        [server] server: Server,
        /// TLS.
        [tls] tls: Tls,
        /// Who is let in.
        [auth] auth: Auth,
        /// What tokens are verified with and must say.
        [auth.jwt] jwt: Jwt,
        /// Which web pages may connect.
        [origin] origin: Origins,
        /// How a dead or silent peer is found.
        [heartbeat] heartbeat: Heartbeat,
        /// What one peer, and all together, may take.
        [limits] limits: Limits,
        /// How messages reach subscribers, and who may send them.
        [messaging] messaging: Messaging,
        /// What is told about who is in a room.
        [presence] presence: Presence,
        /// Whether and how authors hear what became of their messages.
        [delivery] delivery: Delivery,
        /// Remote procedures.
        [rpc] rpc: Rpc,
        /// Where persistent rooms and their messages are kept.
        [store] store: Store,
        /// Pairings.
        [pairing] pairing: Pairing,
        /// The HTTP API.
        [api] api: Api,
        /// The admin listener.
        [admin] admin: AdminAccess,
        /// permessage-deflate.
        [compression] compression: Compression,
        /// What is written down.
        [log] log: Log,
        /// How the process ends.
        [shutdown] shutdown: Shutdown,
    }
    often {
        /// Paths that take upgrades: 1 to [`ROUTES_MAX`], no path twice.
        [[route]] route: Route, at most ROUTES_MAX,
            after [server], else Route::defaults();
        /// Certificates, at most [`CERTIFICATES_MAX`].
        [[tls.certificate]] certificate: Certificate, at most CERTIFICATES_MAX,
            after [tls], else Vec::new();
        /// Keys that tokens are verified with, at most [`AUTH_KEYS_MAX`].
        [[auth.key]] auth_key: AuthKey, at most AUTH_KEYS_MAX,
            after [auth.jwt], else Vec::new();
        /// What holds for which rooms: at most [`NAMESPACES_MAX`], the first that matches holds.
        [[namespace]] namespace: Namespace, at most NAMESPACES_MAX,
            after [presence], else vec![Namespace::default()];
        /// Keys of the HTTP API, at most [`API_KEYS_MAX`], no name twice.
        [[api.key]] api_key: ApiKey, at most API_KEYS_MAX,
            after [api], else Vec::new();
    }
}

impl Config {
    /// Largest message on `route`, bytes: its own limit, or the general one.
    pub fn max_message_size(&self, route: &Route) -> usize {
        match route.max_message_size {
            0 => self.limits.max_message_size,
            own => own,
        }
    }

    /// Largest message on any route, bytes.
    pub fn largest_message_size(&self) -> usize {
        let sizes = self.route.iter().map(|route| self.max_message_size(route));
        sizes.max().unwrap_or(self.limits.max_message_size)
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File, variable or flag; `configuration` for what was built in code, `defaults` for what
    /// nobody set.
    pub source: String,
    /// Line in a file, from 1.
    pub line: Option<usize>,
    /// The option as `section.key`, or as much of it as makes sense; may be empty.
    pub key: String,
    /// What was expected and what was found.
    pub message: String,
}

impl fmt::Display for Problem {
    /// `campanile.toml:12: limits.max_message_size: expected bytes 1..=67108864, found "big"`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Problem {}

/// Where a configuration came from, for the first line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No file was named, or development mode was asked for.
    Development,
    /// This file.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Development => f.write_str("development mode"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}
