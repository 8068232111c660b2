//! Requests: where a credential may stand, and who comes in without one.

use proptest::prelude::*;

use super::*;
use crate::http::BadRequest;

/// Identifies the sender of a request for `target` with further header fields.
fn identify(auth: &Authenticator, target: &str, fields: &[&str]) -> Result<Verdict, AuthError> {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let text = format!("GET {target} HTTP/1.1\r\nhost: h\r\n{fields}\r\n");
    let head = crate::http::parse(text.as_bytes()).unwrap().unwrap();
    auth.identify(&head, NOW)
}

/// Whose request it is, and where that stood.
fn known(
    auth: &Authenticator,
    target: &str,
    fields: &[&str],
) -> Result<(String, Option<Source>), AuthError> {
    let identity = settle(identify(auth, target, fields))?;
    Ok((identity.user.to_string(), identity.source))
}

fn with_sources(mode: Mode, sources: &[Source]) -> Authenticator {
    let options = AuthOptions {
        mode,
        sources: sources.into(),
        ..token_options(vec![secret(Algorithm::HS256).key(None)])
    };
    Authenticator::new(options, None).unwrap()
}

fn token_of(name: &str) -> String {
    secret(Algorithm::HS256).sign(None, &with(json!({"sub": name})))
}

const ALL: [Source; 4] = [
    Source::Header,
    Source::Subprotocol,
    Source::Cookie,
    Source::Query,
];

#[test]
fn a_token_is_found_in_each_of_its_places() {
    let auth = with_sources(Mode::Required, &ALL);
    let ann = token_of("ann");
    for (target, field, source) in [
        ("/", format!("authorization: Bearer {ann}"), Source::Header),
        (
            "/",
            format!("Authorization: bEARER   {ann}"),
            Source::Header,
        ),
        (
            "/",
            format!("sec-websocket-protocol: bearer.{ann}, campanile.v1"),
            Source::Subprotocol,
        ),
        (
            "/",
            format!("sec-websocket-protocol: campanile.v1, bearer, {ann}"),
            Source::Subprotocol,
        ),
        (
            "/",
            format!("sec-websocket-protocol: bearer\r\nsec-websocket-protocol: {ann}"),
            Source::Subprotocol,
        ),
        (
            "/",
            format!("cookie: a=b; campanile_token={ann};c"),
            Source::Cookie,
        ),
        (
            "/",
            format!("cookie: campanile_token=\"{ann}\""),
            Source::Cookie,
        ),
        (
            &format!("/?a=b&token={ann}"),
            String::from("x: y"),
            Source::Query,
        ),
        (
            &format!("/?access_token={ann}"),
            String::from("x: y"),
            Source::Query,
        ),
    ] {
        let expected = Ok(("ann".into(), Some(source)));
        assert_eq!(
            known(&auth, target, &[&field]),
            expected,
            "{target} {field}"
        );
    }
    let cookie = format!("cookie: campanile_token={ann}");
    let by_cookie = settle(identify(&auth, "/", &[&cookie])).unwrap();
    assert!(by_cookie.is_from_cookie());
}

#[test]
fn a_source_that_is_off_is_not_looked_at() {
    let default = with_sources(Mode::Required, &Source::DEFAULT);
    let target = format!("/?token={}", token_of("ann"));
    assert_eq!(known(&default, &target, &[]), Err(AuthError::Missing));
    let header = format!("authorization: Bearer {}", token_of("ann"));
    let cookies = with_sources(Mode::Optional, &[Source::Cookie]);
    assert!(matches!(
        identify(&cookies, "/", &[&header]),
        Ok(Verdict::Guest)
    ));
}

/// The name of whom a request is from.
fn of(auth: &Authenticator, fields: &[&str]) -> Result<String, AuthError> {
    known(auth, "/", fields).map(|(user, _)| user)
}

#[test]
fn the_first_source_counts_and_a_bad_one_is_never_passed_over() {
    let ann = format!("authorization: Bearer {}", token_of("ann"));
    let bob = format!("cookie: campanile_token={}", token_of("bob"));
    let headers = with_sources(Mode::Required, &[Source::Header, Source::Cookie]);
    let cookies = with_sources(Mode::Required, &[Source::Cookie, Source::Header]);
    assert_eq!(of(&headers, &[&ann, &bob]), Ok("ann".into()));
    assert_eq!(of(&cookies, &[&ann, &bob]), Ok("bob".into()));
    let bad = "authorization: Bearer a.b.c";
    for mode in [Mode::Required, Mode::FirstMessage, Mode::Optional] {
        let auth = with_sources(mode, &ALL);
        assert_eq!(
            of(&auth, &[bad, &bob]),
            Err(AuthError::Malformed),
            "{mode:?}"
        );
        assert_eq!(
            of(&auth, &[bad]),
            Err(AuthError::Malformed),
            "never a guest"
        );
        assert_eq!(
            of(&auth, &["authorization: Bearer"]),
            Err(AuthError::Malformed)
        );
        assert_eq!(
            of(&auth, &["cookie: campanile_token="]),
            Err(AuthError::Malformed)
        );
        assert_eq!(
            of(&auth, &["sec-websocket-protocol: bearer"]),
            Err(AuthError::Malformed)
        );
        assert_eq!(
            of(&auth, &["sec-websocket-protocol: bearer."]),
            Err(AuthError::Malformed)
        );
    }
}

#[test]
fn what_stands_twice_is_refused() {
    let auth = with_sources(Mode::Required, &ALL);
    let ann = token_of("ann");
    let header = format!("authorization: Bearer {ann}");
    let repeated = |name| Err(AuthError::Request(BadRequest::RepeatedHeader(name)));
    assert_eq!(
        known(&auth, "/", &[&header, &header]),
        repeated("authorization")
    );
    assert_eq!(
        known(&auth, "/", &["cookie: a=b", "cookie: c=d"]),
        repeated("cookie")
    );
    for field in [
        format!("cookie: campanile_token={ann}; campanile_token={ann}"),
        format!("sec-websocket-protocol: bearer.{ann}, bearer.{ann}"),
        format!("sec-websocket-protocol: bearer, {ann}, bearer.{ann}"),
    ] {
        assert_eq!(
            known(&auth, "/", &[&field]),
            Err(AuthError::Ambiguous),
            "{field}"
        );
    }
    let both = format!("/?token={ann}&access_token={ann}");
    assert_eq!(known(&auth, &both, &[]), Err(AuthError::Ambiguous));
    let twice = format!("/?token={ann}&token={ann}");
    let expected = Err(AuthError::Request(BadRequest::RepeatedParameter));
    assert_eq!(known(&auth, &twice, &[]), expected);
    assert_eq!(refused(&auth, "bad_request"), 3);
}

#[test]
fn who_shows_nothing_is_let_in_by_the_mode() {
    let other_schemes = [
        "authorization: Basic YTpi",
        "cookie: other=1; xcampanile_token=2",
    ];
    for fields in [&[][..], &other_schemes] {
        let verdict = |mode| identify(&with_sources(mode, &ALL), "/?user_id=eve", fields);
        assert_eq!(verdict(Mode::Required).unwrap_err(), AuthError::Missing);
        assert!(matches!(
            verdict(Mode::FirstMessage),
            Ok(Verdict::FirstMessage)
        ));
        assert!(matches!(verdict(Mode::Optional), Ok(Verdict::Guest)));
    }
    assert!(matches!(
        identify(
            &Authenticator::guests(),
            "/?token=x",
            &["authorization: Bearer x"]
        ),
        Ok(Verdict::Guest)
    ));
}

#[test]
fn trust_believes_the_request() {
    let auth = Authenticator::trusting();
    for (target, fields, expected) in [
        ("/?user_id=a+b&player_id=c", &["x-user-id: d"][..], "a b"),
        ("/?player_id=c", &["x-user-id: d"], "c"),
        (
            "/",
            &["x-user-id: d", "authorization: Bearer nonsense"],
            "d",
        ),
    ] {
        let identity = settle(identify(&auth, target, fields)).unwrap();
        assert_eq!(&*identity.user, expected);
        assert_eq!(
            (identity.proof.clone(), identity.source),
            (Proof::Trusted, None)
        );
        assert_eq!(settle(auth.recheck(&identity, NOW)), Ok(identity));
    }
    assert!(matches!(identify(&auth, "/", &[]), Ok(Verdict::Guest)));
    let long = "x".repeat(257);
    for bad in ["", &long, "a%00"] {
        let found = known(&auth, &format!("/?user_id={bad}"), &[]);
        assert_eq!(found, Err(AuthError::InvalidUserId), "{bad}");
    }
    let found = known(&auth, "/?user_id=a&user_id=a", &[]);
    assert_eq!(
        found,
        Err(AuthError::Request(BadRequest::RepeatedParameter))
    );
}

#[test]
fn trust_believes_roles_and_nobody_else_does() {
    let auth = Authenticator::trusting();
    for (target, fields, expected) in [
        ("/?user_id=a&roles=", &["x-user-roles: a"][..], &[][..]),
        ("/?user_id=a&roles=a,b", &["x-user-roles: c"], &["a", "b"]),
        ("/?user_id=a", &["x-user-roles: a , ,b"], &["a", "b"]),
    ] {
        let identity = settle(identify(&auth, target, fields)).unwrap();
        assert_eq!(
            identity.roles.iter().collect::<Vec<_>>(),
            expected,
            "{target}"
        );
    }
    let many = vec!["r"; 33].join(",");
    for list in [&many[..], &"r".repeat(65), "a%00", "a%20b"] {
        let found = known(&auth, &format!("/?user_id=a&roles={list}"), &[]);
        assert_eq!(found, Err(AuthError::InvalidRoles), "{list}");
    }
    let required = with_sources(Mode::Required, &ALL);
    let header = format!("authorization: Bearer {}", token_of("ann"));
    let fields = [&header[..], "x-user-roles: admin", "x-user-id: eve"];
    let identity = settle(identify(&required, "/?roles=admin&user_id=eve", &fields)).unwrap();
    assert_eq!((&*identity.user, identity.roles.iter().count()), ("ann", 0));
}

#[test]
fn a_revoked_user_who_is_believed_is_out_until_the_next_request() {
    let auth = Authenticator::trusting();
    let before = settle(identify(&auth, "/?user_id=ann", &[])).unwrap();
    let user = before.user.clone();
    let issued_before_s = NOW + 1;
    auth.revoke(
        Revocation::User {
            user,
            issued_before_s,
        },
        NOW,
    );
    assert!(auth.is_revoked(&before));
    assert_eq!(auth.recheck(&before, NOW).unwrap_err(), AuthError::Revoked);
    assert_eq!(
        identify(&auth, "/?user_id=ann", &[]).unwrap_err(),
        AuthError::Revoked,
        "in the same second"
    );
    assert!(identify(&auth, "/?user_id=bob", &[]).is_ok());
    assert!(auth.is_user_revoked("ann", NOW) && !auth.is_user_revoked("ann", NOW + 1));
}

proptest! {
    #[test]
    fn no_cookies_are_too_strange(cookies in "[ -~é]{0,60}", name in "[a-z=; ]{0,3}") {
        if let Ok(Some(value)) = credentials::cookie(&cookies, &name) {
            prop_assert!(cookies.contains(value));
        }
    }

    #[test]
    fn a_cookie_is_found_among_others(
        before in prop::collection::vec("[a-z]{1,3}=[!-+--:<-~]{0,5}", 0..4),
        value in "[a-zA-Z0-9._-]{0,20}",
    ) {
        let cookies = format!("{}; token={value}; x", before.join("; "));
        prop_assert_eq!(credentials::cookie(&cookies, "token"), Ok(Some(&value[..])));
    }

    #[test]
    fn no_request_is_too_strange(
        query in "[!-~]{0,40}", authorization in "[ -~]{0,40}", offered in "[ -~]{0,40}",
        cookies in "[ -~]{0,40}",
    ) {
        let auth = with_sources(Mode::Optional, &ALL);
        let fields = [
            format!("authorization: {authorization}"),
            format!("sec-websocket-protocol: {offered}"),
            format!("cookie: {cookies}"),
        ];
        let fields = fields.each_ref().map(|field| &field[..]);
        let verdict = identify(&auth, &format!("/?{query}"), &fields);
        prop_assert!(!matches!(verdict, Ok(Verdict::Known(_) | Verdict::Later(_))));
    }

    #[test]
    fn no_token_is_too_strange(token in ".{0,60}", header in "[ -~]{0,30}", claims in "[ -~]{0,30}") {
        let auth = with_sources(Mode::Required, &ALL);
        prop_assert!(auth.verify(&token, NOW).is_err());
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.AAAA", encode(&header), encode(&claims));
        prop_assert!(auth.verify(&token, NOW).is_err());
    }
}
