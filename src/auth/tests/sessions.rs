//! Sessions by cookie, of which another server says whose they are.

use super::*;

const COOKIE: &str = "better-auth.session_token=abc.def; theme=dark";

fn asking(mode: Mode, fake: &Arc<Fake>) -> Authenticator {
    let options = AuthOptions {
        mode,
        session_url: Some("https://app/api/auth/get-session".into()),
        cookie_name: "better-auth.session_token".into(),
        token: TokenOptions {
            keys: vec![secret(Algorithm::HS256).key(None)],
            ..TokenOptions::default()
        },
        ..AuthOptions::default()
    };
    Authenticator::new(options, Some(Arc::new(fake.clone()))).unwrap()
}

fn identify(auth: &Authenticator, cookie: &str, now_s: u64) -> Result<Verdict, AuthError> {
    let request = ::http::Request::get("/ws").header("cookie", cookie);
    auth.identify(&request.body(()).unwrap().into_parts().0, now_s)
}

fn session(id: impl Into<Value>) -> Result<Fetched, FetchError> {
    let id = id.into();
    answer(
        200,
        json!({"session": {"id": "s"}, "user": {"id": id, "role": "admin"}}),
    )
}

#[test]
fn the_session_server_says_who_it_is() {
    for (body, user, roles) in [
        (json!({"user": {"id": "ann"}}), "ann", &[][..]),
        (
            json!({"user": {"id": 42, "role": "admin"}}),
            "42",
            &["admin"],
        ),
        (json!({"user": {"id": "a", "role": null}}), "a", &[]),
        (
            json!({"user": {"id": "a", "roles": ["x", "y"], "role": "z"}}),
            "a",
            &["x", "y"],
        ),
    ] {
        let fake = Fake::new([answer(200, body)]);
        let auth = asking(Mode::Required, &fake);
        let identity = settle(identify(&auth, COOKIE, NOW)).unwrap();
        assert_eq!(&*identity.user, user);
        assert_eq!(identity.roles.iter().collect::<Vec<_>>(), roles);
        assert!(identity.is_from_cookie());
        assert_eq!((identity.expires_s, identity.issued_s), (None, Some(NOW)));
        let (url, headers) = fake.asked.lock().unwrap()[0].clone();
        assert_eq!(url, "https://app/api/auth/get-session");
        assert!(
            headers.contains(&("cookie", COOKIE.into())),
            "as it came: {headers:?}"
        );
        assert!(
            !format!("{identity:?}").contains("abc"),
            "a cookie is not shown"
        );
    }
}

#[test]
fn every_other_answer_is_a_refusal_or_none_at_all() {
    let refused = AuthError::SessionRefused;
    for (answer, expected) in [
        (answer(401, ""), refused),
        (answer(403, "no"), refused),
        (answer(200, "null"), refused),
        (answer(200, json!({"user": null})), refused),
        (answer(200, json!({"session": {}})), AuthError::NoUser),
        (answer(200, json!({"user": {"id": ""}})), AuthError::NoUser),
        (
            answer(200, json!({"user": {"name": "ann"}})),
            AuthError::NoUser,
        ),
        (answer(200, json!([])), AuthError::NoUser),
        (
            answer(200, json!({"user": {"id": 1, "roles": 7}})),
            AuthError::BadClaim("roles"),
        ),
        (answer(200, "<html>"), AuthError::Unavailable),
        (answer(200, ""), AuthError::Unavailable),
        (answer(204, ""), AuthError::Unavailable),
        (answer(302, ""), AuthError::Unavailable),
        (
            answer(500, json!({"user": {"id": "eve"}})),
            AuthError::Unavailable,
        ),
        (Err(FetchError::Timeout), AuthError::Unavailable),
        (Err(FetchError::TooLarge), AuthError::Unavailable),
    ] {
        let shown = format!("{answer:?}");
        let auth = asking(Mode::Required, &Fake::new([answer]));
        assert_eq!(
            settle(identify(&auth, COOKIE, NOW)),
            Err(expected),
            "{shown}"
        );
        assert_eq!(super::refused(&auth, expected.reason()), 1);
    }
}

#[test]
fn an_answer_holds_for_a_moment_and_a_refusal_does_not() {
    let fake = Fake::new([
        answer(401, ""),
        session("ann"),
        session("ann"),
        session("ann"),
    ]);
    let auth = asking(Mode::Required, &fake);
    assert_eq!(
        settle(identify(&auth, COOKIE, NOW)),
        Err(AuthError::SessionRefused)
    );
    let first = settle(identify(&auth, COOKIE, NOW)).unwrap();
    assert_eq!(settle(identify(&auth, COOKIE, NOW + 9)), Ok(first.clone()));
    assert_eq!(fake.count(), 2);
    assert!(
        settle(identify(&auth, "other=1", NOW + 9)).is_ok(),
        "of its own"
    );
    assert_eq!(fake.count(), 3);
    assert!(settle(identify(&auth, COOKIE, NOW + 10)).is_ok());
    assert_eq!((fake.count(), auth.stats().sessions), (4, 3));
}

/// The answer held until the clock was there again, however often the session ended meanwhile.
#[test]
fn an_answer_holds_no_longer_where_the_clock_is_put_back() {
    let fake = Fake::new([session("ann"), answer(401, "")]);
    let auth = asking(Mode::Required, &fake);
    assert!(settle(identify(&auth, COOKIE, NOW)).is_ok());
    let ended = settle(identify(&auth, COOKIE, NOW - 3600));
    assert_eq!(ended, Err(AuthError::SessionRefused));
}

#[test]
fn an_open_session_is_asked_about_again() {
    let fake = Fake::new([session("ann"), session("ann"), answer(200, "null")]);
    let auth = asking(Mode::Required, &fake);
    let first = settle(identify(&auth, COOKIE, NOW)).unwrap();
    let again = settle(auth.recheck(&first, NOW + 1)).unwrap();
    assert_eq!((fake.count(), again.issued_s), (2, Some(NOW + 1)));
    let over = settle(auth.recheck(&again, NOW + 2));
    assert_eq!(over, Err(AuthError::SessionRefused));
    // What was remembered of it is forgotten, too: there is no fourth answer.
    assert_eq!(
        settle(identify(&auth, COOKIE, NOW + 3)),
        Err(AuthError::Unavailable)
    );
}

#[test]
fn a_revoked_session_must_be_confirmed_anew() {
    let fake = Fake::new([session("ann"), session("ann")]);
    let auth = asking(Mode::Required, &fake);
    let first = settle(identify(&auth, COOKIE, NOW)).unwrap();
    let user = first.user.clone();
    let issued_before_s = NOW + 1;
    auth.revoke(
        Revocation::User {
            user,
            issued_before_s,
        },
        NOW,
    );
    assert!(auth.is_revoked(&first));
    assert_eq!(
        auth.recheck(&first, NOW + 1).unwrap_err(),
        AuthError::Revoked
    );
    let anew = settle(identify(&auth, COOKIE, NOW + 1)).unwrap();
    assert!(!auth.is_revoked(&anew));
    assert_eq!(
        fake.count(),
        2,
        "for it is the session server that says who may come"
    );
}

/// The answer was on its way when the user was revoked, and let the connection in after all.
#[test]
fn who_is_revoked_while_the_session_server_is_asked_stays_out() {
    let fake = Fake::new([session("ann"), session("ann")]);
    let auth = asking(Mode::Required, &fake);
    let asked = identify(&auth, COOKIE, NOW);
    let revocation = Revocation::User {
        user: "ann".into(),
        issued_before_s: NOW + 1,
    };
    auth.revoke(revocation, NOW);
    assert_eq!(settle(asked), Err(AuthError::Revoked));
    assert!(settle(identify(&auth, COOKIE, NOW + 1)).is_ok());
}

#[test]
fn a_session_that_is_revoked_while_it_is_asked_about_is_refused() {
    let fake = Fake::new([session("ann"), session("bob")]);
    let auth = asking(Mode::Required, &fake);
    let asked = [COOKIE, COOKIE].map(|cookie| identify(&auth, cookie, NOW));
    auth.revoke(
        Revocation::User {
            user: "ann".into(),
            issued_before_s: NOW + 1,
        },
        NOW,
    );
    let found = asked.map(settle);
    assert_eq!(found[0], Err(AuthError::Revoked));
    assert_eq!(&*found[1].as_ref().unwrap().user, "bob");
}

#[test]
fn a_visitor_without_the_sessions_cookie_is_a_guest_where_guests_are_let_in() {
    let fake = Fake::new([answer(200, "null")]);
    let optional = asking(Mode::Optional, &fake);
    assert!(matches!(
        identify(&optional, "theme=dark", NOW),
        Ok(Verdict::Guest)
    ));
    assert_eq!(fake.count(), 0);
    assert_eq!(
        settle(identify(&optional, COOKIE, NOW)),
        Err(AuthError::SessionRefused)
    );
    let first_message = asking(Mode::FirstMessage, &fake);
    assert!(matches!(
        identify(&first_message, "theme=dark", NOW),
        Ok(Verdict::FirstMessage)
    ));
    let required = asking(Mode::Required, &fake);
    assert_eq!(
        identify(&required, "", NOW).unwrap_err(),
        AuthError::Missing
    );
}

#[test]
fn only_so_many_wait_for_the_session_server() {
    let auth = asking(Mode::Required, &Fake::new([]));
    let waiting: Vec<_> = (0..1024)
        .map(|n| identify(&auth, &format!("s={n}"), NOW).unwrap())
        .collect();
    assert_eq!(
        identify(&auth, "s=x", NOW).unwrap_err(),
        AuthError::Unavailable
    );
    drop(waiting);
    assert!(matches!(identify(&auth, "s=x", NOW), Ok(Verdict::Later(_))));
}

#[test]
fn a_session_url_needs_a_client_and_no_tokens_in_the_first_message() {
    let options = AuthOptions {
        session_url: Some("https://app".into()),
        ..AuthOptions::default()
    };
    let error = Authenticator::new(options.clone(), None).unwrap_err();
    assert_eq!(error, AuthOptionsError::NoFetch("session_url"));
    let fetch: Arc<dyn Fetch> = Arc::new(Fake::new([]));
    let options = AuthOptions {
        mode: Mode::FirstMessage,
        ..options
    };
    let error = Authenticator::new(options, Some(fetch)).unwrap_err();
    assert_eq!(error, AuthOptionsError::NoTokenKeys);
}
