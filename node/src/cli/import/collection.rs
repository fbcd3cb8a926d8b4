//! Files of RESO records: one a line, or as an `OData` collection, `{"@odata.context":…,"value":[…]}`,
//! or as a bare list. A collection is not read into memory: its records are cut out one by one.

use std::{
    io::{self, BufRead, Chain, Cursor, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use hexpop_bench::dataset::files::{LINE_BYTES_MAX, open_text, read_lines};

use super::{Line, Rejected, Source, cannot_read, from_lines};
use crate::cli::error::CliResult;

/// The list of a collection begins within so many bytes of the file.
const HEAD_BYTES: u64 = 64 << 10;

/// A byte order mark in UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

type Reader = Chain<Cursor<Vec<u8>>, Box<dyn BufRead + Send>>;

/// The records of a file.
///
/// # Errors
/// When it cannot be opened or its beginning cannot be read.
pub(super) fn open(path: &Path) -> io::Result<Source<'_>> {
    let mut rest = open_text(path)?;
    let mut head = Vec::new();
    rest.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    match list_begin(&head) {
        Some(begin) => {
            let mut reader = Cursor::new(head).chain(rest);
            io::copy(&mut reader.by_ref().take(begin), &mut io::sink())?;
            Ok(Box::new(Collection::new(reader, path)))
        }
        None => Ok(from_lines(read_lines(Cursor::new(head).chain(rest), path)?, path)),
    }
}

/// Where the records of a collection begin, if this is the beginning of one: a list, or an object
/// whose annotations are followed by the list `value`. Otherwise it is a line.
fn list_begin(head: &[u8]) -> Option<u64> {
    let mut scan = Scan { bytes: head.strip_prefix(BOM).unwrap_or(head) };
    let mut is_object = false;
    loop {
        match (scan.token()?, is_object) {
            ([b'['], false) => break,
            ([b'{'], false) => is_object = true,
            ([b','], true) => {}
            (name, true) => {
                if scan.token()? != b":" {
                    return None;
                }
                let value = scan.token()?;
                if name == b"\"value\"" && value == b"[" {
                    break;
                }
                let is_scalar = !matches!(value, [b'[' | b'{' | b'}' | b']' | b',' | b':']);
                if !name.starts_with(b"\"@") || !is_scalar {
                    return None;
                }
            }
            (_, false) => return None,
        }
    }
    u64::try_from(head.len() - scan.bytes.len()).ok()
}

/// The tokens of a JSON text, loosely.
struct Scan<'a> {
    bytes: &'a [u8],
}

impl<'a> Scan<'a> {
    /// The next one; `None` at the end of what is here.
    fn token(&mut self) -> Option<&'a [u8]> {
        self.bytes = self.bytes.trim_ascii_start();
        let mut escaped = false;
        let len = match self.bytes.first()? {
            b'"' => {
                self.bytes.iter().skip(1).position(|byte| {
                    let ends = *byte == b'"' && !escaped;
                    escaped = *byte == b'\\' && !escaped;
                    ends
                })? + 2
            }
            b'{' | b'}' | b'[' | b']' | b':' | b',' => 1,
            _ => self.bytes.iter().position(|byte| b"{}[]:, \t\r\n".contains(byte))?,
        };
        let (token, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(token)
    }
}

/// The records of a collection, without the white space between their tokens, counted from 1.
struct Collection {
    reader: Reader,
    path: PathBuf,
    file: Arc<str>,
    number: u64,
    bytes_max: usize,
    ended: bool,
}

impl Collection {
    fn new(reader: Reader, path: &Path) -> Self {
        Self {
            reader,
            path: path.to_owned(),
            file: path.display().to_string().into(),
            number: 0,
            bytes_max: LINE_BYTES_MAX,
            ended: false,
        }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// The next record; `None` at the end of the list. A record beyond the bound is an empty one.
    fn record(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut byte = self.byte()?;
        while byte.is_ascii_whitespace() || byte == b',' {
            byte = self.byte()?;
        }
        self.number += 1;
        match byte {
            b'{' => {}
            b']' => return Ok(None),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "is not an object")),
        }
        let mut record = vec![byte];
        let (mut depth, mut in_text, mut escaped) = (1_u64, false, false);
        let mut is_too_long = false;
        while depth > 0 {
            byte = self.byte()?;
            match byte {
                b'"' if !escaped => in_text = !in_text,
                b'{' | b'[' if !in_text => depth += 1,
                b'}' | b']' if !in_text => depth -= 1,
                _ => {}
            }
            escaped = in_text && byte == b'\\' && !escaped;
            is_too_long |= record.len() >= self.bytes_max;
            if !is_too_long && (in_text || !byte.is_ascii_whitespace()) {
                // A line end within a text is no JSON, but it must not become two lines.
                record.push(if byte == b'\n' { b' ' } else { byte });
            }
        }
        if is_too_long {
            record.clear();
        }
        Ok(Some(record))
    }
}

impl Iterator for Collection {
    type Item = CliResult<Result<Line, Rejected>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.record() {
            Ok(Some(text)) if text.is_empty() => Some(Ok(Err(Rejected {
                file: self.file.to_string(),
                line: self.number,
                error: format!("longer than {} bytes", self.bytes_max),
            }))),
            Ok(Some(text)) => {
                let (file, number) = (self.file.clone(), self.number);
                Some(Ok(Ok(Line { file, number, text: text.into() })))
            }
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                let why = match error.kind() {
                    io::ErrorKind::UnexpectedEof => "the file ends within the list".to_owned(),
                    _ => error.to_string(),
                };
                let error = io::Error::other(format!("record {}: {why}", self.number.max(1)));
                Some(Err(cannot_read(&self.path, &error)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Result<(u64, String), String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records");
        std::fs::write(&path, text).unwrap();
        let read = |item: CliResult<Result<Line, Rejected>>| match item {
            Ok(Ok(line)) => Ok((line.number, String::from_utf8(line.text.to_vec()).unwrap())),
            Ok(Err(rejected)) => Err(format!("{}: {}", rejected.line, rejected.error)),
            Err(error) => Err(format!("{error:?}")),
        };
        open(&path).unwrap().map(read).collect()
    }

    fn records(texts: &[&str]) -> Vec<Result<(u64, String), String>> {
        (1..).zip(texts).map(|(number, text)| Ok((number, (*text).to_owned()))).collect()
    }

    #[test]
    fn collections_lists_and_lines_are_told_apart() {
        let two = records(&[r#"{"a":[1,{}]}"#, r#"{"b":"x } \" ] y"}"#]);
        for text in [
            "{\"a\":[1,{}]}\n{\"b\":\"x } \\\" ] y\"}\n",
            "\u{feff}{\"@odata.context\": \"$metadata#Property\",\n \"@odata.count\": 2,\n \"value\": [\n  \
             {\n \"a\": [1, {}]\n },\n {\"b\": \"x } \\\" ] y\"}\n ],\n \"@odata.nextLink\": \"x\"}",
            "{\"value\":[{\"a\":[1,{}]},{\"b\":\"x } \\\" ] y\"}]}",
            " [ {\"a\":[1,{}]} , {\"b\":\"x } \\\" ] y\"} ] ",
        ] {
            assert_eq!(all(text), two, "{text}");
        }
        // A record may have a list of this name.
        let line = r#"{"ListingKey":"a","value":[{}]}"#;
        assert_eq!(all(line), records(&[line]));
        assert!(all(r#"{"@odata.context":"x","value":[]}"#).is_empty());
        assert!(all("").is_empty());
    }

    #[test]
    fn a_cut_or_odd_collection_says_where() {
        let cut = all(r#"{"value":[{"a":1},{"b":"#);
        assert_eq!(cut[0], Ok((1, r#"{"a":1}"#.to_owned())));
        assert!(cut[1].as_ref().unwrap_err().contains("record 2: the file ends"), "{cut:?}");
        let odd = all(r#"[{"a":1}, 7, {"b":2}]"#);
        assert!(odd[1].as_ref().unwrap_err().contains("record 2: is not an object"), "{odd:?}");
        assert_eq!((cut.len(), odd.len()), (2, 2));
    }

    #[test]
    fn a_long_record_is_skipped_and_the_rest_is_read() {
        let long = format!(r#"[{{"a":"{}"}},{{"b":2}}]"#, "x".repeat(LINE_BYTES_MAX));
        let read = all(&long);
        assert!(read[0].as_ref().unwrap_err().contains("longer than"), "{:?}", read[0]);
        assert_eq!(read[1..], [Ok((2, r#"{"b":2}"#.to_owned()))]);
    }
}
