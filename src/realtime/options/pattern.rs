//! Patterns of room names.

use memchr::memmem::Finder;

/// A pattern in which `*` stands for any run of characters, the empty one included. Everything else
/// stands for itself, byte by byte; there is no way to mean a literal `*`.
///
/// Matching takes time linear in the name: the pieces between the stars are found from left to
/// right, each at its first place, which leaves most room for those that follow.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// Without a star.
    Exact(Box<str>),
    /// What stands before the first star, between stars, and after the last one.
    Stars {
        start: Box<str>,
        middle: Box<[Finder<'static>]>,
        end: Box<str>,
    },
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Self {
        let Some((start, rest)) = pattern.split_once('*') else {
            return Self::Exact(pattern.into());
        };
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let pieces = middle.split('*').filter(|piece| !piece.is_empty());
        Self::Stars {
            start: start.into(),
            middle: pieces.map(|p| Finder::new(p).into_owned()).collect(),
            end: end.into(),
        }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        let (start, middle, end) = match self {
            Self::Exact(exact) => return **exact == *name,
            Self::Stars { start, middle, end } => (start, middle, end),
        };
        let between = name
            .strip_prefix(&**start)
            .and_then(|rest| rest.strip_suffix(&**end));
        let Some(mut rest) = between.map(str::as_bytes) else {
            return false;
        };
        for piece in middle {
            let Some(at) = piece.find(rest) else {
                return false;
            };
            rest = &rest[at + piece.needle().len()..];
        }
        true
    }
}
