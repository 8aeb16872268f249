//! Passphrases of keys: where they come from, and asking for them. Never from the command line itself, which everybody may read.

use crate::{
    env::{
        Env,
        secret::{self, Place, Unreadable},
    },
    error::{Error, Result},
    model::key::encrypted::{Passphrase, PassphraseError},
};

/// How often a person may mistype.
const TRIES: usize = 3;

/// Asks a person for what nobody may see.
pub trait AskHidden {
    /// Returns what was typed, without the end of the line.
    ///
    /// # Errors
    /// When the person gives up, or the terminal cannot be silenced.
    fn hidden(&mut self, question: &str) -> Result<Vec<u8>>;
}

/// Reads a passphrase from where the operator keeps it. `what`: what it is for, as in "the passphrase of the key".
///
/// # Errors
/// Exit 2 when it is not there, may not be used, or is no passphrase; exit 1 when the machine could not read it.
pub fn read(env: &Env, what: &str, place: Place<'_>) -> Result<Passphrase> {
    let message = format!("the passphrase of {what} could not be read");
    let secret = secret::read(env, place).map_err(|error| match error {
        Unreadable::Machine(_) => Error::failed(message.clone()).cause(error),
        Unreadable::Place(_) => Error::usage(message.clone()).cause(error),
    })?;
    Passphrase::from_line(secret.text.as_bytes())
        .map_err(|error| Error::usage(message).cause(format!("{}: {error}", secret.place)))
}

/// Asks for the passphrase of something that exists.
///
/// # Errors
/// Exit 2 when none is given.
pub fn ask(asker: &mut dyn AskHidden, what: &str) -> Result<Passphrase> {
    let typed = zeroize::Zeroizing::new(asker.hidden(&format!("Passphrase of {what}"))?);
    Passphrase::from_line(&typed).map_err(|error| Error::usage(format!("{what} was not opened")).cause(error))
}

/// Asks twice for the passphrase of something that is being made.
///
/// # Errors
/// Exit 2 when none is given, or the two differ again and again.
pub fn ask_new(asker: &mut dyn AskHidden, what: &str) -> Result<Passphrase> {
    let mut reason = PassphraseError::Empty.to_string();
    for _ in 0..TRIES {
        let first = zeroize::Zeroizing::new(asker.hidden(&format!("Passphrase for {what}"))?);
        let passphrase = match Passphrase::from_line(&first) {
            Ok(passphrase) => passphrase,
            Err(error) => {
                reason = error.to_string();
                continue;
            }
        };
        let second = zeroize::Zeroizing::new(asker.hidden("The same again")?);
        if Passphrase::from_line(&second).as_ref() == Ok(&passphrase) {
            return Ok(passphrase);
        }
        "the two differ".clone_into(&mut reason);
    }
    Err(Error::usage(format!("no passphrase was given for {what}; nothing was done")).cause(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Typist(Vec<&'static str>);

    impl AskHidden for Typist {
        fn hidden(&mut self, _: &str) -> Result<Vec<u8>> {
            match self.0.is_empty() {
                true => Err(Error::usage("nobody is there")),
                false => Ok(self.0.remove(0).as_bytes().to_vec()),
            }
        }
    }

    #[test]
    fn a_new_one_is_typed_twice_and_a_slip_is_forgiven() {
        let check = |typed: &[&'static str], expected: Option<&str>| {
            let given = ask_new(&mut Typist(typed.to_vec()), "the key").ok();
            let expected = expected.map(|text| Passphrase::from_line(text.as_bytes()).unwrap());
            assert!(given == expected, "{typed:?}");
        };
        check(&["a", "a"], Some("a"));
        check(&["a", "b", "c", "c"], Some("c"));
        check(&["", "c", "c"], Some("c"));
        check(&["a", "b", "a", "b", "a", "b"], None);
        check(&["a"], None);
    }
}
