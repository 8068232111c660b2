//! One message in several writings: subscribers say which one they take, and a publisher makes only
//! those that somebody takes. What the writings are the core does not know.

use super::app::Message;

/// Which writing of a message a subscriber takes: a number below [`Format::COUNT`], whose meaning is
/// the application's affair. By default 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Format(pub u8);

impl Format {
    /// So many formats there can be: one bit of [`Formats`] each.
    pub const COUNT: u8 = 16;
}

/// A set of formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats(u16);

impl Formats {
    /// No format.
    pub const NONE: Self = Self(0);
    /// Every format there can be.
    pub const ALL: Self = Self(u16::MAX);

    /// Whether `format` is among them.
    pub fn contains(self, format: Format) -> bool {
        self.0.checked_shr(format.0.into()).unwrap_or_default() & 1 == 1
    }

    /// Whether there is a format in both sets.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// The formats that are in one of the sets at least.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The formats, ascending.
    pub fn iter(self) -> impl Iterator<Item = Format> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let format = u8::try_from(rest.trailing_zeros()).expect("16 bits");
            (rest != 0).then(|| {
                rest &= rest - 1;
                Format(format)
            })
        })
    }
}

impl From<Format> for Formats {
    /// The set of that one format.
    ///
    /// Panics if it is not below [`Format::COUNT`].
    fn from(format: Format) -> Self {
        assert!(format.0 < Format::COUNT, "{format:?} is no format");
        Self(1 << format.0)
    }
}

impl FromIterator<Self> for Formats {
    fn from_iter<I: IntoIterator<Item = Self>>(sets: I) -> Self {
        sets.into_iter().fold(Self::NONE, Self::union)
    }
}

/// A message in as many writings as its subscribers take.
pub trait Encode {
    /// The writing for subscribers in `format`; `None`: the message is not for them. Asked at most
    /// once a format and publication, ascending, and only for formats that somebody has.
    fn encode(&mut self, format: Format) -> Option<Message<'_>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_names_its_formats_in_order() {
        let some: Formats = [15, 0, 4]
            .map(|number| Format(number).into())
            .into_iter()
            .collect();
        let named: Vec<u8> = some.iter().map(|format| format.0).collect();
        assert_eq!(named, [0, 4, 15]);
        assert!(some.contains(Format(4)) && some.contains(Format(15)));
        assert!(!some.contains(Format(5)) && !some.contains(Format(16)));
        assert_eq!(Formats::ALL.iter().count(), usize::from(Format::COUNT));
        assert_eq!(Formats::NONE.iter().next(), None);
    }
}
