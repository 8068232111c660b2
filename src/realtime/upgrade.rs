//! Who is let in, and as what: pure functions of a request head and the options.

use http::StatusCode;

use super::protocol::Profile;
use super::{OriginRule, RealtimeOptions, Roles, Route};
use crate::http::{Head, Refusal, percent_decode};
use crate::limits::{TOPIC_BYTES_MAX, USER_ID_BYTES_MAX};

/// What an upgrade asks for, once nothing speaks against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Admission {
    /// The place of the route in the options.
    pub(super) route: u16,
    pub(super) profile: Profile,
    /// The room to join when the connection opens: 1 to [`TOPIC_BYTES_MAX`] bytes.
    pub(super) room: Option<String>,
    /// Whether the connection is told who is in its rooms, unless it asks for the contrary.
    pub(super) presence: bool,
    /// The user whom the request names and who is believed; `None`: a guest.
    pub(super) user: Option<String>,
    pub(super) roles: Roles,
    /// The client takes arrays of envelopes.
    pub(super) batch: bool,
    /// The subprotocol to confirm: the one that chose the profile.
    pub(super) subprotocol: Option<&'static str>,
}

/// Lets a request in, or says why not.
///
/// Errors: 404 `not_found` for a path without a route; 403 `forbidden` for an origin; 400
/// `invalid_room_id`, `invalid_profile`, `invalid_user_id`, `invalid_roles` and `invalid_batch`; 400
/// for a field or parameter that stands twice or cannot be decoded.
pub(super) fn admit(head: &Head<'_>, options: &RealtimeOptions) -> Result<Admission, Refusal> {
    let (place, room) = route(head.path(), &options.routes)?;
    let route = &options.routes[usize::from(place)];
    check_origin(head, options, room.is_some())?;
    let room = match room {
        Some(segment) => Some(room_of_path(segment)?),
        None => route.room.clone(),
    };
    let subprotocol = subprotocol(head);
    let (user, roles) = if options.trust_user_ids {
        (user(head)?, roles(head)?)
    } else {
        (None, Roles::default())
    };
    Ok(Admission {
        route: place,
        profile: profile(head, subprotocol, route)?,
        room,
        presence: route.presence,
        user,
        roles,
        batch: batch(head)?,
        subprotocol,
    })
}

fn bad_request(code: &'static str, error: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, error)
}

/// The place of the route for a path and, if its path names the room, the segment that does. A path
/// that is written out counts before a template, whatever their order.
fn route<'p>(path: &'p str, routes: &[Route]) -> Result<(u16, Option<&'p str>), Refusal> {
    let exact = || {
        let place = routes
            .iter()
            .position(|r| !r.is_template() && r.path == path);
        place.map(|place| (place, None))
    };
    let template = || {
        let mut matches = routes.iter().map(|r| r.room_segment(path)).enumerate();
        matches.find(|(_, segment)| segment.is_some())
    };
    exact()
        .or_else(template)
        .and_then(|(place, segment)| Some((u16::try_from(place).ok()?, segment)))
        .ok_or_else(|| {
            let error = "there is no WebSocket endpoint under this path";
            Refusal::new(StatusCode::NOT_FOUND, "not_found", error)
        })
}

/// The room that a segment of the path names.
///
/// `.` and `..` are refused, also with escapes: clients take them for steps in the path, so that
/// some could never reach such a room.
fn room_of_path(segment: &str) -> Result<String, Refusal> {
    let room = percent_decode(segment)?;
    let is_name = (1..=TOPIC_BYTES_MAX).contains(&room.len()) && !room.contains(char::is_control);
    if !is_name || room == "." || room == ".." {
        let error = "the path names no room: its name is empty, too long, a dot segment or has \
                     control characters";
        return Err(bad_request("invalid_room_id", error).detail("limit", TOPIC_BYTES_MAX));
    }
    Ok(room.into_owned())
}

/// The first known subprotocol among those offered. What carries a token is none.
fn subprotocol(head: &Head<'_>) -> Option<&'static str> {
    head.tokens("sec-websocket-protocol").find_map(|offered| {
        Profile::ALL
            .map(subprotocol_of)
            .into_iter()
            .find(|s| *s == offered)
    })
}

/// The subprotocol that names a profile.
const fn subprotocol_of(profile: Profile) -> &'static str {
    match profile {
        Profile::V1 => "campanile.v1",
        Profile::Room => "campanile.room.v1",
        Profile::Message => "campanile.message.v1",
        Profile::Flat => "campanile.flat.v1",
    }
}

/// The profile: that of the subprotocol, else of `?profile=`, else of the route. What is not needed
/// is not looked at.
fn profile(head: &Head<'_>, subprotocol: Option<&str>, route: &Route) -> Result<Profile, Refusal> {
    let chosen = Profile::ALL
        .into_iter()
        .find(|profile| subprotocol == Some(subprotocol_of(*profile)));
    if let Some(profile) = chosen {
        return Ok(profile);
    }
    match head.query_param("profile")? {
        None => Ok(route.profile),
        Some(name) => Profile::from_name(&name).ok_or_else(|| {
            let error = "expected the profile v1, room, message or flat";
            bad_request("invalid_profile", error)
        }),
    }
}

/// Whether the client takes arrays: `?batch=1`. Not, without the parameter and with 0.
fn batch(head: &Head<'_>) -> Result<bool, Refusal> {
    match head.query_param("batch")?.as_deref() {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(bad_request("invalid_batch", "expected batch=0 or batch=1")),
    }
}

/// Checks the `Origin` of a request. A missing one is refused where the options demand it.
fn check_origin(
    head: &Head<'_>,
    options: &RealtimeOptions,
    path_names_room: bool,
) -> Result<(), Refusal> {
    let forbidden = |error| Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", error));
    let Some(origin) = head.only_header("origin")? else {
        let is_required = match options.origin_rule {
            OriginRule::Auto => path_names_room,
            OriginRule::Always => true,
            OriginRule::Never => false,
        };
        if is_required {
            return forbidden("a request for this path must name its Origin");
        }
        return Ok(());
    };
    let host = head.only_header("host")?.unwrap_or_default();
    let is_allowed = options
        .allowed_origins
        .iter()
        .any(|allowed| match &allowed[..] {
            "*" => true,
            "same-origin" => is_same_origin(origin, host),
            listed => is_listed(listed, origin),
        });
    if is_allowed {
        return Ok(());
    }
    forbidden("the page's origin is not allowed here")
}

/// Whether an origin is the one listed or, if that is `scheme://*.domain`, of a host below it.
fn is_listed(listed: &str, origin: &str) -> bool {
    let Some((scheme, domain)) = listed.split_once("://*.") else {
        return listed.eq_ignore_ascii_case(origin);
    };
    let Some((own_scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let below = authority.len().checked_sub(domain.len() + 1);
    let parts = below.and_then(|end| authority.split_at_checked(end));
    own_scheme.eq_ignore_ascii_case(scheme)
        && parts.is_some_and(|(label, rest)| {
            let is_host =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            rest.starts_with('.')
                && rest[1..].eq_ignore_ascii_case(domain)
                && !label.is_empty()
                && label.bytes().all(is_host)
        })
}

/// Whether a page of `origin` was served by who is called `host`. The scheme is not compared: TLS
/// ends before us, so that we do not know by which one the request came.
fn is_same_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        // "null", from a sandboxed or local page.
        return false;
    };
    let default_port = if scheme.eq_ignore_ascii_case("https") {
        ":443"
    } else {
        ":80"
    };
    let host = host.strip_suffix(default_port).unwrap_or(host);
    let authority = authority.strip_suffix(default_port).unwrap_or(authority);
    !host.is_empty() && authority.eq_ignore_ascii_case(host)
}

/// The user that a request names; `None`: a guest.
///
/// The first of `?user_id=`, `?player_id=` and `X-User-Id` counts.
/// Errors: 400 `invalid_user_id` if it is empty, longer than [`USER_ID_BYTES_MAX`] or has control
/// characters; 400 if it stands twice.
fn user(head: &Head<'_>) -> Result<Option<String>, Refusal> {
    let mut named = head.query_param("user_id")?;
    if named.is_none() {
        named = head.query_param("player_id")?;
    }
    if named.is_none() {
        named = head.only_header("x-user-id")?.map(Into::into);
    }
    let Some(user) = named else { return Ok(None) };
    if user.is_empty() || user.len() > USER_ID_BYTES_MAX || user.contains(char::is_control) {
        let error = "the user id is empty, too long or has control characters";
        return Err(bad_request("invalid_user_id", error).detail("limit", USER_ID_BYTES_MAX));
    }
    Ok(Some(user.into_owned()))
}

/// The roles that a request names in `?roles=` or, without it, in `X-User-Roles`.
///
/// Errors: 400 `invalid_roles` for more than [`Roles::COUNT_MAX`] or one that no role can be called;
/// 400 if the list stands twice.
fn roles(head: &Head<'_>) -> Result<Roles, Refusal> {
    let list = match head.query_param("roles")? {
        Some(list) => list,
        None => head.only_header("x-user-roles")?.unwrap_or_default().into(),
    };
    Roles::from_list(&list).ok_or_else(|| {
        let error = "expected role names with commas between them";
        bad_request("invalid_roles", error)
            .detail("roles", Roles::COUNT_MAX)
            .detail("bytes", Roles::NAME_BYTES_MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Admits a request for `target` with further header fields, each with its line end.
    fn admit_with(
        options: &RealtimeOptions,
        target: &str,
        fields: &str,
    ) -> Result<Admission, (u16, String)> {
        let text = format!("GET {target} HTTP/1.1\r\nhost: example.com\r\n{fields}\r\n");
        let head = crate::http::parse(text.as_bytes())
            .unwrap()
            .expect("a whole head");
        admit(&head, options).map_err(|r| (r.status().as_u16(), r.code().to_owned()))
    }

    fn trusting() -> RealtimeOptions {
        RealtimeOptions {
            trust_user_ids: true,
            ..RealtimeOptions::default()
        }
    }

    fn refused<T>(status: u16, code: &str) -> Result<T, (u16, String)> {
        Err((status, code.to_owned()))
    }

    const ORIGIN: &str = "origin: http://example.com\r\n";

    #[test]
    fn each_default_path_has_its_profile_room_and_presence() {
        let table = [
            ("/api/v1/ws", Profile::Message, None, false),
            ("/ws/42", Profile::Room, Some("42"), true),
            ("/ws", Profile::Flat, Some("lobby"), true),
            ("/v1/connect", Profile::V1, None, false),
        ];
        for (path, profile, room, presence) in table {
            let admission = admit_with(&RealtimeOptions::default(), path, ORIGIN).unwrap();
            let found = (
                admission.profile,
                admission.room.as_deref(),
                admission.presence,
            );
            assert_eq!(found, (profile, room, presence), "{path}");
        }
        for path in ["/", "/ws/a/b", "/ws2", "/api/v1/ws/", "/v1/connect/x"] {
            let found = admit_with(&RealtimeOptions::default(), path, ORIGIN);
            assert_eq!(found, refused(404, "not_found"), "{path}");
        }
    }

    #[test]
    fn the_profile_is_that_of_the_subprotocol_then_the_query_then_the_path() {
        let table = [
            ("", "", Profile::Message, None),
            ("?profile=v1", "", Profile::V1, None),
            ("?profile=room", "", Profile::Room, None),
            (
                "?profile=flat",
                "campanile.v1",
                Profile::V1,
                Some("campanile.v1"),
            ),
            (
                "",
                "campanile.room.v1",
                Profile::Room,
                Some("campanile.room.v1"),
            ),
            (
                "",
                "campanile.message.v1",
                Profile::Message,
                Some("campanile.message.v1"),
            ),
            (
                "",
                "x, campanile.flat.v1, campanile.v1",
                Profile::Flat,
                Some("campanile.flat.v1"),
            ),
            ("", "Campanile.V1", Profile::Message, None),
            ("?profile=flat", "graphql-ws", Profile::Flat, None),
            ("", "bearer, ey.x.y", Profile::Message, None),
            (
                "",
                "bearer.ey.x.y, campanile.v1",
                Profile::V1,
                Some("campanile.v1"),
            ),
            // The subprotocol has decided, so that nobody asks for the query.
            (
                "?profile=tall",
                "campanile.v1",
                Profile::V1,
                Some("campanile.v1"),
            ),
        ];
        for (query, offered, profile, subprotocol) in table {
            let fields = match offered {
                "" => String::new(),
                offered => format!("sec-websocket-protocol: {offered}\r\n"),
            };
            let target = format!("/api/v1/ws{query}");
            let found = admit_with(&RealtimeOptions::default(), &target, &fields).unwrap();
            assert_eq!(
                (found.profile, found.subprotocol),
                (profile, subprotocol),
                "{query} {offered}"
            );
        }
        for query in ["tall", "", "V1", "campanile.v1"] {
            let target = format!("/ws?profile={query}");
            let found = admit_with(&RealtimeOptions::default(), &target, "");
            assert_eq!(found, refused(400, "invalid_profile"), "{query}");
        }
        let twice = admit_with(&RealtimeOptions::default(), "/ws?profile=v1&profile=v1", "");
        assert_eq!(twice, refused(400, "repeated_parameter"));
    }

    #[test]
    fn the_last_segment_of_the_path_names_the_room() {
        let longest = "x".repeat(TOPIC_BYTES_MAX);
        let table = [
            ("42", Ok("42")),
            ("a%20b", Ok("a b")),
            ("a+b", Ok("a+b")),
            ("caf%C3%A9", Ok("café")),
            ("a%2Fb", Ok("a/b")),
            ("%2525", Ok("%25")),
            ("...", Ok("...")),
            (&longest[..], Ok(&longest[..])),
            ("", Err("invalid_room_id")),
            ("%00", Err("invalid_room_id")),
            ("a%0Ab", Err("invalid_room_id")),
            ("%C2%85", Err("invalid_room_id")),
            ("%7F", Err("invalid_room_id")),
            (".", Err("invalid_room_id")),
            ("..", Err("invalid_room_id")),
            ("%2e%2E", Err("invalid_room_id")),
            (".%2e", Err("invalid_room_id")),
            ("a%2", Err("invalid_escape")),
            ("%zz", Err("invalid_escape")),
            ("%FF", Err("invalid_escape")),
        ];
        for (segment, expected) in table {
            let target = format!("/ws/{segment}?x=/y");
            let found = admit_with(&RealtimeOptions::default(), &target, ORIGIN);
            let expected = expected.map(|room| Some(room.to_owned()));
            let expected = expected.map_err(|code| (400, code.to_owned()));
            assert_eq!(found.map(|admission| admission.room), expected, "{segment}");
        }
        for long in [
            format!("/ws/{longest}x"),
            format!("/ws/{}%C3%A9", &longest[1..]),
        ] {
            let found = admit_with(&RealtimeOptions::default(), &long, ORIGIN);
            assert_eq!(found, refused(400, "invalid_room_id"));
        }
    }

    #[test]
    fn a_path_that_is_written_out_counts_before_a_template() {
        let options = RealtimeOptions {
            routes: vec![
                Route::new("/{room_id}", Profile::Room),
                Route::new("/ws/{room_id}", Profile::Room),
                Route {
                    room: Some("hall".into()),
                    message_bytes_max: Some(64),
                    ..Route::new("/ws/main", Profile::V1)
                },
            ],
            ..RealtimeOptions::default()
        };
        for (path, place, room) in [
            ("/ws/main", 2, "hall"),
            ("/ws/%6Dain", 1, "main"),
            ("/ws", 0, "ws"),
            ("/{room_id}", 0, "{room_id}"),
        ] {
            let found = admit_with(&options, path, ORIGIN).unwrap();
            assert_eq!(
                (found.route, found.room.as_deref()),
                (place, Some(room)),
                "{path}"
            );
        }
    }

    #[test]
    fn a_missing_origin_is_refused_where_the_rule_says_so_and_a_wrong_one_everywhere() {
        const WRONG: &str = "origin: http://evil.example\r\n";
        let table = [
            (OriginRule::Auto, "/ws", "", true),
            (OriginRule::Auto, "/ws/42", "", false),
            (OriginRule::Auto, "/ws/42", ORIGIN, true),
            (OriginRule::Auto, "/ws", WRONG, false),
            (OriginRule::Auto, "/ws/42", WRONG, false),
            (OriginRule::Always, "/ws", "", false),
            (OriginRule::Always, "/ws", ORIGIN, true),
            (OriginRule::Always, "/ws/42", "", false),
            (OriginRule::Never, "/ws", "", true),
            (OriginRule::Never, "/ws/42", "", true),
            (OriginRule::Never, "/ws/42", WRONG, false),
            (OriginRule::Never, "/ws/42", "origin: null\r\n", false),
        ];
        for (rule, path, fields, is_admitted) in table {
            let options = RealtimeOptions {
                origin_rule: rule,
                ..RealtimeOptions::default()
            };
            let found = admit_with(&options, path, fields).map(|_| ());
            let expected = if is_admitted {
                Ok(())
            } else {
                refused(403, "forbidden")
            };
            assert_eq!(found, expected, "{rule:?} {path} {fields}");
        }
    }

    #[test]
    fn a_star_in_a_listed_origin_stands_for_the_hosts_below() {
        let listed = "https://*.example.com:8443";
        for (origin, expected) in [
            ("https://app.example.com:8443", true),
            ("HTTPS://a.b.Example.com:8443", true),
            ("https://example.com:8443", false),
            ("https://.example.com:8443", false),
            ("https://appexample.com:8443", false),
            ("http://app.example.com:8443", false),
            ("https://app.example.com", false),
            ("https://evil.org/.example.com:8443", false),
            ("https://evil.org@x.example.com:8443", false),
            ("https://éé.example.com:8443", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(is_listed(listed, origin), expected, "{origin}");
        }
        assert!(is_listed("https://example.com", "https://EXAMPLE.com"));
        assert!(!is_listed("https://example.com", "https://a.example.com"));
    }

    #[test]
    fn roles_are_believed_only_where_users_are() {
        let table = [
            ("/ws", "", &[][..]),
            ("/ws?roles=", "x-user-roles: a\r\n", &[]),
            ("/ws?roles=a,b", "x-user-roles: c\r\n", &["a", "b"]),
            ("/ws", "x-user-roles: a , ,b\r\n", &["a", "b"]),
        ];
        for (target, fields, expected) in table {
            let found = admit_with(&trusting(), target, fields).unwrap().roles;
            assert_eq!(
                found.iter().collect::<Vec<_>>(),
                expected,
                "{target} {fields}"
            );
            let found = admit_with(&RealtimeOptions::default(), target, fields)
                .unwrap()
                .roles;
            assert_eq!(found, Roles::default());
        }
        let many = vec!["r"; Roles::COUNT_MAX + 1].join(",");
        for list in [
            &many[..],
            &"r".repeat(Roles::NAME_BYTES_MAX + 1),
            "a%00",
            "a%20b",
        ] {
            let found = admit_with(&trusting(), &format!("/ws?roles={list}"), "");
            assert_eq!(found, refused(400, "invalid_roles"), "{list}");
        }
        let twice = admit_with(&trusting(), "/ws", "x-user-roles: a\r\nx-user-roles: b\r\n");
        assert_eq!(twice, refused(400, "repeated_header"));
    }

    #[test]
    fn arrays_are_sent_only_to_who_asks_for_them() {
        for (target, expected) in [
            ("/ws", Ok(false)),
            ("/ws?batch=0", Ok(false)),
            ("/ws?batch=1", Ok(true)),
            ("/ws?batch=", refused(400, "invalid_batch")),
            ("/ws?batch=yes", refused(400, "invalid_batch")),
        ] {
            let found = admit_with(&RealtimeOptions::default(), target, "");
            assert_eq!(found.map(|admission| admission.batch), expected, "{target}");
        }
    }

    #[test]
    fn same_origin_means_host_and_port() {
        let table = [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", true),
            ("http://Example.com", "example.com", true),
            ("http://example.com", "example.com:80", true),
            ("https://example.com:443", "example.com", true),
            ("https://example.com", "example.com:80", false),
            ("http://example.com:8081", "example.com:8080", false),
            ("http://example.com.evil.org", "example.com", false),
            ("http://example.com", "", false),
            ("http://", "", false),
            ("null", "null", false),
            ("http://[::1]:8080", "[::1]:8080", true),
        ];
        for (origin, host, expected) in table {
            assert_eq!(is_same_origin(origin, host), expected, "{origin} {host}");
        }
    }
}
