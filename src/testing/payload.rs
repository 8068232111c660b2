//! What goes to and fro.

use serde_json::Value;

/// A message that a [`Client`](super::Client) sends: made from a [`Value`], sent as its JSON text;
/// from a `&str` or [`String`], sent as it is; or from bytes, sent as a binary message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

impl Payload {
    /// The opcode and the bytes.
    pub(super) fn parts(&self) -> (u8, &[u8]) {
        match self {
            Self::Text(text) => (1, text.as_bytes()),
            Self::Binary(bytes) => (2, bytes),
        }
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self::Text(value.to_string())
    }
}

impl From<&Value> for Payload {
    fn from(value: &Value) -> Self {
        Self::Text(value.to_string())
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Payload {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Payload {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Binary(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

/// A message that a client has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

/// An upgrade that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The head of the response, with its status line and its empty line.
    pub head: String,
    /// The body; `Null` if there is none.
    pub body: Value,
}

/// The first value of a field in the head of a response.
pub(super) fn field(head: &str, name: &str) -> Option<String> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut found = fields.filter(|(found, _)| found.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim().to_owned())
}
