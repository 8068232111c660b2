//! What two frames have in common that say the same about different things.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Frame;

/// Members whose values are words of the protocol.
const WORDS: [&str; 7] = [
    "type", "action", "status", "event", "code", "reason", "profile",
];

/// A frame's shape: its names, the kinds of its values, and the words of the protocol.
pub(crate) fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let is_word = WORDS.contains(&name.as_str()) && value.is_string();
                let shape = if is_word { value.clone() } else { shape(value) };
                (name.clone(), shape)
            });
            Value::Object(members.collect())
        }
        Value::Array(items) => {
            let shapes: BTreeSet<String> = items.iter().map(|i| shape(i).to_string()).collect();
            json!(shapes)
        }
        Value::String(text) => json!(kind(text)),
        Value::Number(_) => json!("a number"),
        Value::Bool(_) => json!("true or false"),
        Value::Null => Value::Null,
    }
}

fn kind(text: &str) -> &'static str {
    let digits = text.chars();
    let digits = digits.map(|c| if c.is_ascii_hexdigit() { '0' } else { c });
    match &*digits.collect::<String>() {
        "0000-00-00T00:00:00.000Z" => "a time",
        "00000000-0000-0000-0000-000000000000" => "an identifier",
        "0000000000000000" => "a connection",
        _ => "a text",
    }
}

/// The shapes of real frames, by profile.
pub(crate) struct Shapes(BTreeSet<(&'static str, String)>);

impl Shapes {
    pub(crate) fn of(frames: &[Frame]) -> Self {
        let shapes = frames.iter().map(|frame| {
            let shape = shape(&frame.value).to_string();
            (frame.profile.as_str(), shape)
        });
        Self(shapes.collect())
    }

    /// Why an example is no frame of the profile's: what it is, and the frames of its type.
    pub(crate) fn deny(&self, profile: &str, example: &Value) -> Option<String> {
        let wanted = shape(example).to_string();
        let message_type = format!("\"type\":{}", example["type"]);
        let same = self.0.iter().filter(|(of, _)| *of == profile);
        let mut same = same.map(|(_, shape)| &**shape);
        if same.clone().any(|shape| shape == wanted) {
            return None;
        }
        let same: Vec<&str> = same
            .by_ref()
            .filter(|s| s.contains(&message_type))
            .collect();
        Some(format!(
            "{profile} {wanted}\nis none of\n  {}\n",
            same.join("\n  ")
        ))
    }
}
