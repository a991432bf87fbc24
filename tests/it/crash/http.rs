//! A client of the few lines that the crash test needs: it must say whether an answer came, and never try again itself.

use serde_json::Value;
use std::io::{BufRead, BufReader, Error, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use uuid::Uuid;

/// One kept connection; made anew at the first request after one that failed.
pub struct Http {
    address: SocketAddr,
    tenant: Uuid,
    stream: Option<BufReader<TcpStream>>,
}

impl Http {
    pub fn new(address: SocketAddr, tenant: Uuid) -> Self {
        Self { address, tenant, stream: None }
    }

    pub fn get(&mut self, target: &str) -> Result<(u16, Value), Error> {
        self.exchange("GET", target, "")
    }

    /// Posts JSON.
    pub fn post(&mut self, target: &str, body: &str) -> Result<(u16, Value), Error> {
        self.exchange("POST", target, body)
    }

    fn exchange(&mut self, method: &str, target: &str, body: &str) -> Result<(u16, Value), Error> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                BufReader::new(stream)
            }
        };
        let (host, tenant, length) = (self.address, self.tenant, body.len());
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: {host}\r\nagentverse-tenant: {tenant}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| Error::other("no status line"))?;
        let mut length = 0;
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(Error::other("the head broke off"));
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(Error::other)?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        self.stream = Some(stream);
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}
