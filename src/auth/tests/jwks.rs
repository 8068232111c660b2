//! Keys that are fetched: rotation, outages, and servers that answer with anything.

use jsonwebtoken::jwk::Jwk;

use super::*;

fn jwk(pair: &Pair, kid: &str) -> Value {
    let jwk = Jwk::from_encoding_key(&pair.private, pair.algorithm).unwrap();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    jwk["kid"] = kid.into();
    jwk
}

fn set(keys: &[Value]) -> Result<Fetched, FetchError> {
    answer(200, json!({ "keys": keys }))
}

fn options() -> AuthOptions {
    let mut options = token_options(Vec::new());
    options.token.jwks_url = Some("https://issuer/jwks".into());
    options.token.algorithms = vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    options
}

fn fetching(fake: &Arc<Fake>) -> Authenticator {
    Authenticator::new(options(), Some(Arc::new(fake.clone()))).unwrap()
}

fn refresh(auth: &Authenticator, now_s: u64) {
    auth.refresh_keys(now_s)
        .now_or_never()
        .expect("a fake answers at once");
}

fn at(auth: &Authenticator, token: &str, now_s: u64) -> Result<(), AuthError> {
    settle(auth.verify(token, now_s)).map(drop)
}

#[test]
fn keys_of_each_kind_are_fetched_and_others_are_skipped_and_counted() {
    let pairs = [rsa(Algorithm::RS256), ec(Algorithm::ES256), ed25519()];
    let mut keys: Vec<_> = pairs.iter().map(|pair| jwk(pair, "k")).collect();
    let mut encryption = jwk(&pairs[0], "e");
    encryption["use"] = "enc".into();
    let mut signing_only = jwk(&pairs[0], "s");
    signing_only["key_ops"] = json!(["sign"]);
    let mut oaep = jwk(&pairs[0], "o");
    oaep["alg"] = "RSA-OAEP".into();
    let mut cut_off = jwk(&pairs[1], "c");
    cut_off["x"] = "AAAA".into();
    keys.extend([
        encryption,
        signing_only,
        oaep,
        cut_off,
        json!({"kty": "oct", "kid": "k", "k": "c2VjcmV0", "alg": "HS256"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}),
        jwk(&ec(Algorithm::ES384), "not allowed by the options"),
        json!(7),
    ]);
    let fake = Fake::new([set(&keys)]);
    let auth = fetching(&fake);
    refresh(&auth, NOW);
    let stats = auth.stats();
    assert_eq!((stats.keys, stats.keys_skipped), (3, 8));
    assert_eq!((stats.jwks_fetches, stats.jwks_failures), (1, 0));
    for pair in &pairs {
        assert_eq!(at(&auth, &pair.sign(Some("k"), &claims()), NOW), Ok(()));
    }
    // A secret is never fetched, not even asked for.
    let forged = secret(Algorithm::HS256).sign(Some("k"), &claims());
    assert_eq!(at(&auth, &forged, NOW + 100), Err(AuthError::Algorithm));
    assert_eq!(fake.count(), 1);
    let (url, headers) = fake.asked.lock().unwrap()[0].clone();
    assert_eq!((&url[..], headers[0].0), ("https://issuer/jwks", "accept"));
}

#[test]
fn an_unknown_kid_fetches_the_set_again_at_most_every_ten_seconds() {
    let old = ec(Algorithm::ES256);
    let new = rsa(Algorithm::RS256);
    let fake = Fake::new([
        set(&[jwk(&old, "old")]),
        set(&[jwk(&old, "old"), jwk(&new, "new")]),
        set(&[jwk(&new, "new")]),
    ]);
    let auth = fetching(&fake);
    let by_old = old.sign(Some("old"), &claims());
    let by_new = new.sign(Some("new"), &claims());
    assert_eq!(at(&auth, &by_old, NOW), Ok(()), "waits for the first fetch");
    let known = settle(auth.verify(&by_old, NOW)).unwrap();
    // The algorithm has no key yet, then the kid is unknown: neither fetches within the time.
    assert_eq!(at(&auth, &by_new, NOW + 9), Err(AuthError::Algorithm));
    let unknown = old.sign(Some("unknown"), &claims());
    assert_eq!(at(&auth, &unknown, NOW + 9), Err(AuthError::UnknownKey));
    assert_eq!(fake.count(), 1);
    assert_eq!(at(&auth, &by_new, NOW + 10), Ok(()));
    assert_eq!(fake.count(), 2);
    assert_eq!(at(&auth, &by_new, NOW + 20), Ok(()), "known");
    assert_eq!(at(&auth, &unknown, NOW + 11), Err(AuthError::UnknownKey));
    assert_eq!(fake.count(), 2);
    // A wrong signature of a known key asks nobody.
    let forged = format!("{}AAAA", &by_old[..by_old.len() - 4]);
    assert_eq!(at(&auth, &forged, NOW + 30), Err(AuthError::BadSignature));
    assert_eq!(fake.count(), 2);
    // The interval takes the old key away, and what it has signed is not good any more.
    assert!(auth.recheck(&known, NOW + 40).is_ok());
    refresh(&auth, NOW + 40);
    assert_eq!(
        auth.recheck(&known, NOW + 41).unwrap_err(),
        AuthError::UnknownKey
    );
    assert_eq!(at(&auth, &by_old, NOW + 41), Err(AuthError::Algorithm));
    assert_eq!(fake.count(), 3);
}

#[test]
fn the_old_keys_hold_when_the_set_cannot_be_fetched_or_read() {
    let pair = ec(Algorithm::ES256);
    let huge = json!({"keys": vec![jwk(&pair, "k"); KEYS_MAX + 5]});
    let fake = Fake::new([
        set(&[jwk(&pair, "k")]),
        Err(FetchError::Timeout),
        Err(FetchError::TooLarge),
        answer(500, "oops"),
        answer(200, "<html>"),
        answer(200, json!({"keys": []})),
        answer(200, json!({"keys": [{"kty": "oct", "k": "AAAA"}]})),
        answer(200, json!({"jwks": 7})),
        answer(200, huge),
    ]);
    let auth = fetching(&fake);
    refresh(&auth, NOW);
    for failures in 1..=7 {
        refresh(&auth, NOW);
        let stats = auth.stats();
        assert_eq!((stats.keys, stats.jwks_failures), (1, failures));
        assert_eq!(at(&auth, &pair.sign(Some("k"), &claims()), NOW), Ok(()));
    }
    let unknown = pair.sign(Some("unknown"), &claims());
    assert_eq!(
        at(&auth, &unknown, NOW),
        Err(AuthError::Unavailable),
        "the last fetch failed"
    );
    refresh(&auth, NOW);
    assert_eq!(
        (auth.stats().keys, auth.stats().keys_skipped),
        (KEYS_MAX, 5)
    );
}

#[test]
fn nobody_comes_in_while_there_are_no_keys() {
    let pair = ec(Algorithm::ES256);
    let fake = Fake::new([Err(FetchError::Timeout), set(&[jwk(&pair, "k")])]);
    let auth = fetching(&fake);
    let token = pair.sign(Some("k"), &claims());
    assert_eq!(at(&auth, &token, NOW), Err(AuthError::Unavailable));
    assert_eq!(at(&auth, &token, NOW + 9), Err(AuthError::Unavailable));
    assert_eq!(fake.count(), 1);
    assert_eq!(at(&auth, &token, NOW + 10), Ok(()));
    assert_eq!(refused(&auth, "unavailable"), 2);
}

#[test]
fn all_who_wait_share_one_fetch_and_only_so_many_do() {
    let pair = ec(Algorithm::ES256);
    let fake = Arc::new(Fake {
        answers: Mutex::new([set(&[jwk(&pair, "k")])].into()),
        is_slow: true,
        ..Fake::default()
    });
    let auth = fetching(&fake);
    let token = pair.sign(Some("k"), &claims());
    let mut waiting = Vec::new();
    for _ in 0..1024 {
        match auth.verify(&token, NOW).unwrap() {
            Verdict::Later(pending) => waiting.push(pending),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        auth.verify(&token, NOW).unwrap_err(),
        AuthError::Unavailable
    );
    assert_eq!(fake.count(), 1);
    // Who began the fetch goes away, and it goes on for the others.
    drop(waiting.swap_remove(0));
    let Ok(Verdict::Later(last)) = auth.verify(&token, NOW) else {
        panic!("a place is free again");
    };
    fake.released.store(1, Ordering::Relaxed);
    waiting.push(last);
    for pending in waiting {
        let identity = pending
            .now_or_never()
            .expect("the answer is there")
            .unwrap();
        assert_eq!(&*identity.user, "ann");
    }
    assert_eq!(fake.count(), 1);
}

/// A fetch that had failed by a clock that was ahead kept all others away until the clock was there again.
#[test]
fn a_clock_that_is_put_back_keeps_no_fetch_away() {
    let pair = ec(Algorithm::ES256);
    let fake = Fake::new([Err(FetchError::Timeout), set(&[jwk(&pair, "k")])]);
    let auth = fetching(&fake);
    let token = pair.sign(Some("k"), &with(json!({"iat": NOW - 7200})));
    assert_eq!(at(&auth, &token, NOW), Err(AuthError::Unavailable));
    assert_eq!(at(&auth, &token, NOW - 3600), Ok(()));
}

/// Whoever asks over HTTP and goes away takes the wait for its fetch along: nobody moves that on any more.
/// The refresh at the interval waited for the remains, found them out of time, and the keys stayed old.
#[test]
fn a_fetch_that_its_waiters_have_left_holds_up_no_refresh() {
    let old = ec(Algorithm::ES256);
    let new = rsa(Algorithm::RS256);
    let stuck = Arc::new(Fake {
        answers: Mutex::new([Err(FetchError::Timeout), set(&[jwk(&new, "new")])].into()),
        is_slow: true,
        ..Fake::default()
    });
    let auth = fetching(&stuck);
    let by_new = new.sign(Some("new"), &claims());
    let unknown = old.sign(Some("unknown"), &claims());
    let Ok(Verdict::Later(leaver)) = auth.verify(&unknown, NOW) else {
        panic!("the set must be fetched");
    };
    assert!(
        leaver.now_or_never().is_none(),
        "it goes away while it waits"
    );
    // No more than one fetch in ten seconds, whoever leaves.
    for _ in 0..3 {
        assert!(auth.verify(&unknown, NOW + 9).is_ok());
    }
    assert_eq!(stuck.count(), 1);
    stuck.released.store(1, Ordering::Relaxed);
    refresh(&auth, NOW + 9);
    assert_eq!(stuck.count(), 2, "a fetch of its own");
    assert_eq!(at(&auth, &by_new, NOW + 9), Ok(()));
}

/// As above, for tokens: after ten seconds another fetch is due, whatever has become of the last.
#[test]
fn a_fetch_that_its_waiters_have_left_holds_up_no_token_for_more_than_ten_seconds() {
    let pair = ec(Algorithm::ES256);
    let fake = Arc::new(Fake {
        answers: Mutex::new([Err(FetchError::Timeout), set(&[jwk(&pair, "k")])].into()),
        is_slow: true,
        ..Fake::default()
    });
    let auth = fetching(&fake);
    let token = pair.sign(Some("k"), &claims());
    let Ok(Verdict::Later(leaver)) = auth.verify(&token, NOW) else {
        panic!("the set must be fetched");
    };
    drop(leaver);
    fake.released.store(1, Ordering::Relaxed);
    assert_eq!(at(&auth, &token, NOW + 10), Ok(()));
    assert_eq!(fake.count(), 2);
}

#[test]
fn fetched_and_given_keys_count_together_and_a_reload_keeps_what_was_fetched() {
    let given = secret(Algorithm::HS256);
    let fetched = ec(Algorithm::ES256);
    let fake = Fake::new([set(&[jwk(&fetched, "k")])]);
    let mut both = options();
    both.token.keys = vec![given.key(None)];
    let auth = Authenticator::new(options(), Some(Arc::new(fake.clone()))).unwrap();
    refresh(&auth, NOW);
    auth.reload(both).unwrap();
    assert_eq!(at(&auth, &given.sign(None, &claims()), NOW), Ok(()));
    assert_eq!(at(&auth, &fetched.sign(Some("k"), &claims()), NOW), Ok(()));
    assert_eq!((fake.count(), auth.stats().keys), (1, 2));
    let mut elsewhere = options();
    elsewhere.token.jwks_url = Some("https://other/jwks".into());
    auth.reload(elsewhere).unwrap();
    assert_eq!(auth.stats().keys, 0, "keys of another place do not count");
}

#[test]
fn options_of_a_set_that_cannot_be_are_refused() {
    let new = |options, fetch| Authenticator::new(options, fetch).map(drop);
    let fetch = || -> Option<Arc<dyn Fetch>> { Some(Arc::new(Fake::new([]))) };
    assert_eq!(
        new(options(), None),
        Err(AuthOptionsError::NoFetch("jwks_url"))
    );
    let mut secrets = options();
    secrets.token.algorithms = vec![Algorithm::HS256];
    assert_eq!(new(secrets, fetch()), Err(AuthOptionsError::JwksAlgorithms));
    let mut file = options();
    file.token.jwks_url = Some("file:///etc/passwd".into());
    assert_eq!(new(file, fetch()), Err(AuthOptionsError::Url("jwks_url")));
}
