//! What a request for an upgrade asks for: pure functions of its head and the options. Who may come in,
//! the gate decides ([`Gate`](crate::auth::Gate)).

use http::StatusCode;

use super::protocol::Profile;
use super::{RealtimeOptions, Route};
use crate::auth::{self, Presented};
use crate::http::{Head, Refusal, percent_decode};
use crate::limits::TOPIC_BYTES_MAX;

/// What an upgrade asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The place of the route in the options.
    pub(super) route: u16,
    pub(super) profile: Profile,
    /// The room to join when the connection opens: 1 to [`TOPIC_BYTES_MAX`] bytes.
    pub(super) room: Option<String>,
    /// Whether the connection is told who is in its rooms, unless it asks for the contrary.
    pub(super) presence: bool,
    /// The path names the room: then a request must say which page it is from.
    pub(super) is_path_room: bool,
    /// The client takes arrays of envelopes.
    pub(super) batch: bool,
    /// The subprotocol to confirm: the one that chose the profile, or `bearer` if that is all that was
    /// offered beside a token.
    pub(super) subprotocol: Option<&'static str>,
}

/// Reads what a request asks for.
///
/// Errors: 404 `not_found` for a path without a route; 400 `invalid_room_id`, `invalid_profile` and
/// `invalid_batch`; 400 for a field or parameter that stands twice or cannot be decoded.
pub(super) fn read(head: &Head<'_>, options: &RealtimeOptions) -> Result<Wanted, Refusal> {
    let (place, room) = route(head.path(), &options.routes)?;
    let route = &options.routes[usize::from(place)];
    let is_path_room = room.is_some();
    let room = match room {
        Some(segment) => Some(room_of_path(segment)?),
        None => route.room.clone(),
    };
    let subprotocol = subprotocol(head);
    Ok(Wanted {
        route: place,
        profile: profile(head, subprotocol, route)?,
        room,
        presence: route.presence,
        is_path_room,
        batch: batch(head)?,
        subprotocol: subprotocol.or_else(|| head.subprotocols().find_map(is_bearer)),
    })
}

/// The literal that announces a token as the next element. The token itself is never given back.
fn is_bearer(offered: &str) -> Option<&'static str> {
    (offered == auth::BEARER).then_some(auth::BEARER)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a request for `target` with further header fields, each with its line end.
    fn read_with(
        options: &RealtimeOptions,
        target: &str,
        fields: &str,
    ) -> Result<Wanted, (u16, String)> {
        let text = format!("GET {target} HTTP/1.1\r\nhost: example.com\r\n{fields}\r\n");
        let head = crate::http::parse(text.as_bytes())
            .unwrap()
            .expect("a whole head");
        read(&head, options).map_err(|r| (r.status().as_u16(), r.code().to_owned()))
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
            let admission = read_with(&RealtimeOptions::default(), path, ORIGIN).unwrap();
            let found = (
                admission.profile,
                admission.room.as_deref(),
                admission.presence,
            );
            assert_eq!(found, (profile, room, presence), "{path}");
        }
        for path in ["/", "/ws/a/b", "/ws2", "/api/v1/ws/", "/v1/connect/x"] {
            let found = read_with(&RealtimeOptions::default(), path, ORIGIN);
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
            ("", "bearer, ey.x.y", Profile::Message, Some("bearer")),
            (
                "",
                "bearer, ey.x.y, campanile.v1",
                Profile::V1,
                Some("campanile.v1"),
            ),
            ("", "bearer.ey.x.y", Profile::Message, None),
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
            let found = read_with(&RealtimeOptions::default(), &target, &fields).unwrap();
            assert_eq!(
                (found.profile, found.subprotocol),
                (profile, subprotocol),
                "{query} {offered}"
            );
        }
        for query in ["tall", "", "V1", "campanile.v1"] {
            let target = format!("/ws?profile={query}");
            let found = read_with(&RealtimeOptions::default(), &target, "");
            assert_eq!(found, refused(400, "invalid_profile"), "{query}");
        }
        let twice = read_with(&RealtimeOptions::default(), "/ws?profile=v1&profile=v1", "");
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
            let found = read_with(&RealtimeOptions::default(), &target, ORIGIN);
            let expected = expected.map(|room| Some(room.to_owned()));
            let expected = expected.map_err(|code| (400, code.to_owned()));
            assert_eq!(found.map(|admission| admission.room), expected, "{segment}");
        }
        for long in [
            format!("/ws/{longest}x"),
            format!("/ws/{}%C3%A9", &longest[1..]),
        ] {
            let found = read_with(&RealtimeOptions::default(), &long, ORIGIN);
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
            let found = read_with(&options, path, ORIGIN).unwrap();
            assert_eq!(
                (found.route, found.room.as_deref()),
                (place, Some(room)),
                "{path}"
            );
        }
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
            let found = read_with(&RealtimeOptions::default(), target, "");
            assert_eq!(found.map(|admission| admission.batch), expected, "{target}");
        }
    }
}
