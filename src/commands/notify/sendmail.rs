//! Hands a message to the local sendmail. The mail server may be what is broken: it has little time, and no retry.

use std::time::Duration;

use crate::{
    config::Notify,
    env::{files, process::Program},
};

/// How long sendmail may take. Postfix's writes a file and ends at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of what sendmail complains about is kept, in characters.
const COMPLAINT_LIMIT: usize = 500;

/// Sends a message to `notify.mail_to`. Recipients are arguments behind `--`: none is taken from the message.
///
/// # Errors
/// Why it was not taken.
pub(super) fn send(notify: &Notify, message: &str) -> Result<(), String> {
    files::check_trusted(&notify.sendmail).map_err(|error| error.to_string())?;
    let mut program = Program::new(&notify.sendmail).arg("-i").timeout(PATIENCE);
    if let Some(from) = &notify.mail_from {
        program = program.args(["-f".to_owned(), from.to_string()]);
    }
    let recipients = notify.mail_to.iter().map(ToString::to_string);
    let output = program
        .arg("--")
        .args(recipients)
        .stdin(message)
        .run()
        .map_err(|error| error.to_string())?;
    if output.success() {
        return Ok(());
    }
    let complaint: String = output.complaint().chars().take(COMPLAINT_LIMIT).collect();
    let status = output.status;
    Err(format!(
        "{} ended with {status}: {complaint}",
        notify.sendmail.display()
    ))
}
