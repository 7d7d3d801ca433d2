//! As much of HTTP/1.1 as clients of a registry speak.

use std::io::{self, BufRead, BufReader, Read, Write};

/// Heads beyond this are no heads.
const HEAD_BYTES: u64 = 64 << 10;

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    /// Returns an empty answer with this status.
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn body(mut self, media_type: &str, body: Vec<u8>) -> Self {
        self.body = body;
        self.header("Content-Type", media_type)
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Writes the answer; one to HEAD tells the length of a body that does not follow.
    pub(super) fn write(&self, stream: &mut impl Write, is_head: bool) -> io::Result<()> {
        let mut text = format!("HTTP/1.1 {} -\r\nContent-Length: {}\r\n", self.status, self.body.len());
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        let mut bytes = (text + "\r\n").into_bytes();
        if !is_head {
            bytes.extend(&self.body);
        }
        stream.write_all(&bytes)?;
        stream.flush()
    }
}

/// Reads the next request; None at the end of the connection. Who speaks TLS to a plain registry is answered in plain
/// words, by which docker learns of its mistake.
pub(super) fn read<S: Read + Write>(stream: &mut BufReader<S>) -> io::Result<Option<Request>> {
    match stream.fill_buf()? {
        [] => return Ok(None),
        [first, ..] if !first.is_ascii_uppercase() => {
            Response::new(400).write(stream.get_mut(), false)?;
            return Ok(None);
        }
        _ => {}
    }
    let first = line(stream)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (mut length, mut is_chunked, mut content_type) = (0, false, String::new());
    loop {
        let line = line(stream)?;
        let Some((name, value)) = line.split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(io::Error::other)?,
            "content-type" => content_type = value.to_owned(),
            "transfer-encoding" => is_chunked = value.eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let body = if is_chunked { chunks(stream)? } else { exactly(stream, length)? };
    let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
    Ok(Some(Request { method, path, query, content_type, body }))
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.take(HEAD_BYTES).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn exactly(stream: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Source: RFC 9112, section 7.1.
fn chunks(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let size = line(stream)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
        bytes.extend(exactly(stream, size)?);
        // Ends the chunk; after the last one it ends the trailers, of which nobody sends any.
        line(stream)?;
        if size == 0 {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection: what is said, and what was answered.
    struct Both(io::Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Both {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Both {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bodies_come_whole_or_in_chunks() {
        let text = "PUT /a?b=c HTTP/1.1\r\nContent-Type: x\r\ncontent-length: 2\r\n\r\nab\
            PATCH /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n";
        let mut stream = BufReader::new(Both(io::Cursor::new(text.into()), vec![]));
        let request = |method: &str, path: &str, query: &str, content_type: &str, body: &[u8]| Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            content_type: content_type.to_owned(),
            body: body.into(),
        };
        assert_eq!(read(&mut stream).unwrap(), Some(request("PUT", "/a", "b=c", "x", b"ab")));
        assert_eq!(read(&mut stream).unwrap(), Some(request("PATCH", "/d", "", "", b"abcd")));
        assert_eq!(read(&mut stream).unwrap(), None);
    }

    #[test]
    fn tls_is_answered_in_plain_words() {
        let mut stream = BufReader::new(Both(io::Cursor::new(vec![22, 3, 1, 0, 5]), vec![]));
        assert_eq!(read(&mut stream).unwrap(), None);
        assert_eq!(stream.get_ref().1, b"HTTP/1.1 400 -\r\nContent-Length: 0\r\n\r\n");
    }
}
