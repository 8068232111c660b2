//! What can be wrong with a request head, and what the peer is told about it.

use http::StatusCode;

/// The peer's fault, found in a request head before anything was switched or authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// The bytes are no HTTP/1 request head: the first thing the parser could not take.
    Malformed(Malformed),
    /// Not HTTP/1.1, or an upgrade over HTTP/1.0. RFC 6455 section 4.2.1, item 1.
    Version,
    /// The head is longer than [`REQUEST_HEAD_BYTES_MAX`](crate::limits::REQUEST_HEAD_BYTES_MAX).
    HeadTooLong,
    /// More header fields than [`REQUEST_HEADERS_MAX`](crate::limits::REQUEST_HEADERS_MAX).
    TooManyHeaders,
    /// The head was not complete when its time was over. Raised by the keeper of the deadline.
    Timeout,
    /// The request target has no path that a resource could have.
    Target,
    /// A percent escape in the target is cut off, is not hexadecimal or does not decode to UTF-8.
    Escape,
    /// A query parameter that the server reads stands more than once.
    RepeatedParameter,
    /// A header field that the upgrade needs is missing.
    MissingHeader(&'static str),
    /// A header field that must stand alone stands more than once.
    RepeatedHeader(&'static str),
    /// A header field that the upgrade needs has a value that it cannot have.
    InvalidHeader(&'static str),
    /// An upgrade by another method than GET.
    Method,
    /// An upgrade announces a body: whatever followed could be read as frames by one party and as
    /// a request by another.
    Body,
    /// `Sec-WebSocket-Version` is missing or is not 13.
    WebSocketVersion,
}

/// Where a request head stopped being one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The request line: method or target.
    RequestLine,
    /// The name of a header field.
    HeaderName,
    /// The value of a header field.
    HeaderValue,
    /// The end of a line.
    LineEnd,
}

impl BadRequest {
    /// The HTTP status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_)
            | Self::Target
            | Self::Escape
            | Self::RepeatedParameter
            | Self::MissingHeader(_)
            | Self::RepeatedHeader(_)
            | Self::InvalidHeader(_)
            | Self::Body => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Self::HeadTooLong | Self::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }

    /// The `code` of the JSON body: stable, for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_request",
            Self::Version => "http_version_not_supported",
            Self::HeadTooLong | Self::TooManyHeaders => "request_head_too_large",
            Self::Timeout => "request_timeout",
            Self::Target => "invalid_target",
            Self::Escape => "invalid_escape",
            Self::RepeatedParameter => "repeated_parameter",
            Self::MissingHeader(_) => "missing_header",
            Self::RepeatedHeader(_) => "repeated_header",
            Self::InvalidHeader(_) => "invalid_header",
            Self::Method => "method_not_allowed",
            Self::Body => "unexpected_body",
            Self::WebSocketVersion => "upgrade_required",
        }
    }

    /// The `error` of the JSON body: a sentence for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Malformed(Malformed::RequestLine) => "the request line is malformed",
            Self::Malformed(Malformed::HeaderName) => "a header field has a malformed name",
            Self::Malformed(Malformed::HeaderValue) => "a header field has a malformed value",
            Self::Malformed(Malformed::LineEnd) => "a line of the request head ends wrongly",
            Self::Version => "only HTTP/1.1 is spoken here",
            Self::HeadTooLong => "the request head is too long",
            Self::TooManyHeaders => "the request has too many header fields",
            Self::Timeout => "the request head took too long to arrive",
            Self::Target => "the request target has no path",
            Self::Escape => "a percent escape in the request target does not decode to UTF-8",
            Self::RepeatedParameter => "a query parameter stands more than once",
            Self::MissingHeader(_) => "a header field that a WebSocket upgrade needs is missing",
            Self::RepeatedHeader(_) => "a header field stands more than once",
            Self::InvalidHeader(_) => "a header field has a value that is not allowed here",
            Self::Method => "a WebSocket upgrade is a GET",
            Self::Body => "a WebSocket upgrade has no body",
            Self::WebSocketVersion => "only version 13 of the WebSocket protocol is spoken here",
        }
    }

    /// The header field at fault, if it is one.
    pub fn header(self) -> Option<&'static str> {
        match self {
            Self::MissingHeader(name) | Self::RepeatedHeader(name) | Self::InvalidHeader(name) => {
                Some(name)
            }
            Self::Malformed(_)
            | Self::Version
            | Self::HeadTooLong
            | Self::TooManyHeaders
            | Self::Timeout
            | Self::Target
            | Self::Escape
            | Self::RepeatedParameter
            | Self::Method
            | Self::Body
            | Self::WebSocketVersion => None,
        }
    }
}

impl From<httparse::Error> for BadRequest {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::HeaderName => Self::Malformed(Malformed::HeaderName),
            httparse::Error::HeaderValue => Self::Malformed(Malformed::HeaderValue),
            httparse::Error::NewLine => Self::Malformed(Malformed::LineEnd),
            httparse::Error::Token | httparse::Error::Status => {
                Self::Malformed(Malformed::RequestLine)
            }
            httparse::Error::TooManyHeaders => Self::TooManyHeaders,
            httparse::Error::Version => Self::Version,
        }
    }
}
