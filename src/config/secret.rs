//! Secrets: values that are read and never shown again, not even in a problem or a debug print.

use std::fmt;
use std::ops::RangeInclusive;

use super::kind::{Kind, Raw};

/// What stands where a secret would.
const HIDDEN: &str = "…";
/// Longest key written in place of a file, bytes: RSA of 16,384 bits takes a fifth of it.
const KEY_TEXT_BYTES_MAX: usize = 16 << 10;

/// A text that is shown nowhere. Only [`expose`](Self::expose) gives it out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself. Never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secret").field(&shown(self)).finish()
    }
}

fn shown(secret: &Secret) -> &'static str {
    if secret.is_empty() { "" } else { HIDDEN }
}

/// A secret of a certain length, or none: "".
pub(super) struct SecretText {
    pub(super) bytes: RangeInclusive<usize>,
    /// Why so long, and how to come by one.
    pub(super) hint: &'static str,
}

impl Kind for SecretText {
    type Value = Secret;

    fn read(&self, raw: &Raw) -> Option<Secret> {
        raw.text().map(Secret::from)
    }

    fn admits(&self, value: &Secret) -> bool {
        value.is_empty() || self.bytes.contains(&value.0.len())
    }

    fn expected(&self) -> String {
        let [start, end] = [self.bytes.start(), self.bytes.end()];
        format!("secret, {start}..={end} bytes, never shown")
    }

    fn write(&self, value: &Secret) -> String {
        format!("{:?}", shown(value))
    }

    fn refusal(&self, found: &Raw) -> String {
        let found = match found.text() {
            Some(text) => format!("one of {}", text.len()),
            None => "something that is not a string".into(),
        };
        format!(
            "expected a {}, found {found}; {}",
            self.expected(),
            self.hint
        )
    }

    fn check(&self, value: &Secret) -> Result<(), String> {
        if self.admits(value) {
            Ok(())
        } else {
            Err(self.refusal(&Raw::Text(value.0.clone())))
        }
    }
}

/// A public key: PEM, a JSON Web Key, or the path of a file that holds either; or none: "".
/// A private key that stands here by mistake is refused and not shown.
pub(super) struct KeyText;

impl Kind for KeyText {
    type Value = String;

    fn read(&self, raw: &Raw) -> Option<String> {
        raw.text().map(String::from)
    }

    fn admits(&self, value: &String) -> bool {
        let is_text = |c: char| !c.is_control() || c == '\n' || c == '\r';
        let is_private = value.contains("PRIVATE KEY-----") || value.contains("\"d\"");
        let is_path = !is_key(value);
        value.len() <= KEY_TEXT_BYTES_MAX
            && value.chars().all(is_text)
            && !is_private
            && !(is_path && value.contains('\n'))
    }

    fn expected(&self) -> String {
        "public key, PEM or JSON Web Key, or the path of a file that holds either".into()
    }

    fn write(&self, value: &String) -> String {
        toml::Value::String(value.clone()).to_string()
    }

    fn refusal(&self, found: &Raw) -> String {
        let found = match found.text() {
            Some(text) if text.contains("PRIVATE KEY-----") => "a private key",
            Some(text) if text.contains("\"d\"") => "a private JSON Web Key",
            Some(_) => "another text",
            None => "something that is not a string",
        };
        format!("expected a {}, found {found}", self.expected())
    }

    fn check(&self, value: &String) -> Result<(), String> {
        if self.admits(value) {
            Ok(())
        } else {
            Err(self.refusal(&Raw::Text(value.clone())))
        }
    }
}

/// Whether the text of a `public_key` is the key itself, and not the path of its file.
pub fn is_key(text: &str) -> bool {
    text.starts_with("-----BEGIN") || text.starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: SecretText = SecretText {
        bytes: 8..=16,
        hint: "make one",
    };

    #[test]
    fn a_secret_is_shown_nowhere() {
        let secret = Secret::from("hunter2hunter2");
        assert_eq!(
            format!("{secret:?} {:?}", Secret::default()),
            "Secret(\"…\") Secret(\"\")"
        );
        assert_eq!(KIND.write(&secret), "\"…\"");
        assert_eq!(secret.expose(), "hunter2hunter2");
        for wrong in [
            Raw::Text("hunter2".into()),
            Raw::Words("hunter2".repeat(9)),
            Raw::Integer(4711),
        ] {
            let said = KIND.take(&wrong).unwrap_err();
            assert!(!said.contains("hunter") && !said.contains("4711"), "{said}");
            assert!(said.ends_with("; make one"), "{said}");
        }
        let said = KIND.check(&Secret::from("hunter2")).unwrap_err();
        assert!(
            said.contains("found one of 7") && !said.contains("hunter"),
            "{said}"
        );
        assert_eq!(KIND.check(&Secret::default()), Ok(()));
    }

    #[test]
    fn a_public_key_is_a_key_or_a_path_and_never_a_private_key() {
        let pem = "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n";
        for (text, good) in [
            ("", true),
            ("/etc/campanile/key.pem", true),
            (pem, true),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"A"}"#, true),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"A","d":"hush"}"#, false),
            (
                "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----",
                false,
            ),
            ("a\nhush", false),
            ("hush\0", false),
        ] {
            let taken = KeyText.take(&Raw::Text(text.into()));
            assert_eq!(taken.is_ok(), good, "{text:?}");
            assert!(!taken.err().unwrap_or_default().contains("hush"));
        }
        assert!(is_key(pem) && !is_key("key.pem"));
    }
}
