//! What a request shows of who sends it, whichever parser has read it.

use std::borrow::Cow;

use crate::http::{BadRequest, Head, query_param};

/// A request head, as far as somebody can be told by it: from a shard, or from the HTTP API.
pub trait Presented {
    /// The values of all header fields called `name` (lower case), in their order.
    fn values<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]>;

    /// The query of the target, still percent-encoded.
    fn query_string(&self) -> Option<&str>;

    /// The value of the only header field called `name`.
    ///
    /// Errors: [`BadRequest::RepeatedHeader`]; [`BadRequest::InvalidHeader`] if it is not UTF-8.
    fn header(&self, name: &'static str) -> Result<Option<&str>, BadRequest> {
        let mut values = self.values(name);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(BadRequest::RepeatedHeader(name));
        }
        match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(BadRequest::InvalidHeader(name)),
        }
    }

    /// The value of the query parameter `name`, decoded as a form does.
    ///
    /// Errors: [`BadRequest::RepeatedParameter`], [`BadRequest::Escape`].
    fn query(&self, name: &str) -> Result<Option<Cow<'_, str>>, BadRequest> {
        query_param(self.query_string(), name)
    }

    /// The subprotocols that are offered, in their order. What is not UTF-8 is no name of one.
    fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.values("sec-websocket-protocol")
            .flat_map(|value| value.split(|&byte| byte == b','))
            .filter_map(|element| std::str::from_utf8(element.trim_ascii()).ok())
            .filter(|element| !element.is_empty())
    }
}

impl Presented for Head<'_> {
    fn values<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        // Each borrows for longer than is asked for.
        self.headers(name).map(|value| -> &'a [u8] { value })
    }

    fn query_string(&self) -> Option<&str> {
        Head::query(self)
    }
}

impl Presented for ::http::request::Parts {
    fn values<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.get_all(name).iter().map(|v| v.as_bytes())
    }

    fn query_string(&self) -> Option<&str> {
        self.uri.query()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parsers_show_the_same() {
        const TEXT: &str = "GET /ws?a=b+c&d=%C3%A9&e&e HTTP/1.1\r\nhost: h\r\nx: 1\r\nX: 2\r\n\
             sec-websocket-protocol: a, b\r\nSec-WebSocket-Protocol: ,c\r\n\r\n";
        let head = crate::http::parse(TEXT.as_bytes()).unwrap().unwrap();
        let request = ::http::Request::get("/ws?a=b+c&d=%C3%A9&e&e")
            .header("host", "h")
            .header("x", "1")
            .header("X", "2")
            .header("sec-websocket-protocol", "a, b")
            .header("sec-websocket-protocol", ",c")
            .body(())
            .unwrap();
        shows(&head);
        shows(&request.into_parts().0);
    }

    fn shows(request: &impl Presented) {
        assert_eq!(request.header("host"), Ok(Some("h")));
        assert_eq!(request.header("y"), Ok(None));
        assert_eq!(request.header("x"), Err(BadRequest::RepeatedHeader("x")));
        assert_eq!(request.values("x").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(request.query("a").unwrap().as_deref(), Some("b c"));
        assert_eq!(request.query("d").unwrap().as_deref(), Some("é"));
        assert_eq!(request.query("f"), Ok(None));
        assert_eq!(request.query("e"), Err(BadRequest::RepeatedParameter));
        let offered: Vec<_> = request.subprotocols().collect();
        assert_eq!(offered, ["a", "b", "c"]);
    }
}
