//! Keys of the server's API: which program calls, and what it may do.

use std::fmt;
use std::sync::Arc;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::digest::sha256;

/// Shortest key, bytes.
pub const SERVER_KEY_BYTES_MIN: usize = 16;
/// Most keys: every one is compared, so that the time tells nothing.
pub const SERVER_KEYS_MAX: usize = 256;

/// What a key lets a program do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Publish to topics and rooms, and broadcast.
    Publish,
    /// Ask about users, write to them and disconnect them.
    Users,
    /// Rooms, their members and their history.
    Rooms,
    /// What an operator does: revoke, drain, statistics.
    Admin,
}

/// A key as it was given. Its text is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerKeyOptions {
    /// What it is called in logs.
    pub name: String,
    /// The key itself: at least [`SERVER_KEY_BYTES_MIN`] bytes.
    pub key: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
}

impl fmt::Debug for ServerKeyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerKeyOptions")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// Who calls: cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerKey {
    /// What the key is called.
    pub name: Arc<str>,
    /// What it is for.
    pub scopes: Arc<[Scope]>,
}

impl ServerKey {
    /// Whether the key is for this. No scope stands for another one.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// The keys, as hashes.
#[derive(Clone, Default)]
pub struct ServerKeys(Vec<([u8; 32], ServerKey)>);

/// Why keys cannot be taken. Says the name of the key, nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerKeysError {
    /// Somebody could find it by trying.
    #[error("the API key {0:?} has fewer than {SERVER_KEY_BYTES_MIN} bytes")]
    Short(String),
    /// Two keys have this name, or the same text.
    #[error("the API key {0:?} is there twice")]
    Twice(String),
    /// More than [`SERVER_KEYS_MAX`].
    #[error("more than {SERVER_KEYS_MAX} API keys")]
    TooMany,
}

impl ServerKeys {
    /// Takes keys. Errors: [`ServerKeysError`].
    pub fn new(options: &[ServerKeyOptions]) -> Result<Self, ServerKeysError> {
        if options.len() > SERVER_KEYS_MAX {
            return Err(ServerKeysError::TooMany);
        }
        let mut keys = Self::default();
        for option in options {
            let hash = sha256(option.key.as_bytes());
            if option.key.len() < SERVER_KEY_BYTES_MIN {
                return Err(ServerKeysError::Short(option.name.clone()));
            }
            if keys
                .0
                .iter()
                .any(|(known, key)| *known == hash || *key.name == option.name)
            {
                return Err(ServerKeysError::Twice(option.name.clone()));
            }
            let key = ServerKey {
                name: option.name.as_str().into(),
                scopes: option.scopes.as_slice().into(),
            };
            keys.0.push((hash, key));
        }
        Ok(keys)
    }

    /// The key that somebody shows as `Authorization: Bearer`.
    ///
    /// All keys are compared, by their hashes and in constant time, so that the time says neither
    /// how much of a key was right nor which one it was.
    pub fn find(&self, bearer: &str) -> Option<ServerKey> {
        let shown = sha256(bearer.as_bytes());
        let (mut is_known, mut place) = (Choice::from(0), 0u32);
        for (index, (hash, _)) in (0..).zip(&self.0) {
            let is_equal = hash.ct_eq(&shown);
            place.conditional_assign(&index, is_equal);
            is_known |= is_equal;
        }
        let (_, key) = self.0.get(place as usize)?;
        bool::from(is_known).then(|| key.clone())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(_, key)| key))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, key: &str, scopes: &[Scope]) -> ServerKeyOptions {
        ServerKeyOptions {
            name: name.into(),
            key: key.into(),
            scopes: scopes.into(),
        }
    }

    #[test]
    fn a_key_is_known_by_its_whole_text() {
        let keys = ServerKeys::new(&[
            key("shop", "a-key-of-the-shop", &[Scope::Publish]),
            key(
                "ops",
                "a-key-of-the-operator",
                &[Scope::Admin, Scope::Users],
            ),
        ])
        .unwrap();
        let ops = keys.find("a-key-of-the-operator").unwrap();
        assert_eq!(&*ops.name, "ops");
        assert!(ops.allows(Scope::Admin) && ops.allows(Scope::Users));
        assert!(!ops.allows(Scope::Publish), "admin is not everything");
        assert_eq!(&*keys.find("a-key-of-the-shop").unwrap().name, "shop");
        for wrong in [
            "",
            "a-key-of-the-sho",
            "a-key-of-the-shop ",
            "A-key-of-the-shop",
        ] {
            assert_eq!(keys.find(wrong), None, "{wrong}");
        }
        assert_eq!(ServerKeys::default().find("anything"), None);
    }

    #[test]
    fn keys_that_are_weak_or_ambiguous_are_not_taken() {
        let good = key("a", "0123456789abcdef", &[]);
        let new = |keys: &[ServerKeyOptions]| ServerKeys::new(keys).map(drop);
        let short = key("a", "0123456789abcde", &[]);
        assert_eq!(new(&[short]), Err(ServerKeysError::Short("a".into())));
        let same_name = key("a", "0123456789abcdeg", &[]);
        assert_eq!(
            new(&[good.clone(), same_name]),
            Err(ServerKeysError::Twice("a".into()))
        );
        let same_key = key("b", "0123456789abcdef", &[]);
        assert_eq!(
            new(&[good.clone(), same_key]),
            Err(ServerKeysError::Twice("b".into()))
        );
        let many: Vec<_> = (0..=SERVER_KEYS_MAX)
            .map(|n| key(&n.to_string(), &format!("0123456789abcdef{n}"), &[]))
            .collect();
        assert_eq!(new(&many), Err(ServerKeysError::TooMany));
        assert_eq!(new(&many[1..]), Ok(()));
    }

    #[test]
    fn a_key_is_never_printed() {
        let good = key("a", "0123456789abcdef", &[Scope::Rooms]);
        let shown = format!(
            "{good:?} {:?}",
            ServerKeys::new(std::slice::from_ref(&good))
        );
        assert!(
            shown.contains("Rooms") && !shown.contains("0123"),
            "{shown}"
        );
    }
}
