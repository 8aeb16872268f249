//! Questions to a person at a terminal. Nobody is asked when stdin is no terminal.

use std::io::{BufRead, Read};

use crate::{
    commands::{init::Ask, passphrase::AskHidden},
    env::{
        Env, Sink,
        terminal::{GIVE_UP, Questioned},
    },
    error::{Error, Result},
};

/// No answer is longer, in bytes.
const LIMIT: u64 = 4096;

/// Asks a person on stderr and reads the answers from stdin.
pub struct Asker {
    stdin: Box<dyn BufRead + Send + Sync>,
    stderr: Sink,
}

impl Asker {
    /// Returns somebody to ask, or `None` when stdin is no terminal. Takes stdin out of the environment.
    pub fn at_terminal(env: &mut Env) -> Option<Self> {
        if !env.streams.stdin_is_terminal {
            return None;
        }
        let stdin = std::mem::replace(&mut env.streams.stdin, Box::new(std::io::empty()));
        Some(Self {
            stdin,
            stderr: env.streams.stderr.clone(),
        })
    }
}

impl Ask for Asker {
    fn ask(&mut self, question: &str, default: &str) -> Result<String> {
        let questioned = Questioned::aloud();
        match default {
            "" => self.stderr.write(&format!("{question}: ")),
            _ => self.stderr.write(&format!("{question} [{default}]: ")),
        }
        let line = shown_line(&mut self.stdin);
        drop(questioned);
        let Some(line) = line else {
            self.stderr.write("\n");
            return Err(Error::usage("no answer was given; nothing was done"));
        };
        let answer = String::from_utf8_lossy(&line).trim().to_owned();
        Ok(if answer.is_empty() {
            default.to_owned()
        } else {
            answer
        })
    }

    fn tell(&mut self, text: &str) {
        self.stderr.line(text);
    }

    fn yes(&mut self, question: &str) -> Result<bool> {
        let answer = self.ask(&format!("{question} (yes or no)"), "no")?;
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

impl AskHidden for Asker {
    fn hidden(&mut self, question: &str) -> Result<Vec<u8>> {
        let failed = |error| Error::failed("nothing could be asked at the terminal").cause(error);
        // Before the question: what is typed ahead is not shown either.
        let silence = Questioned::silently().map_err(failed)?;
        self.stderr.write(&format!("{question}: "));
        let line = hidden_line(&mut self.stdin);
        drop(silence);
        self.stderr.write("\n");
        line.ok_or_else(|| Error::usage("no passphrase was given; nothing was done"))
    }
}

/// Reads one line that the terminal edits and shows; the rest of one that is too long is the next. Returns nothing when the
/// person gives up, or the input ends.
fn shown_line(stdin: &mut impl Read) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut octet = [0];
    while (line.len() as u64) < LIMIT {
        match stdin.read_exact(&mut octet) {
            Ok(()) if octet[0] == b'\n' => break,
            Ok(()) if GIVE_UP.contains(&octet[0]) => return None,
            Ok(()) => line.push(octet[0]),
            Err(_) if line.is_empty() => return None,
            Err(_) => break,
        }
    }
    Some(line)
}

/// Reads one line key by key, as the terminal would edit it: it shows nothing and edits nothing meanwhile. Returns nothing when
/// the person gives up (Ctrl-C, Ctrl-D on an empty line, the end of input).
fn hidden_line(stdin: &mut impl Read) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        let mut key = [0];
        stdin.read_exact(&mut key).ok()?;
        match key[0] {
            b'\n' | b'\r' => return Some(line),
            key if GIVE_UP.contains(&key) => return None,
            0x04 if line.is_empty() => return None,
            // Backspace takes a whole character, which may be several octets of UTF-8.
            0x08 | 0x7f => while line.pop().is_some_and(|octet| octet & 0xc0 == 0x80) {},
            // Ctrl-U.
            0x15 => line.clear(),
            octet if (line.len() as u64) < LIMIT => line.push(octet),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_line_and_giving_up_is_none() {
        let check = |typed: &[u8], expected: Option<&str>| {
            let line = shown_line(&mut &*typed).map(|line| String::from_utf8(line).unwrap());
            assert_eq!(line.as_deref(), expected, "{typed:?}");
        };
        check(b"yes\nmore", Some("yes"));
        check(b"\n", Some(""));
        check(b"the end", Some("the end"));
        check(b"", None);
        check(b"\x03", None);
        check(b"half\x03\n", None);
        check(&vec![b'a'; 5000], Some(&"a".repeat(4096)));
    }

    #[test]
    fn what_is_typed_unseen_can_be_corrected_and_given_up() {
        let check = |typed: &[u8], expected: Option<&str>| {
            let line = hidden_line(&mut &*typed).map(|line| String::from_utf8(line).unwrap());
            assert_eq!(line.as_deref(), expected, "{typed:?}");
        };
        check(b"secret\nmore", Some("secret"));
        check(b"secret\r", Some("secret"));
        check(b"\n", Some(""));
        check("abcé\x7f\x7fd\n".as_bytes(), Some("abd"));
        check(b"\x7f\x7fa\n", Some("a"));
        check(b"wrong\x15right\n", Some("right"));
        check(b"abc\x03", None);
        check(b"\x04", None);
        check(b"abc", None);
        check(&vec![b'a'; 5000], None);
    }
}
