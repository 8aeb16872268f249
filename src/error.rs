//! What went wrong, told so that it can be mended; and the exit codes. Pure.
//!
//! Adapters return small error enums of their own. `commands` turns them into [`Error`] and adds the remedy, because
//! only a command knows what the reader was doing.

use std::fmt;

use time::OffsetDateTime;

/// The program's exit codes (`design`, section 3), in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: done, or nothing to do.
    Done,
    /// 1: failed.
    Failed,
    /// 2: wrong use or wrong configuration, or a yes was needed.
    Usage,
    /// 3: findings of severity error, changes pending, or something not verified.
    Findings,
    /// 4: not yet; try again after the time printed, or another run holds the lock.
    NotYet,
}

impl ExitCode {
    /// Returns the number the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Findings => 3,
            Self::NotYet => 4,
        }
    }
}

/// What kind of failure it is; decides the exit code and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for did not work.
    Failed,
    /// Not now: another run holds the lock, or the CA said when to come back.
    NotYet,
    /// The command line, the configuration or a missing yes.
    Usage,
}

/// A failure as the reader sees it: what was done, why it failed, what to do next.
///
/// `message` is lower case, without a final period, and names the object. `causes` go from outside in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Decides the exit code.
    pub kind: Kind,
    /// What did not work, in one line.
    pub message: String,
    /// Why, from outside in; a CA's problem document and a child's stderr are kept whole.
    pub causes: Vec<String>,
    /// What the reader can do, as commands or edits where possible.
    pub remedies: Vec<String>,
    /// For [`Kind::NotYet`]: when trying again makes sense.
    pub retry_at: Option<OffsetDateTime>,
}

/// The result of everything that can fail in front of the user.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Returns a failure of the thing asked for (exit 1).
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message.into())
    }

    /// Returns a refusal for wrong use or wrong configuration (exit 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message.into())
    }

    /// Returns a "not yet" (exit 4).
    pub fn not_yet(message: impl Into<String>) -> Self {
        Self::new(Kind::NotYet, message.into())
    }

    fn new(kind: Kind, message: String) -> Self {
        Self {
            kind,
            message,
            causes: Vec::new(),
            remedies: Vec::new(),
            retry_at: None,
        }
    }

    /// Adds a cause below those already there.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Adds what the reader can do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedies.push(remedy.into());
        self
    }

    /// Says when trying again makes sense.
    #[must_use]
    pub fn retry_at(mut self, at: OffsetDateTime) -> Self {
        self.retry_at = Some(at);
        self
    }

    /// Returns the exit code for this failure.
    pub fn exit_code(&self) -> ExitCode {
        match self.kind {
            Kind::Failed => ExitCode::Failed,
            Kind::Usage => ExitCode::Usage,
            Kind::NotYet => ExitCode::NotYet,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
