//! Patterns of names, such as those by which rooms are sorted into namespaces.
#![forbid(unsafe_code)]

use memchr::memmem::Finder;

/// A pattern in which `*` stands for any run of characters, the empty one included. Everything else
/// stands for itself, byte by byte; there is no way to mean a literal `*`.
///
/// Matching takes time linear in the name: the pieces between the stars are found from left to
/// right, each at its first place, which leaves most room for those that follow.
#[derive(Clone, Debug)]
pub struct Pattern(Shape);

#[derive(Clone, Debug)]
enum Shape {
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
    /// Reads a pattern. Every text is one.
    pub fn new(pattern: &str) -> Self {
        let Some((start, rest)) = pattern.split_once('*') else {
            return Self(Shape::Exact(pattern.into()));
        };
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let pieces = middle.split('*').filter(|piece| !piece.is_empty());
        Self(Shape::Stars {
            start: start.into(),
            middle: pieces.map(|p| Finder::new(p).into_owned()).collect(),
            end: end.into(),
        })
    }

    /// Whether a name is one of those that the pattern stands for.
    pub fn matches(&self, name: &str) -> bool {
        let (start, middle, end) = match &self.0 {
            Shape::Exact(exact) => return **exact == *name,
            Shape::Stars { start, middle, end } => (start, middle, end),
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

    /// Whether every name that matches `other` matches this pattern, too.
    ///
    /// The text of the other pattern is matched as if it were a name: a star in it can be met only
    /// by a star of this one, and whatever it stands for, that star stands for, too.
    pub fn covers(&self, other: &str) -> bool {
        self.matches(other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_run_anywhere() {
        let table = [
            ("*", "", true),
            ("*", "anything/at all", true),
            ("room", "room", true),
            ("room", "rooms", false),
            ("room", "Room", false),
            ("chat:*", "chat:", true),
            ("chat:*", "chat:1:2", true),
            ("chat:*", "chats:1", false),
            ("*:private", "team:private", true),
            ("*:private", "team:private2", false),
            ("game:*:lobby", "game:7:lobby", true),
            ("game:*:lobby", "game::lobby", true),
            ("game:*:lobby", "game:lobby", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*ab*ab*", "abab", true),
            ("*ab*ab*", "aba", false),
            ("**", "x", true),
            ("a*b*b", "ab", false),
            ("a*b*b", "abb", true),
            ("*é*", "café!", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    /// By the definition, in exponential time.
    fn matches_by_definition(pattern: &str, name: &str) -> bool {
        let Some(first) = pattern.chars().next() else {
            return name.is_empty();
        };
        let rest = &pattern[first.len_utf8()..];
        if first != '*' {
            return name
                .strip_prefix(first)
                .is_some_and(|name| matches_by_definition(rest, name));
        }
        let starts = name.char_indices().map(|(at, _)| at).chain([name.len()]);
        starts
            .into_iter()
            .any(|at| matches_by_definition(rest, &name[at..]))
    }

    #[test]
    fn a_pattern_covers_those_that_say_more() {
        let table = [
            ("*", "team:*", true),
            ("*", "*", true),
            ("team:*", "*", false),
            ("team:*", "team:a:*", true),
            ("team:*", "team*", false),
            ("*:private", "team:*:private", true),
            ("a*b*", "a*b", true),
            ("a*b", "a*b*", false),
            ("room", "room", true),
        ];
        for (pattern, other, expected) in table {
            assert_eq!(
                Pattern::new(pattern).covers(other),
                expected,
                "{pattern} {other}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn matching_is_what_its_definition_says(pattern in "[abé*]{0,8}", name in "[abé]{0,10}") {
            let expected = matches_by_definition(&pattern, &name);
            prop_assert_eq!(Pattern::new(&pattern).matches(&name), expected);
        }

        #[test]
        fn what_is_covered_matches_nothing_else(
            pattern in "[ab*]{0,6}", other in "[ab*]{0,6}", name in "[ab]{0,8}",
        ) {
            let (pattern, by) = (Pattern::new(&pattern), Pattern::new(&other));
            if pattern.covers(&other) && by.matches(&name) {
                prop_assert!(pattern.matches(&name));
            }
        }
    }
}
