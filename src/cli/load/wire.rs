//! Just enough HTTP/1.1 for the generator, by hand: a request costs two system calls and no task switch.
//!
//! Answers must name their length, as the server's do; `Transfer-Encoding` is not understood and said to be so.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the generator needs of an answer's head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    /// Length of the body, where the head says it.
    pub length: Option<usize>,
    pub retry_after_seconds: Option<u64>,
    /// The server closes the connection after this answer.
    pub closes: bool,
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// The head and where the body begins; `None` while the head is not complete.
///
/// # Errors
/// `InvalidData` when it is no HTTP/1.1 answer, or one in chunks.
pub fn parse_head(bytes: &[u8]) -> io::Result<Option<(Head, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| invalid("the answer's head is not text"))?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
        .ok_or_else(|| invalid("the answer is not HTTP/1.1"))?;
    let mut head = Head { status, ..Head::default() };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let length: usize = value.parse().map_err(|_| invalid("the answer's length is not a number"))?;
            if length > ANSWER_BYTES_MAX {
                return Err(invalid("the answer is too long"));
            }
            head.length = Some(length);
        } else if name.eq_ignore_ascii_case("retry-after") {
            head.retry_after_seconds = value.parse().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            head.closes = value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("the answer comes in chunks, which the load generator does not read"));
        }
    }
    Ok(Some((head, end + 4)))
}

/// A kept connection that sends requests and reads their answers, one at a time.
#[derive(Debug)]
pub struct Poster {
    address: SocketAddr,
    stream: Option<TcpStream>,
    inbox: Vec<u8>,
}

impl Poster {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, inbox: Vec::with_capacity(64 * 1024) }
    }

    /// Connects now, so that the first request is not charged with it.
    pub async fn connect(&mut self) -> io::Result<()> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Sends a request and returns its answer's head and body. After an error the next call connects anew; dropping the
    /// future (a timeout) counts as one.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<(Head, &[u8])> {
        if self.stream.is_none() {
            self.connect().await?;
        }
        let mut stream = self.stream.take().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(request).await?;
        self.inbox.clear();
        let (head, start) = loop {
            if let Some(found) = parse_head(&self.inbox)? {
                break found;
            }
            self.fill(&mut stream).await?;
        };
        let length = head.length.ok_or_else(|| invalid("the answer does not name its length"))?;
        while self.inbox.len() < start + length {
            self.fill(&mut stream).await?;
        }
        if !head.closes {
            self.stream = Some(stream);
        }
        Ok((head, &self.inbox[start..start + length]))
    }

    async fn fill(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        if self.inbox.len() > ANSWER_BYTES_MAX + 64 * 1024 {
            return Err(invalid("the answer is too long"));
        }
        match stream.read_buf(&mut self.inbox).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_complete() {
        let text = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 12\r\nRetry-After: 2\r\nConnection: close\r\n\r\nbody";
        assert_eq!(parse_head(&text[..40]).unwrap(), None);
        let (head, start) = parse_head(text).unwrap().unwrap();
        assert_eq!(head, Head { status: 503, length: Some(12), retry_after_seconds: Some(2), closes: true });
        assert_eq!(&text[start..], b"body");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_not_a_wrong_number() {
        for text in [
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            assert!(parse_head(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_made_anew_after_it_was_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut poster = Poster::new(listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let mut connections = 0;
            for answers in [
                vec!["HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nab"; 2],
                vec!["HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"],
            ] {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections += 1;
                for answer in answers {
                    let mut request = [0u8; 4];
                    stream.read_exact(&mut request).await.unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
            connections
        });
        for _ in 0..2 {
            let (head, body) = poster.exchange(b"ping").await.unwrap();
            assert_eq!((head.status, body), (202, &b"ab"[..]));
        }
        assert!(poster.exchange(b"ping").await.is_err(), "the server is gone");
        assert_eq!(poster.exchange(b"ping").await.unwrap().0.status, 200);
        assert_eq!(server.await.unwrap(), 2);
    }
}
