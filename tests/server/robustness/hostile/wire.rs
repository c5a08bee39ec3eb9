//! The protocol, taken at its word: a client that accepts nothing from the server but what RESP2 or RESP3 allows.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use redis::Value;

use crate::harness::DEADLINE;

/// Why there is no reply.
#[derive(Debug)]
pub enum NoReply {
    /// The server has closed the connection, or was never reached.
    Closed,
    /// It has sent nothing for as long as was waited.
    Silent,
    /// It has sent what is no reply.
    Malformed(String),
}

/// How a connection reaches the server.
trait Stream: Read + Write + Send {
    fn end_writing(&self);
}

impl Stream for UnixStream {
    fn end_writing(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Stream for TcpStream {
    fn end_writing(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// A connection.
pub struct Wire {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
    resp3: bool,
}

impl Wire {
    /// By a unix socket, to wait for a reply for as long as this.
    pub fn unix(socket: &std::path::Path, wait: Duration) -> Result<Self, NoReply> {
        let stream = UnixStream::connect(socket).map_err(|_| NoReply::Closed)?;
        stream.set_read_timeout(Some(wait)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Ok(Self::new(Box::new(stream)))
    }

    /// By TCP.
    pub fn tcp(port: u16) -> Result<Self, NoReply> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|_| NoReply::Closed)?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Ok(Self::new(Box::new(stream)))
    }

    fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            received: Vec::new(),
            resp3: false,
        }
    }

    /// Changes to RESP3.
    pub fn use_resp3(&mut self) -> Result<(), NoReply> {
        self.send(&encode(&["HELLO", "3"]))?;
        // The reply is in the new protocol already, unless it is an error.
        self.resp3 = true;
        match self.reply()? {
            Value::Map(_) => Ok(()),
            // Such as BUSY.
            Value::ServerError(_) => Err(NoReply::Closed),
            other => Err(NoReply::Malformed(format!("HELLO: {other:?}"))),
        }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), NoReply> {
        self.stream.write_all(bytes).map_err(|_| NoReply::Closed)
    }

    /// Sends no more.
    pub fn end_writing(&self) {
        self.stream.end_writing();
    }

    /// The next reply. What is pushed in between is looked at and left out.
    pub fn reply(&mut self) -> Result<Value, NoReply> {
        loop {
            let end = end_of(&self.received, self.resp3);
            match end.map_err(|what| self.malformed(&what))? {
                Some(end) => {
                    let reply: Vec<u8> = self.received.drain(..end).collect();
                    if reply[0] == b'>' {
                        continue;
                    }
                    // The server's own errors may repeat bytes that are no text.
                    let reply = match reply[0] {
                        b'-' => String::from_utf8_lossy(&reply).into_owned().into_bytes(),
                        _ => reply,
                    };
                    return redis::parse_redis_value(&reply)
                        .map_err(|error| NoReply::Malformed(error.to_string()));
                }
                None => self.receive()?,
            }
        }
    }

    fn receive(&mut self) -> Result<(), NoReply> {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        let mut buffer = [0; 1 << 14];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(NoReply::Closed),
            Ok(len) => {
                self.received.extend(&buffer[..len]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => Err(NoReply::Silent),
            Err(_) => Err(NoReply::Closed),
        }
    }

    fn malformed(&self, what: &str) -> NoReply {
        let bytes = &self.received[..self.received.len().min(300)];
        NoReply::Malformed(format!("{what}: {}", bytes.escape_ascii()))
    }
}

/// A command line as the protocol has it.
pub fn encode<W: AsRef<[u8]>>(line: &[W]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", line.len()).into_bytes();
    for word in line {
        bytes.extend(format!("${}\r\n", word.as_ref().len()).bytes());
        bytes.extend(word.as_ref());
        bytes.extend(b"\r\n");
    }
    bytes
}

/// Where the reply ends that the bytes begin with; `None` if more has to come. On failure, what is wrong with it.
fn end_of(bytes: &[u8], resp3: bool) -> Result<Option<usize>, String> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else {
        return Ok(None);
    };
    let Some((&kind, text)) = bytes[..end].split_first() else {
        return Err("an empty line".into());
    };
    let mut at = end + 2;
    let wrong = |what: &str| Err(format!("{what} of type {}", kind.escape_ascii()));
    if text.contains(&b'\n') || text.contains(&b'\r') {
        return wrong("a line break");
    }
    if !resp3 && b"_#,(!=%~>|".contains(&kind) {
        return wrong("RESP3");
    }
    let text = std::str::from_utf8(text).unwrap_or_default();
    let integer = text
        .parse::<i64>()
        .ok()
        .filter(|integer| integer.to_string() == text);
    let parts = match (kind, integer) {
        (b'+', _) => return Ok(Some(at)),
        (b'-', _) => {
            let code = text.split(' ').next().unwrap_or_default();
            // The server's own errors may repeat bytes that are no text; then there is no code to be seen.
            let is_code = code.is_empty()
                || code
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            return if is_code {
                Ok(Some(at))
            } else {
                wrong("no code")
            };
        }
        (b':', Some(_)) => return Ok(Some(at)),
        (b'_', _) if text.is_empty() => return Ok(Some(at)),
        (b'#', _) if matches!(text, "t" | "f") => return Ok(Some(at)),
        (b',', _) if text.parse::<f64>().is_ok() => return Ok(Some(at)),
        (b'(', _) if text.parse::<i128>().is_ok() => return Ok(Some(at)),
        (b'$' | b'*', Some(-1)) if !resp3 => return Ok(Some(at)),
        (b'$' | b'!' | b'=', Some(len @ 0..)) => {
            at += usize::try_from(len).unwrap() + 2;
            return match bytes.get(at - 2..at) {
                None => Ok(None),
                Some(b"\r\n") => Ok(Some(at)),
                Some(_) => wrong("another length"),
            };
        }
        (b'*' | b'~' | b'>', Some(len @ 0..)) => len,
        (b'%', Some(len @ 0..)) => 2 * len,
        // It goes with the reply behind it.
        (b'|', Some(len @ 0..)) => 2 * len + 1,
        _ => return wrong("nonsense"),
    };
    for _ in 0..parts {
        match end_of(&bytes[at..], resp3)? {
            Some(len) => at += len,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}
