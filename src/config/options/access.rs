//! Who is let in, by what proof, and what they may ask for.

use std::time::Duration;

use super::{Changes, DAY, Entry, HOUR, Kind, PATH, RATE_MAX, Raw, Reload, Section};
use crate::config::kind::{Bytes, Choice, Count, Switch, Time, Word};
use crate::config::lists::{Choices, OriginList, Texts};
use crate::config::network::Url;
use crate::config::secret::{KeyText, Secret, SecretText};
use crate::config::words::{Algorithm, AuthMode, OriginRequire, Scope, Source};

/// Shortest secret of an HMAC, bytes: the size of the hash of HS256. Source: RFC 7518 section 3.2.
const HMAC_SECRET_BYTES_MIN: usize = 32;
/// Shortest key of the server API, and of the admin listener, bytes.
const TOKEN_BYTES_MIN: usize = 16;

const HMAC_SECRET: SecretText = SecretText {
    bytes: HMAC_SECRET_BYTES_MIN..=4096,
    hint: "RFC 7518 section 3.2 wants at least as many as the hash has; `openssl rand -base64 48` makes one",
};

const BEARER: SecretText = SecretText {
    bytes: TOKEN_BYTES_MIN..=1024,
    hint: "`openssl rand -base64 32` makes one",
};

/// What a session's answer may take: somebody waits at the door meanwhile.
const SESSION_TIME: Time = Time(Duration::from_millis(100)..=Duration::from_secs(60));

/// A cookie's name, RFC 6265 section 4.1.1.
const COOKIE_NAME: Word = Word {
    bytes: 1..=256,
    what: "a name of ASCII letters, digits and any of !#$%&'*+-.^_`|~",
    fits: |name| {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        name.chars().all(is_token)
    },
};

const CLAIM: Word = Word {
    bytes: 1..=256,
    what: "a claim's name without control characters",
    fits: |name| !name.contains(char::is_control),
};

const SHORT_TEXT: Word = Word {
    bytes: 0..=1024,
    what: "a text without control characters",
    fits: |text| !text.contains(char::is_control),
};

const NAME: Word = Word {
    bytes: 0..=64,
    what: "a name of ASCII letters, digits and any of -._",
    fits: |name| {
        name.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
    },
};

section! {
    /// Who is let in.
    Auth {
        /// "auto": "required" if a key of tokens, `auth.jwt.jwks_url` or `auth.session_url` is set, else
        /// "optional".
        /// "required": who shows no valid token or session is refused with 401 before the upgrade.
        /// "first_message": who shows none must send `authentication` first, within `auth.timeout`.
        /// "optional": who shows none is a guest with a generated user id; a bad one is refused.
        /// "trust": `?user_id=`, `?player_id=`, `X-User-Id` and `?roles=` are believed. Anybody can then be
        /// anybody: for development only.
        mode: AuthMode = AuthMode::Auto, Choice::<AuthMode>::new();
        /// Let guests in on addresses that are not loopback where nobody is asked who they are.
        allow_guests: bool = false, Switch;
        /// Where a token is looked for. "header": `Authorization: Bearer`. "subprotocol": `bearer.<token>`,
        /// or `bearer` and the token, as a browser can send it. "cookie": the one called
        /// `auth.cookie_name`. "query": `?token=`, which leaks into the logs of proxies.
        sources: Vec<Source> = vec![Source::Header, Source::Subprotocol, Source::Cookie],
            Choices::<Source>::new();
        /// Name of the cookie that holds a token; with `auth.session_url`, of the session's cookie, by which
        /// those with a session are told from guests.
        cookie_name: String = "campanile_token".into(), COOKIE_NAME;
        /// Whose session a cookie is, is asked here (no cookie is a token then): a GET with the request's
        /// `Cookie` header, answered with 200 and `{"user":{"id":…}}` if the session is good. "" = nowhere.
        session_url: String = String::new(), Url;
        /// How long that answer may take.
        session_timeout: Duration = Duration::from_secs(5), SESSION_TIME;
        /// Deadline of the first message in mode "first_message"; then the connection is closed with 4408.
        timeout: Duration = Duration::from_secs(10), Time::seconds(1, HOUR);
        /// How long before its token expires a connection is told.
        expiry_notice: Duration = Duration::from_secs(30), Time::seconds(0, DAY);
        /// How long after its token has expired a connection may still send a new one; then it is closed
        /// with 4401.
        expiry_grace: Duration = Duration::from_secs(25), Time::seconds(0, DAY);
        /// How often it is looked whether a connection's token or session still holds. "0s" = never.
        revalidate_interval: Duration = Duration::from_secs(300), Time::seconds(0, DAY);
    }
}

section! {
    /// JSON Web Tokens: what they are verified with and must say. In a file it may be written in one
    /// line, too: `jwt = { secret = "…" }` under `[auth]`.
    Jwt {
        /// Secret of HS256, HS384 and HS512. "" = none.
        secret: Secret = Secret::default(), HMAC_SECRET;
        /// File that holds the secret instead, without the line end at its end. "" = none.
        secret_file: String = String::new(), PATH;
        /// Public key of the other algorithms: PEM, a JSON Web Key, or a file that holds either.
        /// "" = none. Several keys are `[[auth.key]]`s.
        public_key: String = String::new(), KeyText;
        /// Where a JSON Web Key Set is fetched. "" = nowhere.
        jwks_url: String = String::new(), Url;
        /// How often it is fetched again. A token of an unknown key has it fetched at once, at most every
        /// ten seconds.
        jwks_refresh: Duration = Duration::from_secs(600), Time::seconds(10, 7 * DAY);
        /// Algorithms that `secret`, `public_key` and the keys of `jwks_url` are used with. A token of any
        /// other is refused.
        algorithms: Vec<Algorithm> = vec![Algorithm::HS256], Choices::<Algorithm>::new();
        /// `iss` that a token must have. "" = any, or none.
        issuer: String = String::new(), SHORT_TEXT;
        /// One of these must be a token's `aud`, or among them. [] = any, or none.
        audience: Vec<String> = Vec::new(), Texts(SHORT_TEXT);
        /// Claim that holds the user id, a string or an integer.
        user_id_claim: String = "sub".into(), CLAIM;
        /// Claim that holds the roles, a list of strings or one string with spaces.
        roles_claim: String = "roles".into(), CLAIM;
        /// How far the clocks of others may be wrong, for `exp` and `nbf`.
        leeway: Duration = Duration::from_secs(30), Time::seconds(0, 600);
        /// Longest token, bytes; a longer one is refused unread.
        max_token_size: usize = 8192, Bytes(256..=65_536);
    }
}

section! {
    /// One more key that tokens are verified with. Repeat `[[auth.key]]` for several: a new key stands
    /// beside the old one until the last token of the old one has expired.
    AuthKey {
        /// `kid` of the tokens that it verifies. "" = it is tried for all of its algorithm.
        id: String = String::new(), SHORT_TEXT;
        /// The one algorithm that it is used with.
        algorithm: Algorithm = Algorithm::HS256, Choice::<Algorithm>::new();
        /// Secret, for HS256, HS384 and HS512.
        secret: Secret = Secret::default(), HMAC_SECRET;
        /// Public key, for the others: PEM, a JSON Web Key, or a file that holds either.
        public_key: String = String::new(), KeyText;
    }
}

section! {
    /// Which web pages may connect. Browsers name the page's origin; other clients need not.
    Origins {
        /// "same-origin": pages whose scheme, host and port are those of the request. An exact origin
        /// such as `https://example.com`. "https://*.example.com": all hosts below that one. "null":
        /// pages in a sandbox or from a file. "*": any page at all. Others are refused with 403.
        allowed: Vec<String> = vec!["same-origin".into()], OriginList;
        /// Which requests must name an origin. "auto": those on routes whose path names the room.
        /// "always": all. "never": none but those with a
        /// cookie that says who it is. One that is named must be allowed, always.
        require: OriginRequire = OriginRequire::Auto, Choice::<OriginRequire>::new();
    }
}

section! {
    /// The HTTP API.
    Api {
        /// For how long an `Idempotency-Key` is remembered with its answer.
        idempotency_window: Duration = Duration::from_secs(600), Time::seconds(1, DAY);
        /// Largest body of a request, bytes; a larger one is answered 413.
        max_body_size: usize = 64 << 10, Bytes(1024..=64 << 20);
        /// Requests a second of one caller, on the long run; what is over is answered 429. 0 = no limit.
        requests_per_second: u32 = 0, Count(0..=RATE_MAX);
    }
}

section! {
    /// A key of a server that calls the HTTP API, sent as `Authorization: Bearer`. Repeat `[[api.key]]`
    /// for several.
    ApiKey {
        /// What it is called in logs.
        name: String = String::new(), NAME;
        /// The key itself.
        key: Secret = Secret::default(), BEARER;
        /// What it may do. "publish": publish, broadcast, send to users. "users": see and disconnect them.
        /// "rooms": make, change and remove rooms. "admin": revoke tokens, and
        /// what only operators see. No scope stands for another: name each that it needs.
        scopes: Vec<Scope> = vec![Scope::Publish], Choices::<Scope>::new();
    }
}

section! {
    /// The admin listener, `server.admin_listen`.
    AdminAccess {
        /// What its callers must send as `Authorization: Bearer`. "" = nothing; then it must be loopback.
        token: Secret = Secret::default(), BEARER;
    }
}
