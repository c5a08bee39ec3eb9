//! Requests: written once as text, then rendered for key after key as the server reads them.

use std::fmt::Write as _;

/// The length of every key: `key:` and a number of 16 digits.
const KEY_LENGTH: usize = 20;

/// The name of a key.
pub fn key(number: u32) -> String {
    format!("key:{number:016}")
}

/// One call, which may be several commands.
#[derive(Clone, Debug)]
pub struct Request {
    /// What stands before each key, and after the last one.
    texts: Vec<String>,
    /// For each key, whether it is another one than the key before.
    another: Vec<bool>,
    commands: usize,
}

impl Request {
    /// Commands are separated by `;`, words by blanks. `{key}` stands for a key, `{next}` for the next one in order.
    pub fn parse(text: &str) -> Self {
        let mut texts = vec![String::new()];
        let mut another = Vec::new();
        let mut commands = 0;
        for command in text.split(';') {
            let words: Vec<&str> = command.split_whitespace().collect();
            let text = texts.last_mut().unwrap();
            write!(text, "*{}\r\n", words.len()).unwrap();
            for word in words {
                let text = texts.last_mut().unwrap();
                if let "{key}" | "{next}" = word {
                    write!(text, "${KEY_LENGTH}\r\n").unwrap();
                    another.push(word == "{next}");
                    texts.push("\r\n".into());
                } else {
                    write!(text, "${}\r\n{word}\r\n", word.len()).unwrap();
                }
            }
            commands += 1;
        }
        Self {
            texts,
            another,
            commands,
        }
    }

    /// How many commands it is, and so how many replies it gets.
    pub fn commands(&self) -> usize {
        self.commands
    }

    /// How many keys it takes.
    pub fn keys(&self) -> usize {
        1 + self.another.iter().filter(|another| **another).count()
    }

    /// Appends it for as many keys as it takes.
    pub fn render(&self, keys: &mut impl FnMut() -> u32, out: &mut Vec<u8>) {
        let mut name = key(keys());
        let (first, others) = self.texts.split_first().unwrap();
        out.extend_from_slice(first.as_bytes());
        for (text, another) in others.iter().zip(&self.another) {
            if *another {
                name = key(keys());
            }
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}
