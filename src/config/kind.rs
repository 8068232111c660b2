//! How options are read, bounded and written: one small type for each sort of value.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::suggest;

/// Longest value that is quoted back in a problem, characters.
const QUOTED_CHARS_MAX: usize = 60;

/// A value as it was written, before anybody knows what it is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    /// A boolean of the file.
    Bool(bool),
    /// An integer of the file.
    Integer(i64),
    /// A string of the file.
    Text(String),
    /// An array of the file.
    List(Vec<Self>),
    /// Anything else of the file, in words: no option takes it.
    Other(String),
    /// The text of a variable or a flag: a list by commas, a number or a word as the option likes.
    Words(String),
}

impl Raw {
    /// The text of a string, wherever it came from.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Words(text) => Some(text.trim()),
            _ => None,
        }
    }

    /// The texts of a list: an array of strings, or words with commas between them, of which "" is none.
    pub(super) fn texts(&self) -> Option<Vec<&str>> {
        match self {
            Self::List(items) => items.iter().map(Self::text).collect(),
            other => match other.text()? {
                "" => Some(Vec::new()),
                text => Some(text.split(',').map(str::trim).collect()),
            },
        }
    }

    /// What sort of value this is, for where it may be a secret in the wrong place.
    pub(super) fn sort(&self) -> &str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Integer(_) => "an integer",
            Self::Text(_) | Self::Words(_) => "a string",
            Self::List(_) => "a list",
            Self::Other(what) => what,
        }
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Text(text) | Self::Words(text) => {
                let short: String = text.chars().take(QUOTED_CHARS_MAX).collect();
                let cut = if short.len() < text.len() { "…" } else { "" };
                write!(f, "{short:?}{cut}")
            }
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().take(4).enumerate() {
                    write!(f, "{}{item}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str(if items.len() > 4 { ", …]" } else { "]" })
            }
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// One sort of value: its shape, its bounds, and how it is written in TOML.
pub(super) trait Kind {
    /// What the rest of the program sees.
    type Value;
    /// The value, or `None` if `raw` has another shape.
    fn read(&self, raw: &Raw) -> Option<Self::Value>;
    /// Is the value within its bounds?
    fn admits(&self, value: &Self::Value) -> bool;
    /// What is wanted, with unit and range: `bytes 1..=1024`.
    fn expected(&self) -> String;
    /// The value as TOML; reading it again gives the same value.
    fn write(&self, value: &Self::Value) -> String;
    /// What is said about a value that was not taken.
    fn refusal(&self, found: &Raw) -> String {
        format!("expected {}, found {found}", self.expected())
    }
    /// Reads a value and holds it against its bounds.
    fn take(&self, raw: &Raw) -> Result<Self::Value, String> {
        self.read(raw)
            .filter(|value| self.admits(value))
            .ok_or_else(|| self.refusal(raw))
    }
    /// Holds a value that somebody built in code against its bounds.
    fn check(&self, value: &Self::Value) -> Result<(), String> {
        if self.admits(value) {
            return Ok(());
        }
        Err(format!(
            "expected {}, found {}",
            self.expected(),
            self.write(value)
        ))
    }
}

/// Yes or no.
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn read(&self, raw: &Raw) -> Option<bool> {
        match raw {
            Raw::Bool(value) => Some(*value),
            Raw::Words(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn admits(&self, _: &bool) -> bool {
        true
    }

    fn expected(&self) -> String {
        "true or false".into()
    }

    fn write(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// A number of things.
pub(super) struct Count<T>(pub(super) RangeInclusive<T>);

impl<T: TryFrom<u64> + PartialOrd + fmt::Display> Kind for Count<T> {
    type Value = T;

    fn read(&self, raw: &Raw) -> Option<T> {
        let value: u64 = match raw {
            Raw::Integer(value) => (*value).try_into().ok()?,
            Raw::Words(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        T::try_from(value).ok()
    }

    fn admits(&self, value: &T) -> bool {
        self.0.contains(value)
    }

    fn expected(&self) -> String {
        format!("integer {}..={}", self.0.start(), self.0.end())
    }

    fn write(&self, value: &T) -> String {
        value.to_string()
    }
}

/// A size in bytes: an integer, or a string with a binary unit such as `"32KiB"`.
pub(super) struct Bytes(pub(super) RangeInclusive<usize>);

impl Bytes {
    fn parse(text: &str) -> Option<usize> {
        let split = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let factor = match unit.trim_start() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.parse::<usize>().ok()?.checked_mul(factor)
    }
}

impl Kind for Bytes {
    type Value = usize;

    fn read(&self, raw: &Raw) -> Option<usize> {
        match raw {
            Raw::Integer(value) => (*value).try_into().ok(),
            other => Self::parse(other.text()?),
        }
    }

    fn admits(&self, value: &usize) -> bool {
        self.0.contains(value)
    }

    fn expected(&self) -> String {
        format!("bytes {}..={}", self.0.start(), self.0.end())
    }

    fn write(&self, value: &usize) -> String {
        value.to_string()
    }
}

/// A length of time such as `"10s"`, `"500ms"` or `"1m 30s"`.
pub(super) struct Time(pub(super) RangeInclusive<Duration>);

impl Time {
    /// From `start` to `end` seconds.
    pub(super) const fn seconds(start: u64, end: u64) -> Self {
        Self(Duration::from_secs(start)..=Duration::from_secs(end))
    }
}

impl Kind for Time {
    type Value = Duration;

    fn read(&self, raw: &Raw) -> Option<Duration> {
        humantime::parse_duration(raw.text()?).ok()
    }

    fn admits(&self, value: &Duration) -> bool {
        self.0.contains(value)
    }

    fn expected(&self) -> String {
        let [start, end] = [self.0.start(), self.0.end()].map(|d| humantime::format_duration(*d));
        format!("duration {start}..={end}")
    }

    fn write(&self, value: &Duration) -> String {
        format!("\"{}\"", humantime::format_duration(*value))
    }
}

/// A share of the whole: `"80%"`.
pub(super) struct Percent;

impl Kind for Percent {
    type Value = u8;

    fn read(&self, raw: &Raw) -> Option<u8> {
        raw.text()?.strip_suffix('%')?.parse().ok()
    }

    fn admits(&self, value: &u8) -> bool {
        (1..=100).contains(value)
    }

    fn expected(&self) -> String {
        "share 1%..=100%".into()
    }

    fn write(&self, value: &u8) -> String {
        format!("\"{value}%\"")
    }
}

/// A closed set of words.
pub(super) trait Named: Copy + PartialEq + 'static {
    /// Every word with its meaning.
    const NAMES: &'static [(&'static str, Self)];
    /// Words of the protocol's description that this version does not know how to do.
    const NOT_YET: &'static [&'static str] = &[];
}

/// One word of a closed set.
pub(super) struct Choice<T>(PhantomData<T>);

impl<T> Choice<T> {
    /// The choice among all words of `T`.
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Named> Kind for Choice<T> {
    type Value = T;

    fn read(&self, raw: &Raw) -> Option<T> {
        let text = raw.text()?;
        T::NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, value)| *value)
    }

    fn admits(&self, _: &T) -> bool {
        true
    }

    fn expected(&self) -> String {
        let names: Vec<String> = T::NAMES
            .iter()
            .map(|(name, _)| format!("{name:?}"))
            .collect();
        names.join(" or ")
    }

    fn write(&self, value: &T) -> String {
        let name = T::NAMES.iter().find(|(_, other)| other == value);
        format!("{:?}", name.expect("every value has its word").0)
    }

    fn refusal(&self, found: &Raw) -> String {
        let expected = self.expected();
        match found.text() {
            Some(text) if T::NOT_YET.contains(&text) => {
                format!("{found} is not available in this version; expected {expected}")
            }
            text => {
                let names = T::NAMES.iter().map(|(name, _)| *name);
                let hint = suggest::closest(text.unwrap_or_default(), names);
                format!("expected {expected}, found {found}{}", suggest::hint(hint))
            }
        }
    }
}

/// A string of a certain length and form.
pub(super) struct Word {
    pub(super) bytes: RangeInclusive<usize>,
    pub(super) what: &'static str,
    pub(super) fits: fn(&str) -> bool,
}

impl Kind for Word {
    type Value = String;

    fn read(&self, raw: &Raw) -> Option<String> {
        raw.text().map(String::from)
    }

    fn admits(&self, value: &String) -> bool {
        self.bytes.contains(&value.len()) && (self.fits)(value)
    }

    fn expected(&self) -> String {
        let [start, end] = [self.bytes.start(), self.bytes.end()];
        format!("{}, {start}..={end} bytes", self.what)
    }

    fn write(&self, value: &String) -> String {
        toml::Value::String(value.clone()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_take_binary_units_and_nothing_vague() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("7B", Some(7)),
            ("32KiB", Some(32_768)),
            ("1 MiB", Some(1 << 20)),
            ("2GiB", Some(2 << 30)),
            ("KiB", None),
            ("1KB", None),
            ("1k", None),
            ("-1", None),
            ("1.5MiB", None),
            ("18446744073709551615GiB", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(Bytes::parse(text), bytes, "{text}");
        }
    }

    #[test]
    fn both_ends_of_a_range_belong_to_it() {
        let kind = Count(1u32..=9);
        for (value, taken) in [(0, false), (1, true), (9, true), (10, false)] {
            assert_eq!(kind.take(&Raw::Integer(value)).is_ok(), taken, "{value}");
        }
    }

    #[test]
    fn a_long_value_is_quoted_in_part() {
        let shown = Raw::Text("x".repeat(1000)).to_string();
        assert!(shown.chars().count() < 70, "{shown}");
        let shown = Raw::List(vec![Raw::Integer(1); 1000]).to_string();
        assert_eq!(shown, "[1, 1, 1, 1, …]");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            seconds in 0u64..1_000_000, millis in 0u32..1000, words in "\\PC{1,20}", bytes: u32,
        ) {
            let kind = Time(Duration::ZERO..=Duration::MAX);
            let time = Duration::new(seconds, millis * 1_000_000);
            let text = kind.write(&time);
            prop_assert_eq!(kind.read(&Raw::Words(text.trim_matches('"').into())), Some(time));

            let kind = Bytes(0..=usize::MAX);
            let text = kind.write(&(bytes as usize));
            prop_assert_eq!(kind.read(&Raw::Words(text)), Some(bytes as usize));

            let kind = Word { bytes: 1..=100, what: "", fits: |_| true };
            let text = format!("x = {}", kind.write(&words));
            let table: toml::Table = text.parse().unwrap();
            prop_assert_eq!(table["x"].as_str(), Some(words.as_str()));
        }
    }
}
