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
mod load;
mod options;
mod suggest;
mod validate;

use std::fmt;
use std::path::PathBuf;

pub use document::{default_toml, reference};
pub use load::{Flag, Sources, load};
pub use options::{
    Auth, AuthMode, Compression, DEFAULT_PORT, Heartbeat, Limits, MESSAGE_BYTES_MAX, Messaging,
    OnUserLimit, Origins, Profile, QUEUE_BYTES_MAX, Route, Server, Shutdown, SlowPolicy,
};

use options::Section;

/// Most routes of one server.
pub const ROUTES_MAX: usize = 256;

macro_rules! config {
    ($($(#[doc = $doc:literal])+ $section:ident: $type:ty,)+) => {
        /// Every option of the server.
        ///
        /// Built in code, it may hold values that [`Config::validate`] refuses.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $section: $type,)+
            /// Paths that take upgrades: 1 to [`ROUTES_MAX`], no path twice.
            pub route: Vec<Route>,
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($section: <$type>::default(),)+ route: vec![Route::default()] }
            }
        }

        /// Sections that stand once, in the order of the documentation.
        const SECTIONS: &[&str] = &[$(stringify!($section)),+];

        impl Config {
            fn section(&self, name: &str) -> Option<&dyn Section> {
                match name {
                    $(stringify!($section) => Some(&self.$section),)+
                    _ => None,
                }
            }

            fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
                match name {
                    $(stringify!($section) => Some(&mut self.$section),)+
                    _ => None,
                }
            }
        }
    };
}

config! {
    /// Where the server listens and how many threads it runs.
    server: Server,
    /// Who is let in.
    auth: Auth,
    /// Which web pages may connect.
    origin: Origins,
    /// How a dead or silent peer is found.
    heartbeat: Heartbeat,
    /// What one peer, and all together, may take.
    limits: Limits,
    /// How messages reach subscribers.
    messaging: Messaging,
    /// permessage-deflate.
    compression: Compression,
    /// How the process ends.
    shutdown: Shutdown,
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
