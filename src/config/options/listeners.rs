//! Where the server listens, and what its paths are.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::{Changes, DAY, Entry, Kind, MESSAGE_BYTES_MAX, PATH, Raw, Reload, Section};
use crate::config::kind::{Bytes, Choice, Count, Switch, Time, Word};
use crate::config::network::{Addresses, Networks};
use crate::config::words::{Io, Profile, ProxyProtocol, TlsVersion};
use crate::limits::{CONNECTIONS_PER_SHARD_MAX, SHARDS_MAX, TOPIC_BYTES_MAX};

/// Port that is listened on when none is named.
pub const DEFAULT_PORT: u16 = 8080;
/// Port of the admin listener when none is named.
pub const DEFAULT_ADMIN_PORT: u16 = 9090;

/// How a route's path ends if it names the room.
const ROOM_TEMPLATE: &str = "/{room_id}";

const ROUTE_PATH: Word = Word {
    bytes: 1..=256,
    what: "a path that begins with \"/\", of ASCII letters, digits and any of -._~/, which may end in \
           \"/{room_id}\"",
    fits: |path| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        let fixed = path.strip_suffix(ROOM_TEMPLATE);
        fixed.unwrap_or(path).chars().all(plain) && path.starts_with('/')
    },
};

const ROOM_NAME: Word = Word {
    bytes: 0..=TOPIC_BYTES_MAX,
    what: "a name without control characters",
    fits: |name| !name.contains(char::is_control),
};

section! {
    /// Where the server listens and how many threads it runs.
    Server {
        /// Addresses to listen on. One that is not loopback needs a way to tell who connects:
        /// `auth.jwt.secret` (or another key), `auth.jwt.jwks_url` or `auth.session_url`; or the word
        /// `auth.allow_guests = true` or `auth.mode = "trust"` that nobody is asked.
        listen: Vec<SocketAddr> = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT))], Addresses(1);
        /// Addresses of the admin listener: metrics, dashboard, server API and health. One that is not
        /// loopback needs `admin.token`. [] = no such listener.
        admin_listen: Vec<SocketAddr> =
            vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_ADMIN_PORT))], Addresses(0);
        /// Shards: threads that serve connections, one core each.
        /// 0 = one for each core that the process may use.
        shards: usize = 0, Count(0..=SHARDS_MAX);
        /// What the kernel is asked by. "auto" is "io_uring" in this version.
        io: Io = Io::Auto, Choice::<Io>::new();
        /// Most connections of one shard; further ones are refused with 503.
        /// 0 = as many as RLIMIT_NOFILE and the kernel allow.
        max_connections_per_shard: usize = 0, Count(0..=CONNECTIONS_PER_SHARD_MAX);
        /// Networks of reverse proxies. Only what comes from them may say who the client is, by
        /// `Forwarded`, `X-Forwarded-For`, `-Proto`, `-Host` (read from right to left) or the PROXY protocol.
        trusted_proxies: Vec<IpNet> = Vec::new(), Networks;
        /// Whether connections to `server.listen` and `tls.listen` begin with a PROXY protocol header.
        /// "off": never. "v1v2": those from `server.trusted_proxies` must, in either version; others are
        /// closed.
        proxy_protocol: ProxyProtocol = ProxyProtocol::Off, Choice::<ProxyProtocol>::new();
        /// Log a line for each connection and message (RUST_LOG overrides).
        verbose_logging: bool = false, Switch;
    }
}

section! {
    /// A path that takes WebSocket upgrades. Repeat `[[route]]` for several; routes in a file
    /// replace the four that exist without them.
    Route {
        /// Request path, compared byte by byte, without a query. A path that ends in `/{room_id}`
        /// takes any last segment, which is then the room; paths without it count before those.
        path: String = "/ws".into(), ROUTE_PATH;
        /// How messages are laid out on the wire, unless the client asks for another profile.
        profile: Profile = Profile::Flat, Choice::<Profile>::new();
        /// Room that a connection joins when it opens. "" = none, or the one that the path names.
        room: String = String::new(), ROOM_NAME;
        /// Tell a connection who is in its rooms, unless it asks for the contrary.
        presence: bool = true, Switch;
        /// Largest message from a client on this path, bytes after decompression; a larger one
        /// closes the connection with 1009. 0 = `limits.max_message_size`.
        max_message_size: usize = 0, Bytes(0..=MESSAGE_BYTES_MAX);
    }
}

impl Route {
    /// The routes that are there when no file has others.
    pub fn defaults() -> Vec<Self> {
        let route = |path: &str, profile, room: &str, presence| Self {
            path: path.into(),
            profile,
            room: room.into(),
            presence,
            ..Self::default()
        };
        vec![
            route("/api/v1/ws", Profile::Message, "", false),
            route("/ws/{room_id}", Profile::Room, "", true),
            route("/ws", Profile::Flat, "lobby", true),
            route("/v1/connect", Profile::V1, "", false),
        ]
    }

    /// Whether the path names the room.
    pub fn is_template(&self) -> bool {
        self.path.ends_with(ROOM_TEMPLATE)
    }
}

section! {
    /// TLS (1.2 and 1.3, by rustls), for clients that connect to the server itself and not to a proxy.
    Tls {
        /// Addresses to listen on for `wss://` and `https://`. Needs a `[[tls.certificate]]`. [] = no TLS.
        listen: Vec<SocketAddr> = Vec::new(), Addresses(0);
        /// Oldest version that is spoken.
        min_version: TlsVersion = TlsVersion::Tls12, Choice::<TlsVersion>::new();
        /// How often the files of certificates are looked at for a change; SIGHUP does it at once.
        /// "0s" = at SIGHUP only.
        reload_interval: Duration = Duration::from_secs(60), Time::seconds(0, DAY);
    }
}

section! {
    /// A certificate and its key, PEM files. Repeat `[[tls.certificate]]` for several: a client gets the
    /// one that fits the name it asks for, or else the first.
    Certificate {
        /// The certificate and those between it and its authority, in this order.
        certificate: String = String::new(), PATH;
        /// Its private key (PKCS #8, PKCS #1 or SEC 1). Readable by the server alone, best.
        key: String = String::new(), PATH;
    }
}
