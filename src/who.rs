//! Who may do something: the words of the configuration, and whom they let through.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A kind of people, or the server's own key. A list of them lets through whom any of them does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Everybody who is connected.
    Anyone,
    /// Whoever is a member of the room that it is about.
    Member,
    /// Whoever made the room that it is about.
    Owner,
    /// Whoever has this role, by token or, where requests are believed, by name.
    Role(String),
    /// Nobody who is connected: only who holds a key of the server's API.
    Server,
}

/// What is known of somebody who asks.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// A member of the room that it is about.
    pub is_member: bool,
    /// Made the room that it is about.
    pub is_owner: bool,
    /// Roles of the connection.
    pub roles: &'a Roles,
}

impl Who {
    /// Whether somebody of this standing is meant. [`Who::Server`] means nobody who is connected.
    pub fn allows(&self, standing: Standing<'_>) -> bool {
        match self {
            Self::Anyone => true,
            Self::Member => standing.is_member,
            Self::Owner => standing.is_owner,
            Self::Role(role) => standing.roles.contains(role),
            Self::Server => false,
        }
    }

    /// Whether any of the list means somebody of this standing.
    pub fn any_allows(list: &[Self], standing: Standing<'_>) -> bool {
        list.iter().any(|who| who.allows(standing))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Member => f.write_str("member"),
            Self::Owner => f.write_str("owner"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::Server => f.write_str("server"),
        }
    }
}

/// A word that means none of the kinds of [`Who`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected \"anyone\", \"member\", \"owner\", \"role:NAME\" or \"server\"")]
pub struct UnknownWho;

impl FromStr for Who {
    type Err = UnknownWho;

    /// Reads what [`Display`](fmt::Display) writes: `anyone`, `member`, `owner`, `role:x`, `server`.
    fn from_str(text: &str) -> Result<Self, UnknownWho> {
        match text {
            "anyone" => Ok(Self::Anyone),
            "member" => Ok(Self::Member),
            "owner" => Ok(Self::Owner),
            "server" => Ok(Self::Server),
            _ => match text.strip_prefix("role:") {
                Some(role) if is_role(role) => Ok(Self::Role(role.into())),
                _ => Err(UnknownWho),
            },
        }
    }
}

/// Whether a role can be called so: 1 to [`Roles::NAME_BYTES_MAX`] bytes without control
/// characters, white space and commas.
fn is_role(name: &str) -> bool {
    (1..=Roles::NAME_BYTES_MAX).contains(&name.len())
        && !name.contains(|c: char| c == ',' || c.is_control() || c.is_whitespace())
}

/// The roles of a connection: cheap to clone, 16 bytes and no more where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles(Option<Arc<[Box<str>]>>);

impl Roles {
    /// Most roles of one connection.
    pub const COUNT_MAX: usize = 32;
    /// Longest name of a role, bytes.
    pub const NAME_BYTES_MAX: usize = 64;

    /// Roles from a list such as `admin, editor`. White space around names and empty elements are
    /// left out, as in a list of a header field.
    ///
    /// `None`: more than [`COUNT_MAX`](Self::COUNT_MAX), or one that no role can be called.
    pub fn from_list(list: &str) -> Option<Self> {
        let names = list.split(',').map(str::trim).filter(|n| !n.is_empty());
        let mut roles: Vec<Box<str>> = Vec::new();
        for name in names {
            if !is_role(name) || roles.len() == Self::COUNT_MAX {
                return None;
            }
            roles.push(name.into());
        }
        Some(Self((!roles.is_empty()).then(|| roles.into())))
    }

    /// Whether `role` is among them.
    pub fn contains(&self, role: &str) -> bool {
        self.iter().any(|own| own == role)
    }

    /// All of them, in the order in which they were named.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.as_deref().unwrap_or_default().iter().map(|r| &**r)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_lets_its_own_through() {
        let roles = Roles::from_list("admin, editor").unwrap();
        let nobody = Standing {
            is_member: false,
            is_owner: false,
            roles: &Roles::default(),
        };
        let member = Standing {
            is_member: true,
            ..nobody
        };
        let owner = Standing {
            is_owner: true,
            ..nobody
        };
        let admin = Standing {
            roles: &roles,
            ..nobody
        };
        for (who, allowed) in [
            ("anyone", [true, true, true, true]),
            ("member", [false, true, false, false]),
            ("owner", [false, false, true, false]),
            ("role:admin", [false, false, false, true]),
            ("role:Admin", [false; 4]),
            ("server", [false; 4]),
        ] {
            let who: Who = who.parse().unwrap();
            let found = [nobody, member, owner, admin].map(|standing| who.allows(standing));
            assert_eq!(found, allowed, "{who}");
        }
        let list = [Who::Owner, Who::Role("editor".into())];
        let found = [nobody, member, owner, admin].map(|s| Who::any_allows(&list, s));
        assert_eq!(found, [false, false, true, true]);
        assert!(!Who::any_allows(&[], admin), "an empty list means nobody");
    }

    #[test]
    fn what_is_displayed_is_read_again_and_other_words_are_not() {
        for word in ["anyone", "member", "owner", "role:x", "role:a:b", "server"] {
            assert_eq!(word.parse::<Who>().unwrap().to_string(), word);
        }
        let long = format!("role:{}", "x".repeat(Roles::NAME_BYTES_MAX + 1));
        for word in [
            "", "Anyone", "role:", "role", "role:a,b", "role:a b", "admin", &long,
        ] {
            assert_eq!(word.parse::<Who>(), Err(UnknownWho), "{word}");
        }
    }

    #[test]
    fn a_connection_without_roles_pays_two_words() {
        assert_eq!(size_of::<Roles>(), 16);
        assert_eq!(Roles::from_list(" , "), Some(Roles::default()));
    }

    #[test]
    fn as_many_roles_as_the_limit_are_taken() {
        let most = vec!["x".repeat(Roles::NAME_BYTES_MAX); Roles::COUNT_MAX].join(",");
        assert_eq!(
            Roles::from_list(&most).unwrap().iter().count(),
            Roles::COUNT_MAX
        );
        assert_eq!(Roles::from_list(&format!("{most},x")), None);
    }
}
