//! The builder of a payload: the members of one JSON object, written straight into bytes.

use serde::Serialize;

use super::write::{write_number, write_string};
use super::{Member, MessageId, Timestamp};

/// An object being written: members are appended in the order of the calls.
///
/// Handed to a closure that returns it, `|fields| fields.number("eyes", 4)`; whoever calls the
/// closure writes the braces, so that what comes out is always one whole object. A name that is
/// given twice stands twice.
#[derive(Debug)]
pub struct Fields<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Fields<'o> {
    /// Appends one whole object with the members that `fill` adds.
    pub fn write(out: &'o mut Vec<u8>, fill: impl FnOnce(Fields<'_>) -> Fields<'_>) {
        out.push(b'{');
        fill(Fields { out: &mut *out });
        out.push(b'}');
    }

    /// The comma before a member, unless the object has just begun.
    fn comma(&mut self) {
        // No value ends with an opening brace, so this one is the object's own.
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
    }

    fn name(&mut self, name: &str) {
        self.comma();
        write_string(self.out, name);
        self.out.push(b':');
    }

    /// Adds a string.
    pub fn str(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        write_string(self.out, value);
        self
    }

    /// Adds a string if there is one.
    pub fn optional_str(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.str(name, value),
            None => self,
        }
    }

    /// Adds a number.
    pub fn number(mut self, name: &str, value: u64) -> Self {
        self.name(name);
        write_number(self.out, value);
        self
    }

    /// Adds a number if there is one.
    pub fn optional_number(self, name: &str, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.number(name, value),
            None => self,
        }
    }

    /// Adds a truth value.
    pub fn bool(self, name: &str, value: bool) -> Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    /// Adds a null.
    pub fn null(self, name: &str) -> Self {
        self.raw(name, "null")
    }

    /// Adds a value that is valid JSON already.
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.out.extend_from_slice(value.as_bytes());
        self
    }

    /// Adds a time.
    pub fn time(self, name: &str, value: &Timestamp) -> Self {
        self.str(name, value.as_str())
    }

    /// Adds a message identifier.
    pub fn message_id(mut self, name: &str, value: MessageId) -> Self {
        self.name(name);
        self.out.push(b'"');
        value.write(self.out);
        self.out.push(b'"');
        self
    }

    /// Adds members as they stand.
    pub fn members<'m>(mut self, members: impl IntoIterator<Item = Member<'m>>) -> Self {
        for member in members {
            self.comma();
            self.out.push(b'"');
            self.out.extend_from_slice(member.raw_name().as_bytes());
            self.out.extend_from_slice(b"\":");
            self.out.extend_from_slice(member.raw().as_bytes());
        }
        self
    }

    /// Adds an object with the members that `fill` adds to it.
    pub fn object(mut self, name: &str, fill: impl FnOnce(Fields<'_>) -> Fields<'_>) -> Self {
        self.name(name);
        Fields::write(self.out, fill);
        self
    }

    /// Adds an array of objects: one for each item, with the members that `fill` adds for it.
    pub fn list<T>(
        mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(Fields<'_>, T) -> Fields<'_>,
    ) -> Self {
        self.array(name, items, |out, item| {
            Fields::write(out, |fields| fill(fields, item));
        });
        self
    }

    /// Adds an array of strings.
    pub fn strings<'s>(mut self, name: &str, items: impl IntoIterator<Item = &'s str>) -> Self {
        self.array(name, items, write_string);
        self
    }

    fn array<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Vec<u8>, T),
    ) {
        self.name(name);
        self.out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write(self.out, item);
        }
        self.out.push(b']');
    }

    /// Adds a value by way of serde.
    ///
    /// Panics, as `serde_json::json!` does, if the value refuses to be serialised or has a map whose
    /// keys are no strings: that is a fault of its type, not of what a peer sent.
    pub fn serialize(mut self, name: &str, value: &impl Serialize) -> Self {
        self.name(name);
        serde_json::to_writer(&mut *self.out, value).expect("the value can be written as JSON");
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::super::Members;
    use super::*;

    fn written(fill: impl FnOnce(Fields<'_>) -> Fields<'_>) -> Value {
        let mut out = Vec::new();
        Fields::write(&mut out, fill);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn every_kind_of_member_is_json() {
        assert_eq!(written(|fields| fields), json!({}));
        let at = Timestamp::new(0);
        let id = MessageId::new(1, 2);
        assert_eq!(
            written(|fields| {
                fields
                    .str("a\"{", "{")
                    .number("eyes", u64::MAX)
                    .bool("yes", true)
                    .bool("no", false)
                    .null("nothing")
                    .raw("raw", "[1, {}]")
                    .time("at", &at)
                    .message_id("id", id)
                    .optional_str("absent", None)
                    .optional_number("missing", None)
                    .optional_number("present", Some(0))
            }),
            json!({"a\"{": "{", "eyes": u64::MAX, "yes": true, "no": false, "nothing": null,
                "raw": [1, {}], "at": at.as_str(), "id": id.to_string(), "present": 0})
        );
    }

    #[test]
    fn objects_and_lists_nest() {
        let members = Members::parse(r#"{"x\u0041":1,"y":[2]}"#).unwrap();
        assert_eq!(
            written(|fields| {
                fields
                    .object("empty", |inner| inner)
                    .object("inner", |inner| inner.members(members).null("z"))
                    .list("none", [0; 0], |item, _| item)
                    .list("two", [1, 2], |item, n| item.number("n", n))
                    .strings("names", ["Ann", "\"Bob\""])
                    .serialize("map", &BTreeMap::from([("k", 1.5)]))
                    .bool("last", true)
            }),
            json!({"empty": {}, "inner": {"xA": 1, "y": [2], "z": null}, "none": [],
                "two": [{"n": 1}, {"n": 2}], "names": ["Ann", "\"Bob\""], "map": {"k": 1.5},
                "last": true})
        );
    }

    #[test]
    #[should_panic(expected = "can be written as JSON")]
    fn a_value_that_is_no_json_is_a_fault_of_the_program() {
        written(|fields| fields.serialize("map", &BTreeMap::from([(vec![1], 1)])));
    }
}
