//! "Did you mean": the nearest of a few known words.

/// Longest word for which a suggestion is looked for, characters.
const WORD_CHARS_MAX: usize = 64;

/// The known word nearest to `word`, if a slip of the keyboard explains the difference.
///
/// At most a third of the characters may differ (and at least one may).
pub(super) fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().count() > WORD_CHARS_MAX {
        return None;
    }
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean "x"?`, or nothing.
pub(super) fn hint(suggestion: Option<&str>) -> String {
    suggestion
        .map(|word| format!("; did you mean {word:?}?"))
        .unwrap_or_default()
}

/// Edits (insert, delete, replace one character) that turn `a` into `b`. Levenshtein, 1966.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("shards", "shards", 0),
            ("shard", "shards", 1),
            ("shrads", "shards", 2),
            ("kitten", "sitting", 3),
            ("", "abc", 3),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn a_slip_is_explained_and_a_stranger_is_not() {
        let known = ["listen", "shards", "verbose_logging"];
        assert_eq!(closest("lisen", known.into_iter()), Some("listen"));
        assert_eq!(
            closest("verbose-logging", known.into_iter()),
            Some("verbose_logging")
        );
        assert_eq!(closest("database", known.into_iter()), None);
        assert_eq!(closest(&"x".repeat(100_000), known.into_iter()), None);
    }
}
