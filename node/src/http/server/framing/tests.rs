//! The rules, each case named after the section it is from, and what must pass unchanged.

use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { header_bytes: 4 << 10, header_fields: 16 };

/// What a guard makes of a connection whose bytes come in pieces that end at `cuts`.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    passed: Vec<u8>,
    refused: Option<Refusal>,
    heads: u64,
    place: Place,
}

fn run(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut guard = Guard::new(LIMITS);
    let (mut passed, mut unpassed) = (Vec::new(), Vec::new());
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut begin = 0;
    let mut refused = None;
    'all: for end in ends {
        unpassed.extend_from_slice(&bytes[begin..end]);
        begin = end;
        loop {
            match guard.advance(&unpassed) {
                Err(refusal) => {
                    refused = Some(refusal);
                    break 'all;
                }
                Ok(advance) if advance == Advance::default() => break,
                Ok(Advance { skip, pass }) => {
                    passed.extend_from_slice(&unpassed[skip..skip + pass]);
                    unpassed.drain(..skip + pass);
                }
            }
        }
    }
    Outcome { passed, refused, heads: guard.heads(), place: guard.place(unpassed.len()) }
}

/// One request that ends with its head.
fn head(first: &str, fields: &str) -> String {
    format!("{first}\r\n{fields}\r\n")
}

fn get(fields: &str) -> String {
    head("GET / HTTP/1.1", &format!("Host: a\r\n{fields}"))
}

fn post(fields: &str, body: &str) -> String {
    head("POST / HTTP/1.1", &format!("Host: a\r\n{fields}")) + body
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

/// Refused for this reason; the section says why.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_has_more_than_one_reading_is_refused() {
    use Refusal::*;
    let cases: Vec<(&str, String, Refusal)> = vec![
        (
            "9112 §2.2 bare LF after the request line",
            "GET / HTTP/1.1\nHost: a\r\n\r\n".into(),
            LineEnd,
        ),
        ("9112 §2.2 bare LF after a field", get("a: b\n"), LineEnd),
        ("9112 §2.2 bare LF ends the head", "GET / HTTP/1.1\r\nHost: a\r\n\n".into(), LineEnd),
        (
            "9112 §2.2 bare CR in the request line",
            "GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            Target,
        ),
        ("9112 §2.2 bare CR in a value", get("a: b\rc\r\n"), FieldValue),
        ("9112 §2.2 CR CR LF", get("a: b\r\r\n"), FieldValue),
        ("9112 §2.2 two empty lines before", format!("\r\n\r\n{}", get("")), RequestLine),
        (
            "9112 §2.2 white space before the first field",
            head("GET / HTTP/1.1", " Host: a\r\n"),
            Folding,
        ),
        ("9112 §2.2 garbage before", format!("\0\0{}", get("")), RequestLine),
        ("9112 §3 a space before the method", head(" GET / HTTP/1.1", "Host: a\r\n"), RequestLine),
        ("9112 §3 two spaces", head("GET  / HTTP/1.1", "Host: a\r\n"), RequestLine),
        ("9112 §3 a tab", head("GET\t/ HTTP/1.1", "Host: a\r\n"), RequestLine),
        ("9112 §3 trailing space", head("GET / HTTP/1.1 ", "Host: a\r\n"), RequestLine),
        ("9112 §3 no version", head("GET /", "Host: a\r\n"), RequestLine),
        ("9112 §3.1 a method that is no token", head("G(T / HTTP/1.1", "Host: a\r\n"), RequestLine),
        ("9112 §3.2 a space in the target", head("GET /a b HTTP/1.1", "Host: a\r\n"), RequestLine),
        ("9112 §3.2 no form of a target", head("GET a HTTP/1.1", "Host: a\r\n"), Target),
        ("9112 §3.2 a fragment", head("GET /a#b HTTP/1.1", "Host: a\r\n"), Target),
        ("9112 §3.2 beyond ASCII", head("GET /\u{e9} HTTP/1.1", "Host: a\r\n"), Target),
        ("9112 §3.2 a control character", head("GET /\u{7f} HTTP/1.1", "Host: a\r\n"), Target),
        ("9112 §3.2 no Host", head("GET / HTTP/1.1", ""), Host),
        ("9112 §3.2 two Hosts", get("Host: a\r\n"), Host),
        ("9112 §3.2 two Hosts in HTTP/1.0", head("GET / HTTP/1.0", "Host: a\r\nHost: b\r\n"), Host),
        ("9112 §3.2 an empty Host", head("GET / HTTP/1.1", "Host:\r\n"), Host),
        ("9112 §3.2 a Host with a space", head("GET / HTTP/1.1", "Host: a b\r\n"), Host),
        ("9112 §3.2 a Host with a path", head("GET / HTTP/1.1", "Host: a/b\r\n"), Host),
        ("9110 §4.2.4 a Host with a user", head("GET / HTTP/1.1", "Host: u@a\r\n"), Host),
        ("3986 §3.2.3 a port that is none", head("GET / HTTP/1.1", "Host: a:x\r\n"), Host),
        ("3986 §3.2.3 a port beyond all", head("GET / HTTP/1.1", "Host: a:65536\r\n"), Host),
        ("3986 §3.2.2 no address in brackets", head("GET / HTTP/1.1", "Host: [a]\r\n"), Host),
        ("3986 §2.1 half an escape", head("GET / HTTP/1.1", "Host: a%2\r\n"), Host),
        (
            "9112 §3.2.2 another Host than in the target",
            head("GET http://b/ HTTP/1.1", "Host: a\r\n"),
            Host,
        ),
        (
            "9110 §4.2.4 a target with a user",
            head("GET http://u@a/ HTTP/1.1", "Host: a\r\n"),
            Target,
        ),
        ("9110 §4.2.1 a target without host", head("GET http:/// HTTP/1.1", "Host: a\r\n"), Target),
        ("9112 §3.2.2 another scheme", head("GET ftp://a/ HTTP/1.1", "Host: a\r\n"), Target),
        (
            "9112 §3.2.3 authority form without CONNECT",
            head("GET a:80 HTTP/1.1", "Host: a\r\n"),
            Target,
        ),
        ("9112 §3.2.4 asterisk without OPTIONS", head("GET * HTTP/1.1", "Host: a\r\n"), Target),
        ("9110 §9.3.6 CONNECT", head("CONNECT a:80 HTTP/1.1", "Host: a:80\r\n"), Connect),
        ("9112 §2.3 lower case", head("GET / http/1.1", "Host: a\r\n"), RequestLine),
        ("9112 §2.3 a later version", head("GET / HTTP/1.2", "Host: a\r\n"), Version),
        ("9112 §2.3 another major version", head("GET / HTTP/3.0", "Host: a\r\n"), Version),
        ("9112 §5.1 a space before the colon", get("a : b\r\n"), FieldName),
        ("9112 §5.1 a tab before the colon", get("a\t: b\r\n"), FieldName),
        ("9112 §5.1 Content-Length with a space", post("Content-Length : 1\r\n", "x"), FieldName),
        ("9112 §5 no colon", get("a\r\n"), FieldName),
        ("9112 §5 no name", get(": b\r\n"), FieldName),
        ("9110 §5.1 a name that is no token", get("a(b: c\r\n"), FieldName),
        ("9110 §5.1 a name with NUL", get("a\0b: c\r\n"), FieldName),
        ("9110 §5.5 NUL in a value", get("a: b\0\r\n"), FieldValue),
        ("9110 §5.5 DEL in a value", get("a: \u{7f}\r\n"), FieldValue),
        ("9112 §5.2 folded by a space", get("a: b\r\n c\r\n"), Folding),
        ("9112 §5.2 folded by a tab", get("a: b\r\n\tc\r\n"), Folding),
        (
            "9110 §8.6 two different lengths",
            post("Content-Length: 1\r\nContent-Length: 2\r\n", ""),
            ContentLength,
        ),
        (
            "9110 §8.6 the same length twice",
            post("Content-Length: 1\r\nContent-Length: 1\r\n", ""),
            ContentLength,
        ),
        ("9110 §8.6 a list of lengths", post("Content-Length: 1, 1\r\n", ""), ContentLength),
        ("9110 §8.6 a sign", post("Content-Length: +1\r\n", ""), ContentLength),
        ("9110 §8.6 negative", post("Content-Length: -1\r\n", ""), ContentLength),
        ("9110 §8.6 hexadecimal", post("Content-Length: 0x1\r\n", ""), ContentLength),
        ("9110 §8.6 empty", post("Content-Length:\r\n", ""), ContentLength),
        ("9110 §8.6 a space within", post("Content-Length: 1 1\r\n", ""), ContentLength),
        (
            "9110 §8.6 beyond 64 bits",
            post("Content-Length: 18446744073709551616\r\n", ""),
            ContentLength,
        ),
        (
            "9112 §6.1 both lengths",
            post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", ""),
            BothLengths,
        ),
        (
            "9112 §6.1 both lengths, the other way",
            post("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", ""),
            BothLengths,
        ),
        ("9112 §6.1 not chunked", post("Transfer-Encoding: gzip\r\n", ""), TransferEncoding),
        ("9112 §6.1 identity", post("Transfer-Encoding: identity\r\n", ""), TransferEncoding),
        (
            "9112 §6.1 chunked is not last",
            post("Transfer-Encoding: chunked, gzip\r\n", ""),
            TransferEncoding,
        ),
        (
            "9112 §6.1 chunked twice",
            post("Transfer-Encoding: chunked, chunked\r\n", ""),
            TransferEncoding,
        ),
        (
            "9112 §6.1 chunked twice in two fields",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", ""),
            TransferEncoding,
        ),
        (
            "9112 §6.1 identity after chunked",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", ""),
            TransferEncoding,
        ),
        (
            "9112 §6.1 another coding before",
            post("Transfer-Encoding: gzip, chunked\r\n", ""),
            TransferCoding,
        ),
        (
            "9112 §7 chunked with a parameter",
            post("Transfer-Encoding: chunked;q=1\r\n", ""),
            TransferEncoding,
        ),
        ("9112 §6.1 nearly chunked", post("Transfer-Encoding: xchunked\r\n", ""), TransferEncoding),
        ("9112 §6.1 quoted", post("Transfer-Encoding: \"chunked\"\r\n", ""), TransferEncoding),
        ("9112 §6.1 a vertical tab", post("Transfer-Encoding: \u{b}chunked\r\n", ""), FieldValue),
        ("9112 §6.1 empty", post("Transfer-Encoding:\r\n", ""), TransferEncoding),
        (
            "9112 §6.1 with HTTP/1.0",
            head("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n"),
            TransferEncoding,
        ),
        ("9112 §7.1 no size", chunked("\r\n"), Chunk),
        ("9112 §7.1 no number", chunked("x\r\n"), Chunk),
        ("9112 §7.1 a prefix", chunked("0x1\r\na\r\n"), Chunk),
        ("9112 §7.1 a sign", chunked("+1\r\na\r\n"), Chunk),
        ("9112 §7.1 a size that overflows", chunked("10000000000000001\r\na\r\n"), Chunk),
        ("9112 §7.1 zeros without end", chunked(&"0".repeat(16)), Chunk),
        ("9112 §7.1 bare LF after the size", chunked("1\na\r\n0\r\n\r\n"), Chunk),
        ("9112 §7.1 bare CR after the size", chunked("1\ra\r\n0\r\n\r\n"), Chunk),
        ("9112 §7.1 white space after the size", chunked("1 \r\na\r\n0\r\n\r\n"), Chunk),
        ("9112 §7.1 longer than its size", chunked("1\r\nab\r\n0\r\n\r\n"), Chunk),
        ("9112 §7.1 shorter than its size", chunked("3\r\na\r\n0\r\n\r\n"), Chunk),
        ("9112 §7.1 bare LF after the data", chunked("1\r\na\n0\r\n\r\n"), Chunk),
        (
            "9112 §7.1.1 bare LF in an extension",
            chunked("1;a\nb\r\na\r\n0\r\n\r\n"),
            ChunkExtension,
        ),
        ("9112 §7.1.1 NUL in an extension", chunked("1;\0\r\na\r\n0\r\n\r\n"), ChunkExtension),
        (
            "9112 §7.1.1 extensions without end",
            chunked(&format!("1;{}", "x".repeat(5_000))),
            ChunkExtension,
        ),
        (
            "9112 §7.1.1 many extensions",
            chunked(&format!("1;{}\r\na\r\n", "x".repeat(900)).repeat(5)),
            ChunkExtension,
        ),
        ("9112 §7.1.2 a folded trailer", chunked("0\r\na: b\r\n c\r\n\r\n"), Trailer),
        ("9112 §7.1.2 a trailer without name", chunked("0\r\n: b\r\n\r\n"), Trailer),
        ("9112 §7.1.2 a bare LF in a trailer", chunked("0\r\na: b\n\r\n"), Trailer),
        ("9112 §7.1.2 a bare LF at the end", chunked("0\r\n\n"), Trailer),
        ("9110 §6.5.1 a length in a trailer", chunked("0\r\nContent-Length: 1\r\n\r\n"), Trailer),
        ("9110 §6.5.1 a host in a trailer", chunked("0\r\nHost: b\r\n\r\n"), Trailer),
        (
            "9110 §6.5.1 trailers without end",
            chunked(&format!("0\r\n{}", "a: b\r\n".repeat(100))),
            Trailer,
        ),
        (
            "9110 §6.5.1 a trailer without end",
            chunked(&format!("0\r\na: {}", "b".repeat(9_000))),
            Trailer,
        ),
        ("6585 §5 too many fields", get(&"a: b\r\n".repeat(16)), TooManyFields),
        ("6585 §5 fields too large", get(&format!("a: {}\r\n", "b".repeat(5_000))), HeaderTooLarge),
        (
            "6585 §5 a field without end",
            get(&format!("a: {}", "b".repeat(5_000))).replace("\r\n\r\n", ""),
            HeaderTooLarge,
        ),
        (
            "9110 §15.5.15 a target without end",
            format!("GET /{}", "a".repeat(70_000)),
            TargetTooLong,
        ),
    ];
    let mut wrong = Vec::new();
    for (name, bytes, expected) in &cases {
        let bytes = bytes.as_bytes();
        for cuts in [vec![], (0..bytes.len().min(2_000)).collect()] {
            let found = run(bytes, &cuts).refused;
            if found != Some(*expected) {
                wrong.push(format!("{name}: {found:?} and not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let seen: std::collections::BTreeSet<&str> =
        cases.iter().map(|(_name, _bytes, refusal)| refusal.label()).collect();
    let elsewhere = [HeaderTimeout.label(), ConnectionField.label()];
    for refusal in Refusal::ALL {
        assert_ne!(
            seen.contains(refusal.label()),
            elsewhere.contains(&refusal.label()),
            "{refusal:?}"
        );
    }
}

/// Passes, byte for byte.
#[test]
fn what_has_one_reading_passes() {
    for (name, bytes) in [
        ("9112 §3", get("")),
        ("9112 §3 HTTP/1.0 without Host", head("GET / HTTP/1.0", "")),
        ("9112 §3 an extension method", head("PURGE! / HTTP/1.1", "Host: a\r\n")),
        ("9112 §3.2.1 with a query", head("GET /a?b=%20{c}|d\"e HTTP/1.1", "Host: a\r\n")),
        ("9112 §3.2.2 absolute form", head("GET http://A:80/ HTTP/1.1", "Host: a:80\r\n")),
        ("9112 §3.2.2 absolute form without path", head("GET https://a HTTP/1.1", "host:a\r\n")),
        (
            "9112 §3.2.2 absolute form with a query alone",
            head("GET http://a?b HTTP/1.1", "host: a\r\n"),
        ),
        ("9112 §3.2.4 asterisk form", head("OPTIONS * HTTP/1.1", "Host: a\r\n")),
        ("3986 §3.2.2 an address", head("GET / HTTP/1.1", "Host: [::1]:8080\r\n")),
        ("3986 §3.2.2 a name", head("GET / HTTP/1.1", "Host: xn--a_b.example%2D:\r\n")),
        ("9110 §5.5 values of all kinds", get("a:\r\nb: \t c \t\r\nd: \u{e9}\t\"\r\n")),
        ("9110 §8.6 a length", post("Content-Length: 3\r\n", "a\r\n")),
        ("9110 §8.6 leading zeros", post("content-length: 003\r\n", "abc")),
        ("9110 §8.6 no body", post("Content-Length: 0\r\n", "")),
        (
            "9112 §6.3 a body that looks like a request",
            post("Content-Length: 18\r\n", "GET / HTTP/1.1\r\n\r\n"),
        ),
        ("9112 §7.1 chunks", chunked("1\r\na\r\nA\r\n0123456789\r\n0\r\n\r\n")),
        ("9112 §7.1 no chunk", chunked("000\r\n\r\n")),
        ("9112 §7.1 data that looks like a chunk", chunked("7\r\n0\r\n\r\nGE\r\n0\r\n\r\n")),
        ("9112 §7.1.1 extensions", chunked("1;a=b;c=\"d e\"\r\na\r\n0 ;x\r\n\r\n")),
        ("9112 §7.1.2 trailers", chunked("0\r\nX-Sum: 1\r\nhosts: a\r\n\r\n")),
        ("9112 §7.4 TE", get("TE: trailers\r\n")),
        (
            "9112 §9.3.2 pipelined",
            get("") + &post("Content-Length: 1\r\n", "x") + &chunked("0\r\n\r\n") + &get(""),
        ),
    ] {
        let outcome = run(bytes.as_bytes(), &[]);
        assert_eq!(outcome.refused, None, "{name}");
        assert_eq!(String::from_utf8_lossy(&outcome.passed), bytes, "{name}");
        assert_eq!(outcome.place, Place::Between, "{name}");
    }
}

#[test]
fn an_empty_line_before_a_request_is_dropped() {
    let request = get("");
    let outcome = run(format!("\r\n{request}\r\n{request}").as_bytes(), &[]);
    assert_eq!((outcome.refused, outcome.heads), (None, 2));
    assert_eq!(String::from_utf8(outcome.passed).unwrap(), request.clone() + &request);
}

#[test]
fn nothing_of_a_refused_head_passes_and_all_before_it_does() {
    let good = post("Content-Length: 1\r\n", "x");
    let outcome = run(format!("{good}{}", get("a : b\r\n")).as_bytes(), &[]);
    assert_eq!(outcome.refused, Some(Refusal::FieldName));
    assert_eq!((String::from_utf8(outcome.passed).unwrap(), outcome.heads), (good, 1));
}

/// Valid requests of all kinds.
fn request() -> impl Strategy<Value = String> {
    let target = prop_oneof![
        "/[a-z0-9%]{0,20}(\\?[a-z=&]{0,20})?",
        Just("http://host.example/x".to_owned())
    ];
    let field = "[A-Za-z0-9-]{1,12}: ?[ -~]{0,30}";
    let body = prop_oneof![
        Just((String::new(), String::new())),
        "[ -~\r\n]{0,60}".prop_map(|body| (format!("Content-Length: {}\r\n", body.len()), body)),
        (prop::collection::vec("[ -~\r\n]{1,40}", 0..4), any::<bool>()).prop_map(
            |(chunks, with_trailer)| {
                let chunks: String = chunks
                    .iter()
                    .map(|chunk| format!("{:x};e=1\r\n{chunk}\r\n", chunk.len()))
                    .collect();
                let trailer = if with_trailer { "X-T: 1\r\n" } else { "" };
                ("Transfer-Encoding: chunked\r\n".to_owned(), format!("{chunks}0\r\n{trailer}\r\n"))
            }
        ),
    ];
    (target, prop::collection::vec(field, 0..6), body).prop_map(
        |(target, fields, (length, body))| {
            // Names that decide about the framing are not for chance.
            let fields: String = fields.iter().map(|field| format!("X-{field}\r\n")).collect();
            format!("POST {target} HTTP/1.1\r\nHost: host.example\r\n{fields}{length}\r\n{body}")
        },
    )
}

proptest! {
    #[test]
    fn valid_requests_pass_unchanged_however_they_are_split(
        requests in prop::collection::vec(request(), 1..5),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let bytes = requests.concat();
        let outcome = run(bytes.as_bytes(), &cuts);
        prop_assert_eq!(outcome.refused, None);
        prop_assert_eq!(outcome.heads, requests.len() as u64);
        prop_assert_eq!(outcome.passed, bytes.into_bytes());
    }

    #[test]
    fn any_bytes_are_judged_alike_however_they_are_split(
        mut bytes in prop::collection::vec(request(), 1..3).prop_map(|all| all.concat().into_bytes()),
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let (whole, split) = (run(&bytes, &[]), run(&bytes, &cuts));
        prop_assert_eq!(whole.refused, split.refused);
        prop_assert_eq!(whole.heads, split.heads);
        if whole.refused.is_none() {
            prop_assert_eq!(whole.passed, split.passed);
        }
    }
}
