//! Tokens: who is known by one, and every way in which one is not good.

use super::*;
use crate::id::UserId;

fn user(name: &str) -> UserId {
    name.into()
}

#[test]
fn a_token_of_each_algorithm_says_who_it_is() {
    for pair in pairs() {
        let auth = knowing(&pair);
        let token = pair.sign(
            None,
            &with(json!({"jti": "7", "roles": ["admin", "editor"]})),
        );
        let identity = verify(&auth, &token).unwrap();
        assert_eq!(identity.user, user("ann"), "{:?}", pair.algorithm);
        assert_eq!(
            identity.roles.iter().collect::<Vec<_>>(),
            ["admin", "editor"]
        );
        assert_eq!(
            (identity.expires_s, identity.issued_s),
            (Some(NOW + 3600), Some(NOW - 10))
        );
        assert_eq!(identity.token_id.as_deref(), Some("7"));
        assert_eq!(identity.source, None);
    }
}

#[test]
fn a_token_of_another_key_or_altered_anywhere_is_refused() {
    let others = [
        (
            Algorithm::HS256,
            EncodingKey::from_secret(b"another secret of 32 bytes: ok!!"),
        ),
        (
            Algorithm::RS256,
            EncodingKey::from_rsa_pem(pem!("rsa-other.pem").as_bytes()).unwrap(),
        ),
        (
            Algorithm::ES256,
            EncodingKey::from_ec_pem(pem!("ec-other.pem").as_bytes()).unwrap(),
        ),
    ];
    for (algorithm, other) in others {
        let forged = jsonwebtoken::encode(&Header::new(algorithm), &claims(), &other).unwrap();
        let pair = pairs()
            .into_iter()
            .find(|pair| pair.algorithm == algorithm)
            .unwrap();
        let auth = knowing(&pair);
        assert_eq!(
            verify(&auth, &forged),
            Err(AuthError::BadSignature),
            "{algorithm:?}"
        );
    }
    for pair in pairs() {
        let auth = knowing(&pair);
        let token = pair.sign(None, &claims());
        assert!(verify(&auth, &token).is_ok());
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let eve = URL_SAFE_NO_PAD.encode(with(json!({"sub": "eve"})).to_string());
        let mut altered = URL_SAFE_NO_PAD.decode(signature).unwrap();
        altered[3] ^= 1;
        let altered = URL_SAFE_NO_PAD.encode(altered);
        for forged in [
            format!("{header}.{eve}.{signature}"),
            format!("{message}.{altered}"),
            format!("{message}.{}", &signature[..signature.len() - 4]),
            format!("{message}."),
            format!("{message}.not base64"),
        ] {
            let found = verify(&auth, &forged);
            assert_eq!(
                found,
                Err(AuthError::BadSignature),
                "{:?} {forged}",
                pair.algorithm
            );
        }
    }
}

#[test]
fn no_algorithm_is_none() {
    for algorithm in [
        "none", "None", "NONE", "nOnE", "", "HS257", "hs256", "ES256K",
    ] {
        let header = json!({"alg": algorithm, "typ": "JWT"});
        for pair in pairs() {
            let token = assemble(&header, &claims(), "");
            assert_eq!(
                verify(&knowing(&pair), &token),
                Err(AuthError::Algorithm),
                "{algorithm}"
            );
        }
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    for (pair, pem) in [
        (rsa(Algorithm::RS256), pem!("rsa.pub.pem")),
        (ec(Algorithm::ES256), pem!("ec-p256.pub.pem")),
        (ed25519(), pem!("ed25519.pub.pem")),
    ] {
        // Whoever knows the public key signs with it as if it were a secret.
        for text in [pem, pem.trim()] {
            let forged = jsonwebtoken::encode(
                &Header::new(Algorithm::HS256),
                &claims(),
                &EncodingKey::from_secret(text.as_bytes()),
            )
            .unwrap();
            // Also where the algorithm is allowed for other keys.
            let both = token_options(vec![pair.key(None), secret(Algorithm::HS256).key(None)]);
            let both = Authenticator::new(both, None).unwrap();
            assert_eq!(verify(&knowing(&pair), &forged), Err(AuthError::Algorithm));
            assert_eq!(verify(&both, &forged), Err(AuthError::BadSignature));
        }
        // Nor can the options bind it so.
        let confused = KeyOptions {
            algorithms: vec![Algorithm::HS256],
            ..pair.key(None)
        };
        let error = Authenticator::new(token_options(vec![confused]), None).unwrap_err();
        let why = KeyError::Algorithm;
        assert_eq!(error, AuthOptionsError::Key { place: 0, why });
    }
}

#[test]
fn a_key_is_for_its_own_algorithm_only() {
    let rs256 = rsa(Algorithm::RS256);
    for other in [Algorithm::RS384, Algorithm::PS256] {
        let token = rsa(other).sign(None, &claims());
        assert_eq!(
            verify(&knowing(&rs256), &token),
            Err(AuthError::Algorithm),
            "{other:?}"
        );
    }
    // A key that names none is for those of the options that are of its kind.
    let open = KeyOptions {
        algorithms: Vec::new(),
        ..rs256.key(None)
    };
    let mut options = token_options(vec![open]);
    options.token.algorithms = vec![Algorithm::HS256, Algorithm::PS256];
    let auth = Authenticator::new(options, None).unwrap();
    assert!(verify(&auth, &rsa(Algorithm::PS256).sign(None, &claims())).is_ok());
    let token = rs256.sign(None, &claims());
    assert_eq!(verify(&auth, &token), Err(AuthError::Algorithm));
}

#[test]
fn a_kid_chooses_the_key_and_without_one_all_are_tried() {
    let other = KeyOptions {
        id: Some("old".into()),
        algorithms: vec![Algorithm::ES256],
        material: Material::PublicPem(pem!("ec-other.pub.pem").into()),
    };
    let pair = ec(Algorithm::ES256);
    let options = token_options(vec![other.clone(), pair.key(Some("new"))]);
    let auth = Authenticator::new(options, None).unwrap();
    for (kid, expected) in [
        (Some("new"), Ok(user("ann"))),
        (None, Ok(user("ann"))),
        (Some("old"), Err(AuthError::BadSignature)),
        (Some("unknown"), Err(AuthError::UnknownKey)),
        (Some(""), Err(AuthError::UnknownKey)),
    ] {
        // A token of its own each, so that none is known from before.
        let token = pair.sign(kid, &with(json!({"n": format!("{kid:?}")})));
        assert_eq!(verify(&auth, &token).map(|i| i.user), expected, "{kid:?}");
    }
    let nameless = Authenticator::new(token_options(vec![other, pair.key(None)]), None).unwrap();
    assert!(verify(&nameless, &pair.sign(Some("any"), &claims())).is_ok());
    let long = pair.sign(Some(&"k".repeat(257)), &claims());
    assert_eq!(verify(&nameless, &long), Err(AuthError::Malformed));
}

#[test]
fn claims_are_what_they_must_be() {
    let pair = secret(Algorithm::HS256);
    let mut options = token_options(vec![pair.key(None)]);
    options.token.issuer = Some("https://issuer".into());
    options.token.audience = vec!["chat".into(), "game".into()];
    let auth = Authenticator::new(options, None).unwrap();
    let far = 1_u64 << 53;
    for (others, expected) in [
        (json!({}), Ok(())),
        (json!({"aud": "game"}), Ok(())),
        (json!({"aud": ["x", "game"]}), Ok(())),
        (json!({"aud": ["x"]}), Err(AuthError::WrongAudience)),
        (json!({"aud": "Chat"}), Err(AuthError::WrongAudience)),
        (json!({"aud": []}), Err(AuthError::WrongAudience)),
        (json!({"aud": 7}), Err(AuthError::WrongAudience)),
        (json!({"aud": null}), Err(AuthError::WrongAudience)),
        (
            json!({"iss": "https://issuer/"}),
            Err(AuthError::WrongIssuer),
        ),
        (
            json!({"iss": ["https://issuer"]}),
            Err(AuthError::WrongIssuer),
        ),
        (json!({"iss": null}), Err(AuthError::WrongIssuer)),
        (json!({"exp": NOW - 29}), Ok(())),
        (json!({"exp": NOW - 30}), Err(AuthError::Expired)),
        (json!({"exp": 0}), Err(AuthError::Expired)),
        (json!({"exp": NOW as f64 + 0.5}), Ok(())),
        (json!({"exp": null}), Err(AuthError::BadClaim("exp"))),
        (json!({"exp": -1}), Err(AuthError::BadClaim("exp"))),
        (json!({"exp": "2030"}), Err(AuthError::BadClaim("exp"))),
        (json!({"exp": far}), Err(AuthError::BadClaim("exp"))),
        (json!({"exp": 1e300}), Err(AuthError::BadClaim("exp"))),
        (json!({"nbf": NOW + 30}), Ok(())),
        (json!({"nbf": NOW + 31}), Err(AuthError::NotYetValid)),
        (json!({"nbf": true}), Err(AuthError::BadClaim("nbf"))),
        (json!({"iat": NOW + 30}), Ok(())),
        (json!({"iat": NOW + 31}), Err(AuthError::NotYetValid)),
        (json!({"iat": null}), Ok(())),
        (json!({"jti": 7}), Err(AuthError::BadClaim("jti"))),
        (
            json!({"jti": "j".repeat(257)}),
            Err(AuthError::BadClaim("jti")),
        ),
        (json!({"roles": 7}), Err(AuthError::BadClaim("roles"))),
        (
            json!({"roles": ["a", 7]}),
            Err(AuthError::BadClaim("roles")),
        ),
        (json!({"roles": ["a,b"]}), Err(AuthError::BadClaim("roles"))),
        (json!({"roles": ["a b"]}), Err(AuthError::BadClaim("roles"))),
        (
            json!({"roles": vec!["r"; 33]}),
            Err(AuthError::BadClaim("roles")),
        ),
        (json!({"sub": null}), Err(AuthError::NoUser)),
        (json!({"sub": ""}), Err(AuthError::NoUser)),
        (json!({"sub": "a\nb"}), Err(AuthError::NoUser)),
        (json!({"sub": "x".repeat(257)}), Err(AuthError::NoUser)),
        (json!({"sub": 1.5}), Err(AuthError::NoUser)),
        (json!({"sub": ["ann"]}), Err(AuthError::NoUser)),
    ] {
        let mut all = with(json!({"iss": "https://issuer", "aud": "chat"}));
        for (name, value) in others.as_object().unwrap() {
            all[name] = value.clone();
        }
        let found = verify(&auth, &pair.sign(None, &all)).map(drop);
        assert_eq!(found, expected, "{others}");
    }
}

#[test]
fn user_and_roles_stand_where_the_options_say() {
    let pair = secret(Algorithm::HS256);
    let mut options = token_options(vec![pair.key(None)]);
    options.token.user_id_claim = "uid".into();
    options.token.roles_claim = "scope".into();
    options.token.is_expiry_required = false;
    let auth = Authenticator::new(options, None).unwrap();
    for (claims, expected, roles) in [
        (
            json!({"uid": 42, "scope": "a b,c"}),
            "42",
            &["a", "b", "c"][..],
        ),
        (json!({"uid": "42", "scope": "  a ,b "}), "42", &["a", "b"]),
        (json!({"uid": -7, "sub": "ann"}), "-7", &[]),
        (
            json!({"uid": u64::MAX, "scope": null}),
            "18446744073709551615",
            &[],
        ),
    ] {
        let identity = verify(&auth, &pair.sign(None, &claims)).unwrap();
        assert_eq!(&*identity.user, expected);
        assert_eq!(identity.roles.iter().collect::<Vec<_>>(), roles);
        assert_eq!(identity.expires_s, None);
    }
}

#[test]
fn what_is_no_token_is_malformed_and_what_is_long_is_not_looked_at() {
    let pair = secret(Algorithm::HS256);
    let auth = knowing(&pair);
    let good = pair.sign(None, &claims());
    let crit = json!({"alg": "HS256", "crit": ["b64"], "b64": false});
    let crit = assemble(&crit, &claims(), "AAAA");
    for token in [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "é.é.é",
        &crit,
        &format!("{good}.x"),
        &good.replace('.', ""),
        &format!(" {good}"),
        "e30.e30.e30",
    ] {
        assert_eq!(verify(&auth, token), Err(AuthError::Malformed), "{token}");
    }
    for claims in [json!([]), json!("ann"), json!(null)] {
        assert_eq!(
            verify(&auth, &pair.sign(None, &claims)),
            Err(AuthError::Malformed)
        );
    }
    let deep = format!("{}{}", "[".repeat(3000), "]".repeat(3000));
    let deep = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(deep));
    assert_eq!(verify(&auth, &deep), Err(AuthError::Malformed));
    let long = pair.sign(None, &with(json!({"x": "y".repeat(8192)})));
    assert_eq!(verify(&auth, &long), Err(AuthError::TooLong));
    assert!(refused(&auth, "malformed") > 0 && refused(&auth, "too_long") == 1);
}

#[test]
fn a_token_that_was_verified_is_known_until_it_expires_or_its_key_goes() {
    let pair = secret(Algorithm::HS256);
    let auth = knowing(&pair);
    let token = pair.sign(None, &claims());
    let first = verify(&auth, &token).unwrap();
    assert_eq!(verify(&auth, &token), Ok(first.clone()));
    let stats = auth.stats();
    assert_eq!((stats.verified, stats.cached, stats.keys), (1, 1, 1));
    let end = NOW + 3600 + 30;
    assert!(settle(auth.verify(&token, end - 1)).is_ok());
    assert_eq!(settle(auth.verify(&token, end)), Err(AuthError::Expired));
    assert_eq!(auth.recheck(&first, end).unwrap_err(), AuthError::Expired);
    assert!(auth.recheck(&first, end - 1).is_ok());
    let other = KeyOptions {
        material: Material::Secret(b"another secret of 32 bytes: ok!!".into()),
        ..pair.key(None)
    };
    auth.reload(token_options(vec![other.clone(), pair.key(None)]))
        .unwrap();
    assert_eq!(
        settle(auth.recheck(&first, NOW)),
        Ok(first.clone()),
        "rotation"
    );
    auth.reload(token_options(vec![other])).unwrap();
    assert_eq!(
        auth.recheck(&first, NOW).unwrap_err(),
        AuthError::UnknownKey
    );
    assert_eq!(verify(&auth, &token), Err(AuthError::BadSignature));
    let none = AuthOptions::default();
    assert_eq!(auth.reload(none), Err(AuthOptionsError::NoAuthenticator));
    assert_eq!(auth.stats().keys, 1, "all is as before");
}

#[test]
fn what_is_revoked_is_refused_also_if_it_was_known() {
    let pair = secret(Algorithm::HS256);
    let auth = knowing(&pair);
    let named = pair.sign(None, &with(json!({"jti": "7"})));
    let old = pair.sign(None, &with(json!({"iat": NOW - 100})));
    let timeless = pair.sign(None, &with(json!({"iat": null})));
    let new = pair.sign(None, &with(json!({"iat": NOW - 50})));
    let known = [&named, &old, &timeless, &new].map(|token| verify(&auth, token).unwrap());
    assert!(!known.iter().any(|identity| auth.is_revoked(identity)));
    assert_eq!(auth.revocation_epoch(), 0);
    auth.revoke(Revocation::Token { id: "7".into() }, NOW);
    assert_eq!(verify(&auth, &named), Err(AuthError::Revoked));
    assert!(verify(&auth, &old).is_ok());
    let user = user("ann");
    let issued_before_s = NOW - 50;
    auth.revoke(
        Revocation::User {
            user,
            issued_before_s,
        },
        NOW,
    );
    assert_eq!(auth.revocation_epoch(), 2);
    let revoked = known.each_ref().map(|identity| auth.is_revoked(identity));
    assert_eq!(revoked, [true, true, true, false]);
    for (token, identity) in [&old, &timeless].into_iter().zip(&known[1..]) {
        assert_eq!(verify(&auth, token), Err(AuthError::Revoked));
        assert_eq!(auth.recheck(identity, NOW).unwrap_err(), AuthError::Revoked);
    }
    assert!(verify(&auth, &new).is_ok());
    assert_eq!(auth.stats().revocations, 2);
}

#[test]
fn a_revocation_is_forgotten_after_its_time_and_the_oldest_when_there_are_too_many() {
    let pair = secret(Algorithm::HS256);
    let auth = knowing(&pair);
    let anybody = verify(&auth, &pair.sign(None, &claims())).unwrap();
    let revoke = |id: &str, now_s| auth.revoke(Revocation::Token { id: id.into() }, now_s);
    let keep_s = AuthOptions::default().revocation_memory.as_secs();
    revoke("a", NOW);
    revoke("b", NOW);
    revoke("a", NOW + 100);
    revoke("c", NOW + keep_s);
    let holds = |id: &str| {
        auth.is_revoked(&Identity {
            token_id: Some(id.into()),
            ..anybody.clone()
        })
    };
    let held = ["a", "b", "c"].map(holds);
    assert_eq!(held, [true, false, true], "renewed, forgotten, new");
    let mut displaced = Vec::new();
    for n in 0..REVOCATIONS_MAX {
        displaced.extend(revoke(&n.to_string(), NOW + keep_s).displaced);
    }
    let oldest = ["a", "c"].map(|id| Revocation::Token { id: id.into() });
    assert_eq!(displaced, oldest, "the oldest went first");
    assert_eq!(auth.stats().revocations, REVOCATIONS_MAX);
    assert!(!holds("a") && !holds("c"));
    let again = revoke("7", NOW + keep_s);
    assert_eq!(again.displaced, None, "it has its place");
    assert!(holds(&(REVOCATIONS_MAX - 1).to_string()));
}

#[test]
fn options_that_let_nobody_in_or_the_wrong_ones_are_refused() {
    let new = |options: AuthOptions| Authenticator::new(options, None).map(drop);
    assert_eq!(
        new(AuthOptions::default()),
        Err(AuthOptionsError::NoAuthenticator)
    );
    for (material, why) in [
        (Material::Secret(vec![0; 31]), KeyError::ShortSecret),
        (
            Material::PublicPem(pem!("rsa.pem").into()),
            KeyError::Private,
        ),
        (
            Material::PublicPem(pem!("ec-p256.pem").into()),
            KeyError::Private,
        ),
        (
            Material::PublicPem(pem!("rsa-weak.pub.pem").into()),
            KeyError::RsaSize,
        ),
        (
            Material::PublicPem(pem!("ec-p521.pub.pem").into()),
            KeyError::Unreadable,
        ),
        (Material::PublicPem("nonsense".into()), KeyError::Unreadable),
        (Material::PublicJwk("{}".into()), KeyError::Unreadable),
        (
            Material::PublicJwk(r#"{"kty":"oct","k":"AAAA"}"#.into()),
            KeyError::Unreadable,
        ),
        // For ES256 only, while the options allow HS256.
        (
            Material::PublicPem(pem!("ec-p256.pub.pem").into()),
            KeyError::Algorithm,
        ),
    ] {
        let shown = format!("{material:?}");
        assert!(shown.ends_with("(…)"), "{shown}");
        let key = KeyOptions {
            id: None,
            algorithms: Vec::new(),
            material,
        };
        let found = new(token_options(vec![key]));
        assert_eq!(
            found,
            Err(AuthOptionsError::Key { place: 0, why }),
            "{shown}"
        );
    }
    let p384_for_es256 = KeyOptions {
        algorithms: vec![Algorithm::ES256],
        ..ec(Algorithm::ES384).key(None)
    };
    let why = KeyError::Algorithm;
    assert_eq!(
        new(token_options(vec![p384_for_es256])),
        Err(AuthOptionsError::Key { place: 0, why })
    );
    let many = vec![secret(Algorithm::HS256).key(None); KEYS_MAX + 1];
    assert_eq!(new(token_options(many)), Err(AuthOptionsError::TooManyKeys));
}
