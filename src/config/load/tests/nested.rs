//! Sections inside sections, and the secrets in them.

use super::{environment, file, problems};
use crate::config::{Algorithm, AuthMode, Scope, load};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn a_section_inside_another_is_written_three_ways() {
    let apart =
        format!("[auth]\nmode = \"required\"\n[auth.jwt]\nsecret = \"{SECRET}\"\nissuer = \"me\"");
    let inline =
        format!("[auth]\nmode = \"required\"\njwt = {{ secret = \"{SECRET}\", issuer = \"me\" }}");
    let dotted = format!(
        "auth.mode = \"required\"\nauth.jwt.secret = \"{SECRET}\"\nauth.jwt.issuer = \"me\""
    );
    let expected = load(&file(&apart)).unwrap();
    assert_eq!(expected.auth.mode, AuthMode::Required);
    assert_eq!(
        (expected.jwt.secret.expose(), &*expected.jwt.issuer),
        (SECRET, "me")
    );
    assert_eq!(load(&file(&inline)).unwrap(), expected);
    assert_eq!(load(&file(&dotted)).unwrap(), expected);
    let variables = environment(&[
        ("CAMPANILE_AUTH__MODE", "required"),
        ("CAMPANILE_AUTH__JWT__SECRET", SECRET),
        ("CAMPANILE_AUTH__JWT__ISSUER", "me"),
    ]);
    assert_eq!(load(&variables).unwrap(), expected);
}

#[test]
fn sections_inside_another_may_stand_several_times() {
    let text = format!(
        "[auth.jwt]\naudience = \"a\"\n[[auth.key]]\nid = \"2026\"\nsecret = \"{SECRET}\"\n[[auth.key]]\n\
         algorithm = \"EdDSA\"\npublic_key = \"key.pem\"\n[[api.key]]\nname = \"shop\"\nkey = \"{SECRET}\"\n\
         scopes = [\"publish\", \"rooms\"]\n[[tls.certificate]]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n"
    );
    let config = load(&file(&text)).unwrap();
    assert_eq!(config.jwt.audience, ["a"]);
    let [first, second] = config.auth_key.as_slice() else {
        panic!("two keys")
    };
    assert_eq!((&*first.id, first.algorithm), ("2026", Algorithm::HS256));
    assert_eq!(
        (&*second.public_key, second.algorithm),
        ("key.pem", Algorithm::EdDSA)
    );
    assert_eq!(config.api_key[0].scopes, [Scope::Publish, Scope::Rooms]);
    assert_eq!(config.certificate[0].key, "k.pem");
}

#[test]
fn problems_of_inner_sections_have_their_whole_names() {
    let text = "[auth]\njwt = \"hush\"\nkey = { id = 1 }\n[auth.jvt]\nissuer = 1\n[tls]\ncertificate = [1]\n\
                [[api.key]]\nname = \"a b\"\nkey = \"hush\"\n";
    assert_eq!(
        problems(&file(text)),
        [
            "c.toml:2: auth.jwt: expected a section, [auth.jwt], found a string",
            "c.toml:3: auth.key: expected [[auth.key]], found a table",
            "c.toml:4: auth.jvt: unknown option; did you mean \"jwt\"?",
            "c.toml:7: tls.certificate: expected [[tls.certificate]], found an integer",
            "c.toml:9: api.key[0].name: expected a name of ASCII letters, digits and any of -._, 0..=64 bytes, \
             found \"a b\"",
            "c.toml:10: api.key[0].key: expected a secret, 16..=1024 bytes, never shown, found one of 4; \
             `openssl rand -base64 32` makes one",
        ]
    );
    let text = "[auth.jwt]\nsecrets = 1\nissuer = 2\n[auth.jwt.more]\nx = 1";
    assert_eq!(
        problems(&file(text)),
        [
            "c.toml:2: auth.jwt.secrets: unknown option; did you mean \"secret\"?",
            "c.toml:3: auth.jwt.issuer: expected a text without control characters, 0..=1024 bytes, found 2",
            "c.toml:4: auth.jwt.more: unknown option",
        ]
    );
}

#[test]
fn no_problem_shows_a_secret() {
    let hush = "hush".repeat(2000);
    for text in [
        format!("[auth.jwt]\nsecret = [\"{hush}\"]"),
        format!("[auth.jwt]\nsecret = \"{hush}\""),
        format!("[auth.jwt]\nsecret = \"hush\""),
        format!("[auth]\njwt = \"{hush}\""),
        format!("[auth]\njwt = [\"{hush}\"]"),
        format!("[auth]\nsecret = \"{hush}\""),
        format!("[[auth.key]]\nsecret = \"{hush}\""),
        format!("[auth]\nkey = [\"{hush}\"]"),
        format!(
            "[[auth.key]]\nalgorithm = \"HS512\"\nsecret = \"{}\"",
            "hush".repeat(10)
        ),
        format!("[[api.key]]\nname = \"x\"\nkey = \"{hush}\""),
        format!("[admin]\ntoken = \"hush\""),
        format!("[auth.jwt]\npublic_key = \"\"\"-----BEGIN PRIVATE KEY-----\n{hush}\"\"\""),
    ] {
        let found = problems(&file(&text));
        assert!(
            !found.is_empty() && !found.concat().contains("hush"),
            "{found:?}"
        );
    }
    let sources = environment(&[("CAMPANILE_AUTH__JWT__SECRET", "hush")]);
    assert!(!problems(&sources).concat().contains("hush"));
    assert!(!format!("{sources:?}").contains("hush"));
    let config = load(&environment(&[(
        "CAMPANILE_AUTH__JWT__SECRET",
        &hush[..64],
    )]))
    .unwrap();
    assert!(!format!("{config:?}").contains("hush"));
}
