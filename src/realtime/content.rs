//! What the text of a message may be: the rules of a namespace, and a filter of one's own.
//!
//! All of it is about the decoded text, not about the JSON by which it came.

use std::borrow::Cow;

use thiserror::Error;

/// What the text of a chat may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentOptions {
    /// Most characters, counted as Unicode scalar values after control characters were taken out; a
    /// longer text is refused with `invalid_message`. 0: no limit but the message's.
    pub chars_max: usize,
    /// What becomes of control characters.
    pub control_characters: ControlCharacters,
}

impl Default for ContentOptions {
    fn default() -> Self {
        Self {
            chars_max: 0,
            control_characters: ControlCharacters::Allow,
        }
    }
}

/// What becomes of control characters in the text of a chat.
///
/// They are those of Unicode's category Cc (C0, DEL and C1) other than tab, line feed, and a carriage
/// return before a line feed; and the two bidirectional overrides, U+202D and U+202E, which show
/// `photo_gpj.exe` as `photo_exe.jpg` and have hardly another use. The other bidirectional marks,
/// embeddings and isolates belong to honest Arabic and Hebrew text and pass; a page keeps them from
/// reaching beyond the message by `<bdi>` or `unicode-bidi: isolate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlCharacters {
    /// They are passed on.
    Allow,
    /// They are taken out.
    Strip,
    /// The message is refused with `invalid_message`.
    Reject,
}

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum BadContent {
    /// It has more characters than it may.
    #[error("the text has {chars} characters, more than {chars_max}")]
    TooLong { chars: usize, chars_max: usize },
    /// It has a control character, the first of which is this.
    #[error("the text has a control character, U+{:04X}", u32::from(*.0))]
    ControlCharacter(char),
}

impl ContentOptions {
    /// The text as it may be published: itself, without copying it, unless something is taken out.
    pub(super) fn check<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, BadContent> {
        let text = match self.control_characters {
            ControlCharacters::Allow => Cow::Borrowed(text),
            ControlCharacters::Strip => strip(text),
            ControlCharacters::Reject => match controls(text).next() {
                None => Cow::Borrowed(text),
                Some((_, control)) => return Err(BadContent::ControlCharacter(control)),
            },
        };
        let chars_max = self.chars_max;
        // There are never more characters than bytes.
        if chars_max > 0 && text.len() > chars_max {
            let chars = text.chars().count();
            if chars > chars_max {
                return Err(BadContent::TooLong { chars, chars_max });
            }
        }
        Ok(text)
    }
}

/// The control characters of a text and where they are.
fn controls(text: &str) -> impl Iterator<Item = (usize, char)> {
    text.char_indices().filter(|&(at, c)| match c {
        '\t' | '\n' => false,
        '\r' => text.as_bytes().get(at + 1) != Some(&b'\n'),
        '\u{202d}' | '\u{202e}' => true,
        _ => c.is_control(),
    })
}

fn strip(text: &str) -> Cow<'_, str> {
    let mut stripped = String::new();
    let mut kept = 0;
    for (at, control) in controls(text) {
        stripped.push_str(&text[kept..at]);
        kept = at + control.len_utf8();
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    stripped.push_str(&text[kept..]);
    Cow::Owned(stripped)
}

/// Has a say in every chat before it is published: a filter for words, links or spam.
///
/// There is one on each shard, so it needs no locks; what it learns on one shard the others do not
/// know. It is asked on the shard of the connection that sends, after the namespace's own rules
/// ([`ContentOptions`]), and holds up that shard until it answers: it must not block. A check
/// that has to wait for something belongs in a handler that spawns it.
///
/// ```
/// use campanile::realtime::{ContentFilter, Verdict};
///
/// struct NoLinks;
///
/// impl ContentFilter for NoLinks {
///     fn check(&mut self, room: &str, _user: &str, text: &str) -> Verdict {
///         if room != "links" && text.contains("://") {
///             return Verdict::Refuse("no links here".into());
///         }
///         Verdict::Pass
///     }
/// }
///
/// let mut filter = NoLinks;
/// assert_eq!(filter.check("lobby", "ann", "hello"), Verdict::Pass);
/// assert_ne!(filter.check("lobby", "ann", "https://example.com"), Verdict::Pass);
/// ```
pub trait ContentFilter: 'static {
    /// Judges the text that `user` sends to `room`. The text is what the sender wrote, less what the
    /// namespace takes out.
    fn check(&mut self, room: &str, user: &str, text: &str) -> Verdict;
}

/// What a [`ContentFilter`] thinks of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is published as it is.
    Pass,
    /// This is published in its place, and not judged again.
    Replace(String),
    /// Nothing is published. The sender is told this reason with the error `invalid_message`; it is
    /// for people to read, in a few words.
    Refuse(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(control_characters: ControlCharacters) -> ContentOptions {
        ContentOptions {
            control_characters,
            ..ContentOptions::default()
        }
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        let chars_max = 3;
        let options = ContentOptions {
            chars_max,
            ..options(ControlCharacters::Strip)
        };
        for text in ["", "abc", "äöü", "😀😀😀", "a\0b\0c"] {
            assert!(options.check(text).is_ok(), "{text:?}");
        }
        // Three people and what joins them: one sign on the screen, five characters.
        let family = "👨\u{200d}👩\u{200d}👦";
        let too_long = Err(BadContent::TooLong {
            chars: 5,
            chars_max,
        });
        assert_eq!(options.check(family), too_long);
        assert_eq!(
            ContentOptions::default().check(family),
            Ok(Cow::Borrowed(family))
        );
    }

    #[test]
    fn text_without_control_characters_is_not_copied() {
        for text in [
            "",
            "two\r\nlines\n\tand a tab",
            "שלום \u{200f}\u{2067}a\u{2069}",
            "\u{a0}\u{2028}",
        ] {
            for rule in [
                ControlCharacters::Allow,
                ControlCharacters::Strip,
                ControlCharacters::Reject,
            ] {
                assert!(matches!(options(rule).check(text), Ok(Cow::Borrowed(it)) if it == text));
            }
        }
    }

    #[test]
    fn control_characters_pass_or_go_or_stop_the_text() {
        let cases = [
            ("\0", "", '\0'),
            ("a\u{1b}[31mb", "a[31mb", '\u{1b}'),
            ("end\u{7f}", "end", '\u{7f}'),
            ("\u{80}x\u{9f}", "x", '\u{80}'),
            ("over\rwrite", "overwrite", '\r'),
            ("\r\r\n\r", "\r\n", '\r'),
            ("photo_\u{202e}gpj.exe", "photo_gpj.exe", '\u{202e}'),
            ("\u{202d}ä", "ä", '\u{202d}'),
        ];
        for (text, stripped, first) in cases {
            assert_eq!(
                options(ControlCharacters::Allow).check(text),
                Ok(text.into())
            );
            assert_eq!(
                options(ControlCharacters::Strip).check(text),
                Ok(stripped.into())
            );
            let refused = Err(BadContent::ControlCharacter(first));
            assert_eq!(options(ControlCharacters::Reject).check(text), refused);
        }
    }

    #[test]
    fn the_reasons_name_what_is_wrong() {
        let too_long = BadContent::TooLong {
            chars: 5,
            chars_max: 3,
        };
        assert_eq!(
            too_long.to_string(),
            "the text has 5 characters, more than 3"
        );
        let control = BadContent::ControlCharacter('\u{1b}');
        assert_eq!(
            control.to_string(),
            "the text has a control character, U+001B"
        );
    }

    proptest! {
        #[test]
        fn what_was_stripped_is_no_longer_rejected_and_the_rest_stays(
            text in "[aß\\r\\n\\t\\x00\\x1f\\x7f\u{85}\u{9f}\u{a0}\u{202c}\u{202d}\u{202e}😀]{0,30}",
        ) {
            let stripped = options(ControlCharacters::Strip).check(&text).unwrap();
            // The model takes line ends apart first, so that it need not look ahead.
            let lines = text.split("\r\n").map(|line| {
                let goes = |c: char| !"\t\n".contains(c) && c.is_control() || "\u{202d}\u{202e}".contains(c);
                line.chars().filter(|&c| !goes(c)).collect::<String>()
            });
            let model = lines.collect::<Vec<_>>().join("\r\n");
            prop_assert_eq!(&*stripped, &model);
            let rejects = options(ControlCharacters::Reject);
            prop_assert_eq!(rejects.check(&text).is_ok(), model == text);
            prop_assert_eq!(rejects.check(&stripped), Ok(Cow::Borrowed(&*stripped)));
        }
    }
}
