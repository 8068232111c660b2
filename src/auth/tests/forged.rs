//! Tokens that somebody has put together with care: keys of their own in the header, members twice,
//! base64 that is not canonical. RFC 7515 sections 4.1 and 5.2, RFC 7519 section 4, RFC 8725.

use super::*;

/// A token of these very texts, signed by HS256.
fn signed(header: &str, claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

#[test]
fn a_header_says_which_key_and_never_brings_one() {
    let pair = ec(Algorithm::ES256);
    let auth = knowing(&pair);
    let eve = EncodingKey::from_ec_pem(pem!("ec-other.pem").as_bytes()).unwrap();
    let own = jsonwebtoken::jwk::Jwk::from_encoding_key(&eve, Algorithm::ES256).unwrap();
    let own = serde_json::to_value(own).unwrap();
    for (name, value) in [
        ("jwk", own),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/chain")),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("AAAA")),
    ] {
        let mut header = json!({"alg": "ES256"});
        header[name] = value;
        let message = assemble(&header, &claims(), "");
        let message = message.trim_end_matches('.');
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &eve, Algorithm::ES256).unwrap();
        let found = verify(&auth, &format!("{message}.{signature}"));
        assert_eq!(found, Err(AuthError::BadSignature), "{name}");
    }
}

#[test]
fn a_header_that_can_be_read_in_two_ways_is_refused() {
    let auth = knowing(&secret(Algorithm::HS256));
    let claims = claims().to_string();
    assert!(verify(&auth, &signed(r#"{"alg":"HS256","typ":"at+jwt"}"#, &claims)).is_ok());
    for header in [
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"HS256","kid":7}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":null}"#,
        r#"["HS256"]"#,
        r#"{"alg":"HS256"} "x""#,
    ] {
        let found = verify(&auth, &signed(header, &claims));
        assert_eq!(found, Err(AuthError::Malformed), "{header}");
    }
}

#[test]
fn of_a_claim_that_stands_twice_the_last_counts() {
    // RFC 7519 section 4: refuse them, or take the lexically last. Never a mixture.
    let auth = knowing(&secret(Algorithm::HS256));
    let exp = NOW + 60;
    let token = |claims: &str| signed(r#"{"alg":"HS256"}"#, claims);
    let twice = token(&format!(
        r#"{{"sub":"ann","exp":1,"sub":"bob","exp":{exp}}}"#
    ));
    let identity = verify(&auth, &twice).unwrap();
    assert_eq!((&*identity.user, identity.expires_s), ("bob", Some(exp)));
    let over = token(&format!(r#"{{"sub":"ann","exp":{exp},"exp":1}}"#));
    assert_eq!(verify(&auth, &over), Err(AuthError::Expired));
}

#[test]
fn numbers_beyond_measure_and_broken_text_are_no_claims() {
    let auth = knowing(&secret(Algorithm::HS256));
    let exp = NOW + 60;
    for (claims, expected) in [
        (r#"{"sub":"ann","exp":1e999}"#, AuthError::Malformed),
        (r#"{"sub":"ann","exp":-1e18}"#, AuthError::BadClaim("exp")),
        (
            r#"{"sub":"ann","exp":18446744073709551616}"#,
            AuthError::BadClaim("exp"),
        ),
        (r#"{"sub":"ann","exp":NaN}"#, AuthError::Malformed),
        (r#"{"sub":"\ud800","exp":EXP}"#, AuthError::Malformed),
        (r#"{"sub":"a\u0000b","exp":EXP}"#, AuthError::NoUser),
        (r#"{"sub":"a\u009bb","exp":EXP}"#, AuthError::NoUser),
        (r#"{"sub":"a\u007f","exp":EXP}"#, AuthError::NoUser),
        (
            r#"{"sub":18446744073709551616,"exp":EXP}"#,
            AuthError::NoUser,
        ),
        (
            r#"{"sub":"ann","exp":EXP,"roles":"a\u0007"}"#,
            AuthError::BadClaim("roles"),
        ),
        (r#"{"sub":"ann","exp":EXP} {}"#, AuthError::Malformed),
    ] {
        let claims = claims.replace("EXP", &exp.to_string());
        let found = verify(&auth, &signed(r#"{"alg":"HS256"}"#, &claims));
        assert_eq!(found, Err(expected), "{claims}");
    }
}

#[test]
fn base64_has_one_form() {
    for pair in pairs() {
        let auth = knowing(&pair);
        let token = pair.sign(None, &claims());
        let (message, signature) = token.rsplit_once('.').unwrap();
        // Bits of the last digit that stand for nothing: 32 and 64 bytes leave some.
        let (front, last) = signature.split_at(signature.len() - 1);
        let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let place = digits.find(last).unwrap();
        let other = &digits[place ^ 1..][..1];
        for same in [
            format!("{message}.{front}{other}"),
            format!("{token}="),
            format!("{token}=="),
            format!("{token}\n"),
            token.replace('-', "+").replace('_', "/") + "=",
        ] {
            let found = verify(&auth, &same);
            assert!(found.is_err(), "{:?} {same}", pair.algorithm);
        }
    }
}

#[test]
fn an_rsa_key_is_as_long_as_its_modulus() {
    use jsonwebtoken::jwk::Jwk;
    // A short modulus with zeros before it.
    let pair = rsa(Algorithm::RS256);
    let jwk = Jwk::from_encoding_key(&pair.private, pair.algorithm).unwrap();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    let key = |jwk: &Value| {
        let key = KeyOptions {
            material: Material::PublicJwk(jwk.to_string()),
            ..pair.key(None)
        };
        Authenticator::new(token_options(vec![key]), None).map(drop)
    };
    assert_eq!(key(&jwk), Ok(()));
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let padded = [vec![0; 128], modulus[..128].to_vec()].concat();
    jwk["n"] = URL_SAFE_NO_PAD.encode(padded).into();
    let why = KeyError::RsaSize;
    assert_eq!(key(&jwk), Err(AuthOptionsError::Key { place: 0, why }));
}

#[test]
fn a_private_key_is_refused_in_every_form() {
    let pair = ec(Algorithm::ES256);
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&pair.private, pair.algorithm).unwrap();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    jwk["d"] = "AAAA".into();
    let key = KeyOptions {
        material: Material::PublicJwk(jwk.to_string()),
        ..pair.key(None)
    };
    let why = KeyError::Private;
    assert_eq!(
        Authenticator::new(token_options(vec![key]), None).map(drop),
        Err(AuthOptionsError::Key { place: 0, why })
    );
}
