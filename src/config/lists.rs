//! Options that are lists.

use std::marker::PhantomData;

use super::kind::{Choice, Kind, Named, Raw, Word};
use crate::who::Who;

/// Most origins in one list.
const ORIGINS_MAX: usize = 256;
/// Most kinds of people in one list.
const PEOPLE_MAX: usize = 32;
/// Most texts in one list.
const TEXTS_MAX: usize = 64;

/// Origins of web pages (RFC 6454): `scheme://host[:port]`, `scheme://*.domain[:port]`,
/// `same-origin`, `null` or `*`.
pub(super) struct OriginList;

fn is_origin(text: &str) -> bool {
    let exact = text.split_once("://").is_some_and(|(scheme, authority)| {
        let authority = authority.strip_prefix("*.").unwrap_or(authority);
        !scheme.is_empty()
            && !authority.is_empty()
            && !authority.contains(|c: char| "/?#@*".contains(c) || !c.is_ascii_graphic())
    });
    exact || ["same-origin", "null", "*"].contains(&text)
}

impl Kind for OriginList {
    type Value = Vec<String>;

    fn read(&self, raw: &Raw) -> Option<Vec<String>> {
        Some(raw.texts()?.into_iter().map(String::from).collect())
    }

    fn admits(&self, value: &Vec<String>) -> bool {
        (1..=ORIGINS_MAX).contains(&value.len()) && value.iter().all(|origin| is_origin(origin))
    }

    fn expected(&self) -> String {
        format!(
            "1..={ORIGINS_MAX} of \"same-origin\", \"null\", \"*\" or an origin such as \"https://example.com\""
        )
    }

    fn write(&self, value: &Vec<String>) -> String {
        toml::Value::from(value.clone()).to_string()
    }
}

/// Kinds of people, any of whom may.
pub(super) struct People;

impl Kind for People {
    type Value = Vec<Who>;

    fn read(&self, raw: &Raw) -> Option<Vec<Who>> {
        raw.texts()?
            .into_iter()
            .map(|text| text.parse().ok())
            .collect()
    }

    fn admits(&self, value: &Vec<Who>) -> bool {
        (1..=PEOPLE_MAX).contains(&value.len())
            // A role that was built in code may have a name that no text can say.
            && value.iter().all(|who| who.to_string().parse().as_ref() == Ok(who))
    }

    fn expected(&self) -> String {
        format!(
            "1..={PEOPLE_MAX} of \"anyone\", \"member\", \"owner\", \"server\" or a role such as \
             \"role:admin\""
        )
    }

    fn write(&self, value: &Vec<Who>) -> String {
        let words: Vec<String> = value.iter().map(Who::to_string).collect();
        toml::Value::from(words).to_string()
    }
}

/// One or more words of a closed set, none twice.
pub(super) struct Choices<T>(PhantomData<T>);

impl<T> Choices<T> {
    /// The choices among all words of `T`.
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Named> Kind for Choices<T> {
    type Value = Vec<T>;

    fn read(&self, raw: &Raw) -> Option<Vec<T>> {
        let one = |text: &str| Choice::new().read(&Raw::Words(text.into()));
        raw.texts()?.into_iter().map(one).collect()
    }

    fn admits(&self, value: &Vec<T>) -> bool {
        let stands_twice = |(index, word)| value[..index].contains(word);
        !value.is_empty() && !value.iter().enumerate().any(stands_twice)
    }

    fn expected(&self) -> String {
        format!(
            "one or more of {}, none twice",
            Choice::<T>::new().expected()
        )
    }

    fn write(&self, value: &Vec<T>) -> String {
        let words: Vec<String> = value.iter().map(|word| Choice::new().write(word)).collect();
        format!("[{}]", words.join(", "))
    }
}

/// Texts of one form, none of them empty. The list may be.
pub(super) struct Texts(pub(super) Word);

impl Kind for Texts {
    type Value = Vec<String>;

    fn read(&self, raw: &Raw) -> Option<Vec<String>> {
        Some(raw.texts()?.into_iter().map(String::from).collect())
    }

    fn admits(&self, value: &Vec<String>) -> bool {
        value.len() <= TEXTS_MAX
            && value
                .iter()
                .all(|text| !text.is_empty() && self.0.admits(text))
    }

    fn expected(&self) -> String {
        format!("0..={TEXTS_MAX} of: {}", self.0.expected())
    }

    fn write(&self, value: &Vec<String>) -> String {
        toml::Value::from(value.clone()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OriginRequire;

    #[test]
    fn people_are_listed_by_kind_and_role() {
        for (text, good) in [
            ("member", true),
            ("owner, role:admin,server", true),
            ("anyone", true),
            ("", false),
            ("member,", false),
            ("role:", false),
            ("everyone", false),
        ] {
            let raw = Raw::Words(text.into());
            assert_eq!(People.take(&raw).is_ok(), good, "{text}");
        }
        assert!(People.check(&vec![Who::Role("a,b".into())]).is_err());
        assert!(People.check(&vec![Who::Anyone; PEOPLE_MAX + 1]).is_err());
        let list = vec![Who::Owner, Who::Role("x".into())];
        assert_eq!(People.write(&list), r#"["owner", "role:x"]"#);
    }

    #[test]
    fn words_are_chosen_once_each() {
        let take = |text: &str| Choices::<OriginRequire>::new().take(&Raw::Words(text.into()));
        let both = vec![OriginRequire::Never, OriginRequire::Auto];
        assert_eq!(take("never, auto"), Ok(both.clone()));
        assert_eq!(Choices::new().write(&both), r#"["never", "auto"]"#);
        for wrong in ["", "never,", "never,never", "ever"] {
            assert!(take(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_origin_has_a_scheme_and_no_path() {
        for (text, good) in [
            ("same-origin", true),
            ("*", true),
            ("null", true),
            ("https://example.com", true),
            ("http://[::1]:3000", true),
            ("tauri://localhost", true),
            ("example.com", false),
            ("https://example.com/", false),
            ("https://*.example.com", true),
            ("https://*", false),
            ("https://a.*.com", false),
            ("https://*.", false),
            ("https://", false),
            ("", false),
        ] {
            let read = OriginList.read(&Raw::Words(text.into())).unwrap();
            assert_eq!(OriginList.admits(&read), good, "{text}");
        }
    }
}
