//! Questions to a person at a terminal. Nobody is asked when stdin is no terminal.

use std::io::{BufRead, Read};

use crate::{
    commands::init::Ask,
    env::{Env, Sink},
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
        match default {
            "" => self.stderr.write(&format!("{question}: ")),
            _ => self.stderr.write(&format!("{question} [{default}]: ")),
        }
        let mut bytes = Vec::new();
        match (&mut self.stdin).take(LIMIT).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => Err(Error::usage("no answer was given; nothing was done")),
            Ok(_) => {
                let answer = String::from_utf8_lossy(&bytes).trim().to_owned();
                Ok(if answer.is_empty() {
                    default.to_owned()
                } else {
                    answer
                })
            }
        }
    }

    fn tell(&mut self, text: &str) {
        self.stderr.line(text);
    }

    fn yes(&mut self, question: &str) -> Result<bool> {
        let answer = self.ask(&format!("{question} (yes or no)"), "no")?;
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}
