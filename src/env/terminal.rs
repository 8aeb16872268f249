//! The terminal at stdin, made silent while a passphrase is typed.

use std::io::{self, IsTerminal, stdin};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// While it lives, the terminal shows nothing of what is typed, edits no line, and turns no key into a signal: the reader gets
/// each key, and a Ctrl-C cannot leave a terminal behind that stays silent.
pub struct Silence(Option<Termios>);

impl Silence {
    /// Silences the terminal at stdin; does nothing where there is none.
    ///
    /// # Errors
    /// When the terminal cannot be silenced: then nothing secret may be asked for.
    pub fn begin() -> io::Result<Self> {
        let stdin = stdin();
        if !stdin.is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        // What was typed before stays: a script on a pseudo-terminal types ahead.
        tcsetattr(&stdin, OptionalActions::Drain, &silent)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(stdin(), OptionalActions::Drain, before);
        }
    }
}
