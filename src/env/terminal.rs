//! The terminal at stdin while a person is asked: silent for a passphrase, and Ctrl-C gives up at once.

use std::io::{self, IsTerminal, stdin};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

/// What Ctrl-C and Ctrl-\ send where they are no signals.
pub const GIVE_UP: [u8; 2] = [0x03, 0x1c];

/// While it lives, the terminal is as a question needs it.
pub struct Questioned(Option<Termios>);

impl Questioned {
    /// For an answer that is shown: the terminal edits the line, and Ctrl-C ends it. As a signal it would go to a handler that
    /// lets work come to its end, while nobody works. Does nothing where there is no terminal, or where it cannot be changed.
    pub fn aloud() -> Self {
        Self::with(|termios| {
            termios.local_modes.remove(LocalModes::ISIG);
            termios.special_codes[SpecialCodeIndex::VEOL] = GIVE_UP[0];
            termios.special_codes[SpecialCodeIndex::VEOL2] = GIVE_UP[1];
        })
        .unwrap_or(Self(None))
    }

    /// For a secret: the terminal shows nothing of what is typed, edits no line, and turns no key into a signal: the reader gets
    /// each key, and a Ctrl-C cannot leave a terminal behind that stays silent.
    ///
    /// # Errors
    /// When the terminal cannot be silenced: then nothing secret may be asked for.
    pub fn silently() -> io::Result<Self> {
        Self::with(|termios| {
            termios
                .local_modes
                .remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        })
    }

    fn with(change: impl FnOnce(&mut Termios)) -> io::Result<Self> {
        let stdin = stdin();
        if !stdin.is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(&stdin)?;
        let mut now = before.clone();
        change(&mut now);
        // What was typed before stays: a script on a pseudo-terminal types ahead.
        tcsetattr(&stdin, OptionalActions::Drain, &now)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Questioned {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(stdin(), OptionalActions::Drain, before);
        }
    }
}
