//! Lines of newline-delimited JSON from a file or standard input, plain or gzipped.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;

/// The longest line that is read, in bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

const BUFFER_BYTES: usize = 128 << 10;
/// The first two bytes of a gzip member (RFC 1952 §2.3.1); no JSON text begins with them.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// A byte order mark in UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What is wrong with a line, or with the reading of it.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line was skipped; reading goes on with the next.
    #[error("{}, line {line}: longer than {bytes_max} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: u64,
        /// The longest line allowed.
        bytes_max: usize,
    },
    /// The file cannot be read further; nothing follows.
    #[error("{}, line {line}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The number of the line that could not be read, from 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
}

impl LineError {
    /// The number of the line, from 1.
    #[must_use]
    pub const fn line(&self) -> u64 {
        match self {
            Self::TooLong { line, .. } | Self::Read { line, .. } => *line,
        }
    }

    /// Whether further lines may follow.
    #[must_use]
    pub const fn is_skippable(&self) -> bool {
        matches!(self, Self::TooLong { .. })
    }
}

/// Opens a file of lines; `-` is standard input. What begins as gzip is decompressed, whatever the
/// name says, all members of it.
///
/// # Errors
/// When the file cannot be opened, or its first bytes cannot be read.
pub fn open_lines(path: impl AsRef<Path>) -> io::Result<Lines> {
    let path = path.as_ref();
    read_lines(open(path)?, path)
}

/// Opens a file of text that is not read by lines, in the way of [`open_lines`].
///
/// # Errors
/// When the file cannot be opened, or its first bytes cannot be read.
pub fn open_text(path: impl AsRef<Path>) -> io::Result<Box<dyn BufRead + Send>> {
    unpacked(open(path.as_ref())?)
}

/// Lines of anything readable; `path` is what errors call it.
///
/// # Errors
/// When the first bytes cannot be read.
pub fn read_lines(source: impl Read + Send + 'static, path: &Path) -> io::Result<Lines> {
    let reader = unpacked(source)?;
    Ok(Lines { reader, path: path.to_owned(), line: 0, bytes_max: LINE_BYTES_MAX, ended: false })
}

fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    Ok(if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) })
}

/// What a source holds, decompressed if it begins as gzip.
fn unpacked(source: impl Read + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let mut plain = BufReader::with_capacity(BUFFER_BYTES, source);
    let gzipped = plain.fill_buf()?.starts_with(&GZIP_MAGIC);
    Ok(if gzipped {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(plain)))
    } else {
        Box::new(plain)
    })
}

/// The lines of a file with their numbers, from 1, without line ends. Blank lines are left out but
/// counted. After an error that is not [skippable](LineError::is_skippable) nothing follows.
pub struct Lines {
    reader: Box<dyn BufRead + Send>,
    path: PathBuf,
    line: u64,
    bytes_max: usize,
    ended: bool,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("path", &self.path)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

impl Iterator for Lines {
    type Item = Result<(u64, Vec<u8>), LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.line += 1;
            let mut text = Vec::new();
            match self.read_line(&mut text) {
                Ok(Outcome::Line) => {
                    if self.line == 1 && text.starts_with(BOM) {
                        text.drain(..BOM.len());
                    }
                    text.truncate(text.trim_ascii_end().len());
                    if !text.is_empty() {
                        return Some(Ok((self.line, text)));
                    }
                }
                Ok(Outcome::TooLong) => {
                    return Some(Err(LineError::TooLong {
                        path: self.path.clone(),
                        line: self.line,
                        bytes_max: self.bytes_max,
                    }));
                }
                Ok(Outcome::End) => self.ended = true,
                Err(source) => {
                    self.ended = true;
                    let path = self.path.clone();
                    return Some(Err(LineError::Read { path, line: self.line, source }));
                }
            }
        }
        None
    }
}

/// What reading one line gave.
enum Outcome {
    Line,
    TooLong,
    End,
}

impl Lines {
    /// Reads to the next line end, keeping at most `bytes_max` bytes.
    fn read_line(&mut self, text: &mut Vec<u8>) -> io::Result<Outcome> {
        let mut any = false;
        let mut too_long = false;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = end.map_or(buffer, |end| buffer.split_at(end).0);
            let used = part.len() + usize::from(end.is_some());
            too_long |= text.len() + part.len() > self.bytes_max;
            if !too_long {
                text.extend_from_slice(part);
            }
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        Ok(match (any, too_long) {
            (false, _) => Outcome::End,
            (true, true) => Outcome::TooLong,
            (true, false) => Outcome::Line,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn lines(bytes: impl Into<Vec<u8>>) -> Lines {
        read_lines(Cursor::new(bytes.into()), Path::new("test")).unwrap()
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn all(lines: Lines) -> Vec<(u64, String)> {
        lines.map(|line| line.unwrap()).map(|(n, t)| (n, String::from_utf8(t).unwrap())).collect()
    }

    #[test]
    fn lines_have_numbers_and_no_ends_and_blank_ones_count() {
        let read = all(lines("\u{feff}{\"a\":1}\r\n\n  \n{\"b\":2}\nlast"));
        assert_eq!(read, [(1, "{\"a\":1}".into()), (4, "{\"b\":2}".into()), (5, "last".into())]);
        assert!(all(lines("")).is_empty());
    }

    #[test]
    fn gzip_is_read_with_all_its_members() {
        let mut bytes = gzip("one\n");
        bytes.extend(gzip("two\n"));
        assert_eq!(all(lines(bytes)), [(1, "one".into()), (2, "two".into())]);
    }

    #[test]
    fn a_long_line_is_reported_and_the_rest_is_read() {
        let mut reader = lines(format!("ok\n{}\nok too\n", "x".repeat(300)));
        reader.bytes_max = 100;
        assert_eq!(reader.next().unwrap().unwrap().0, 1);
        let error = reader.next().unwrap().unwrap_err();
        assert!(error.is_skippable() && error.line() == 2, "{error}");
        assert_eq!(reader.next().unwrap().unwrap(), (3, b"ok too".to_vec()));
        assert!(reader.next().is_none());
    }

    #[test]
    fn a_cut_gzip_file_ends_with_an_error_that_names_the_line() {
        let mut bytes = gzip(&"{\"id\":\"a\"}\n".repeat(5));
        bytes.truncate(bytes.len() - 8);
        let results: Vec<_> = lines(bytes).collect();
        let error = results.last().unwrap().as_ref().unwrap_err();
        assert!(!error.is_skippable());
        assert!(error.to_string().starts_with("test, line "), "{error}");
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert_eq!(open_lines("no-such-file").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
