//! `send-test`.

use std::{path::Path, time::Duration};

use zeroize::Zeroizing;

use super::Show;
use crate::{
    cli::{args::send_test::SendTest, ask::Asker},
    commands::{
        passphrase::AskHidden,
        send_test::{self, Certificate, Login, Request},
    },
    env::{
        Env,
        secret::{self, Unreadable},
    },
    error::{Error, ExitCode, Result},
};

pub(super) fn send(env: &mut Env, args: &SendTest, path: &Path, shown: &Show) -> Result<ExitCode> {
    let login = match &args.user {
        Some(user) => Some(Login {
            user: user.clone(),
            password: password(env, args, user)?,
        }),
        None => None,
    };
    let request = Request {
        from: args.from.clone(),
        to: args.to.clone(),
        login,
        server: args.server.clone(),
        name: args.name.clone(),
        root_ca_file: args.root_ca_file.clone(),
        certificate: if args.no_verify {
            Certificate::Any
        } else {
            Certificate::Good
        },
        subject: args.subject.clone(),
        within: Duration::from_secs(args.timeout),
    };
    let sent = send_test::run(env, path, &shown.progress, &request)?;
    Ok(shown.outcome(env, &sent))
}

/// Reads the password from where the operator keeps it, or has it typed unseen.
fn password(env: &mut Env, args: &SendTest, user: &str) -> Result<Zeroizing<Vec<u8>>> {
    if let Some(place) = args.password.place() {
        let message = format!("the password of {user} could not be read");
        let secret = secret::read(env, place).map_err(|error| match error {
            Unreadable::Machine(_) => Error::failed(message.clone()).cause(error),
            Unreadable::Place(_) => Error::usage(message.clone()).cause(error),
        })?;
        let text = Zeroizing::new(secret.text);
        return send_test::password(text.as_bytes());
    }
    let mut asker = Asker::at_terminal(env).ok_or_else(|| {
        Error::usage("no password can be asked for: stdin is no terminal")
            .remedy("give it by --password-file, --password-fd or --password-credential")
    })?;
    let typed = Zeroizing::new(asker.hidden(&format!("Password of {user}"))?);
    send_test::password(&typed)
}
