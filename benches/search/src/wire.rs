//! One connection that is kept, with as little of its own as it can have.

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

pub struct Connection {
    stream: TcpStream,
    head: String,
    buffer: Vec<u8>,
}

impl Connection {
    pub fn open(address: &str, login: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        use base64::Engine as _;
        let login = base64::engine::general_purpose::STANDARD.encode(login);
        let head = format!("host: {address}\r\nauthorization: Basic {login}\r\n");
        Ok(Self {
            stream,
            head,
            buffer: Vec::new(),
        })
    }

    /// The status and the body.
    pub fn call(&mut self, method: &str, path: &str, body: &[u8]) -> Result<(u16, &[u8])> {
        let mut request = Vec::with_capacity(body.len() + 256);
        write!(
            request,
            "{method} {path} HTTP/1.1\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.head,
            body.len()
        )?;
        request.extend_from_slice(body);
        self.stream.write_all(&request)?;
        self.buffer.clear();
        let mut chunk = [0; 1 << 16];
        loop {
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(Error::other("the connection ended"));
            }
            self.buffer.extend_from_slice(&chunk[..read]);
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response.parse(&self.buffer).map_err(Error::other)?;
            let httparse::Status::Complete(start) = parsed else {
                continue;
            };
            let status = response.code.unwrap_or(0);
            let length = response
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"))
                .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok())
                .ok_or_else(|| Error::other("an answer without a length"))?;
            let end: usize = start + length;
            while self.buffer.len() < end {
                let read = self.stream.read(&mut chunk)?;
                if read == 0 {
                    return Err(Error::other("the connection ended"));
                }
                self.buffer.extend_from_slice(&chunk[..read]);
            }
            return Ok((status, &self.buffer[start..end]));
        }
    }
}
