//! A connection on which many requests are on their way at once, and whose every reply is looked at.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::request::Request;

/// Requests that are sent at once. Two such batches are on their way at any time, so that the server never waits.
const BATCH: usize = 1_000;
/// The bytes at which a batch ends in any case.
const BATCH_BYTES: usize = 256 * 1024;

/// What a reply has to be. An error is never wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Anything.
    Answer,
    /// This integer, or an array whose first integer it is.
    First(i64),
}

/// The clocks of the server at one place in the stream of its commands.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// What its main thread has used of the processor.
    pub cpu: Duration,
    /// Its time of day.
    pub wall: Duration,
}

/// What is sent, and what is awaited.
#[derive(Default)]
pub struct Stream {
    bytes: Vec<u8>,
    /// Replies, and marks without one.
    awaited: Vec<Option<Wanted>>,
    /// Where each batch ends: in `bytes` and in `awaited`.
    cuts: Vec<(usize, usize)>,
    in_batch: usize,
}

impl Stream {
    /// Appends a request, for the keys that follow.
    pub fn push(&mut self, request: &Request, keys: &mut impl FnMut() -> u32, wanted: Wanted) {
        request.render(keys, &mut self.bytes);
        // Of several commands, the last one decides.
        for _ in 1..request.commands() {
            self.awaited.push(Some(Wanted::Answer));
        }
        self.awaited.push(Some(wanted));
        self.in_batch += 1;
        let begin = self.cuts.last().map_or(0, |cut| cut.0);
        if self.in_batch == BATCH || self.bytes.len() - begin >= BATCH_BYTES {
            self.cut();
        }
    }

    /// Appends a look at the server's clocks.
    pub fn mark(&mut self) {
        self.bytes
            .extend(b"*2\r\n$4\r\nINFO\r\n$3\r\ncpu\r\n*1\r\n$4\r\nTIME\r\n");
        self.awaited.push(None);
    }

    /// Ends a batch.
    pub fn cut(&mut self) {
        self.cuts.push((self.bytes.len(), self.awaited.len()));
        self.in_batch = 0;
    }
}

pub struct Pipe {
    socket: UnixStream,
    received: Vec<u8>,
    at: usize,
}

impl Pipe {
    pub fn connect(socket: &Path) -> Self {
        Self {
            socket: UnixStream::connect(socket).unwrap(),
            received: Vec::new(),
            at: 0,
        }
    }

    /// Sends a command of words separated by blanks; the reply as it came. Errors end the bench.
    pub fn ask(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.ask_words(&words)
    }

    pub fn ask_words(&mut self, words: &[&str]) -> String {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
        self.socket.write_all(&bytes).unwrap();
        String::from_utf8_lossy(self.reply()).into_owned()
    }

    /// The bytes of a string.
    pub fn string_length(&mut self, name: &str) -> Option<usize> {
        let reply = self.ask(&format!("STRLEN {name}"));
        reply.trim_end()[1..].parse().ok()
    }

    /// Sends everything and awaits every reply; the clocks at the marks.
    pub fn run(&mut self, what: &str, stream: &mut Stream) -> Vec<Mark> {
        stream.cut();
        let mut marks = Vec::new();
        let mut sent = 0;
        let mut answered = 0;
        let mut before = 0;
        for (bytes, awaited) in &stream.cuts {
            self.socket.write_all(&stream.bytes[sent..*bytes]).unwrap();
            self.receive(what, &stream.awaited[answered..before], &mut marks);
            sent = *bytes;
            answered = before;
            before = *awaited;
        }
        self.receive(what, &stream.awaited[answered..], &mut marks);
        marks
    }

    fn receive(&mut self, what: &str, awaited: &[Option<Wanted>], marks: &mut Vec<Mark>) {
        for awaited in awaited {
            match awaited {
                Some(wanted) => self.check(what, *wanted),
                None => marks.push(self.read_mark()),
            }
        }
    }

    fn check(&mut self, what: &str, wanted: Wanted) {
        let reply = self.reply();
        if let Wanted::First(integer) = wanted {
            assert!(
                first_integer(reply) == Some(integer),
                "{what}: answered {:?}, but {integer} had to be the first number",
                String::from_utf8_lossy(reply)
            );
        }
    }

    fn read_mark(&mut self) -> Mark {
        let info = String::from_utf8_lossy(self.reply()).into_owned();
        let seconds = |name: &str| -> f64 {
            let (_, rest) = info.split_once(name).unwrap();
            rest.split("\r\n").next().unwrap().parse().unwrap()
        };
        let used = seconds("used_cpu_sys_main_thread:") + seconds("used_cpu_user_main_thread:");
        let time = String::from_utf8_lossy(self.reply()).into_owned();
        let mut parts = time.split("\r\n").skip(2).step_by(2);
        let mut part = || parts.next().unwrap().parse::<u64>().unwrap();
        Mark {
            cpu: Duration::from_secs_f64(used),
            wall: Duration::from_secs(part()) + Duration::from_micros(part()),
        }
    }

    /// The next reply as it came.
    fn reply(&mut self) -> &[u8] {
        let length = loop {
            match length(&self.received[self.at..]) {
                Some(length) => break length,
                None => self.read_more(),
            }
        };
        let start = self.at;
        self.at += length;
        &self.received[start..self.at]
    }

    fn read_more(&mut self) {
        self.received.drain(..self.at);
        self.at = 0;
        let old = self.received.len();
        self.received.resize(old + 64 * 1024, 0);
        let count = self.socket.read(&mut self.received[old..]).unwrap();
        assert!(count > 0, "the server has closed the connection");
        self.received.truncate(old + count);
    }
}

/// The length of the first reply in `bytes`, if it is there as a whole. An error in it ends the bench.
fn length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|byte| *byte == b'\n')? + 1;
    let line = &bytes[1..end - 2];
    match bytes[0] {
        b'+' | b':' => Some(end),
        b'$' => match number(line) {
            -1 => Some(end),
            length => {
                let whole = end + usize::try_from(length).unwrap() + 2;
                (bytes.len() >= whole).then_some(whole)
            }
        },
        b'*' => {
            let mut whole = end;
            for _ in 0..number(line) {
                whole += length(&bytes[whole..])?;
            }
            Some(whole)
        }
        _ => panic!("answered {:?}", String::from_utf8_lossy(&bytes[..end])),
    }
}

/// The integer that a reply is, or the first in the arrays that it begins with.
fn first_integer(reply: &[u8]) -> Option<i64> {
    let mut rest = reply;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\r')?;
        match rest[0] {
            b':' => return Some(number(&rest[1..end])),
            b'*' => rest = &rest[end + 2..],
            _ => return None,
        }
    }
}

fn number(digits: &[u8]) -> i64 {
    str::from_utf8(digits).unwrap().parse().unwrap()
}
