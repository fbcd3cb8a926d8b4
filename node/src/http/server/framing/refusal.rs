//! Why a request is refused before any handler sees it.

use http::StatusCode;

/// Why a request is refused. Each is a label of `hexpop_http_requests_refused_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// RFC 9112 §2.2: a line does not end in CRLF.
    LineEnd,
    /// RFC 9112 §3: the first line is not `method SP target SP version`.
    RequestLine,
    /// RFC 9112 §2.3: another version than 1.0 and 1.1.
    Version,
    /// RFC 9112 §3.2: the target has none of its four forms, or not the one of its method.
    Target,
    /// The target is longer than can be taken.
    TargetTooLong,
    /// RFC 9112 §5.1: a name is no token, or white space stands before its colon.
    FieldName,
    /// RFC 9110 §5.5: a value has control characters.
    FieldValue,
    /// RFC 9112 §5.2: a field is folded over lines.
    Folding,
    /// The header fields are larger than can be taken.
    HeaderTooLarge,
    /// There are more header fields than are taken.
    TooManyFields,
    /// RFC 9112 §3.2: no `Host`, more than one, or one that is none, or another than in the target.
    Host,
    /// RFC 9110 §8.6: `Content-Length` is repeated, a list, or no number.
    ContentLength,
    /// RFC 9112 §6.1: `Transfer-Encoding` does not end in `chunked`, or comes with HTTP/1.0.
    TransferEncoding,
    /// RFC 9112 §6.1: a transfer coding besides `chunked`.
    TransferCoding,
    /// RFC 9112 §6.1: both `Content-Length` and `Transfer-Encoding`.
    BothLengths,
    /// RFC 9112 §7.1: a chunk is malformed.
    Chunk,
    /// RFC 9112 §7.1.1: chunk extensions beyond all measure, or malformed ones.
    ChunkExtension,
    /// RFC 9110 §6.5.1: trailers are malformed, too large, or fields that must not be trailers.
    Trailer,
    /// RFC 9110 §15.5.9: the head was not complete in time.
    HeaderTimeout,
    /// RFC 9110 §9.3.6: `CONNECT`, which only proxies on behalf of clients serve.
    Connect,
    /// RFC 9113 §8.2, RFC 9114 §4.2: fields that are about a connection.
    ConnectionField,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::LineEnd,
        Self::RequestLine,
        Self::Version,
        Self::Target,
        Self::TargetTooLong,
        Self::FieldName,
        Self::FieldValue,
        Self::Folding,
        Self::HeaderTooLarge,
        Self::TooManyFields,
        Self::Host,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::TransferCoding,
        Self::BothLengths,
        Self::Chunk,
        Self::ChunkExtension,
        Self::Trailer,
        Self::HeaderTimeout,
        Self::Connect,
        Self::ConnectionField,
    ];

    /// The label in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.facts().0
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.facts().1
    }

    /// A sentence for the client.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        self.facts().2
    }

    const fn facts(self) -> (&'static str, StatusCode, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        match self {
            Self::LineEnd => ("line-end", BAD, "every line of a head ends in CRLF"),
            Self::RequestLine => ("request-line", BAD, "the first line is no request line"),
            Self::Version => (
                "version",
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "of HTTP, the versions 1.1 and 1.0 are spoken here",
            ),
            Self::Target => ("target", BAD, "the request target is malformed"),
            Self::TargetTooLong => {
                ("target-too-long", StatusCode::URI_TOO_LONG, "the request target is too long")
            }
            Self::FieldName => ("field-name", BAD, "the name of a header field is malformed"),
            Self::FieldValue => {
                ("field-value", BAD, "the value of a header field has control characters")
            }
            Self::Folding => ("folding", BAD, "a header field is folded over several lines"),
            Self::HeaderTooLarge => (
                "header-too-large",
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "the header fields are too large",
            ),
            Self::TooManyFields => (
                "too-many-fields",
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "there are too many header fields",
            ),
            Self::Host => ("host", BAD, "the request needs one valid Host, the one of its target"),
            Self::ContentLength => ("content-length", BAD, "Content-Length is not one number"),
            Self::TransferEncoding => {
                ("transfer-encoding", BAD, "Transfer-Encoding does not end in chunked")
            }
            Self::TransferCoding => (
                "transfer-coding",
                StatusCode::NOT_IMPLEMENTED,
                "of transfer codings, chunked is taken",
            ),
            Self::BothLengths => {
                ("both-lengths", BAD, "the request has Content-Length and Transfer-Encoding")
            }
            Self::Chunk => ("chunk", BAD, "a chunk of the body is malformed"),
            Self::ChunkExtension => ("chunk-extension", BAD, "chunk extensions are malformed"),
            Self::Trailer => ("trailer", BAD, "the trailer section is malformed"),
            Self::HeaderTimeout => (
                "header-timeout",
                StatusCode::REQUEST_TIMEOUT,
                "the head of the request was not complete in time",
            ),
            Self::Connect => ("connect", StatusCode::NOT_IMPLEMENTED, "there are no tunnels here"),
            Self::ConnectionField => {
                ("connection-field", BAD, "a header field is about a connection that is not there")
            }
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Refusal {}
