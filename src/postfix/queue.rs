//! Asks the queue what becomes of a message, where its log may not be read (postqueue(1)). Changes nothing.

use std::{path::Path, time::Duration};

use serde::Deserialize;

use crate::{
    env::{Env, process::Program},
    model::plan::printable_line,
};

/// How long postqueue(1) may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest reason of the queue that is kept, in characters.
const TEXT_LIMIT: usize = 1000;

/// What the queue says of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It is not in it.
    Gone,
    /// It is, in the queue of this name; with the reasons for which it waits, if there are any.
    Waiting {
        /// `active`, `deferred`, `hold`, `incoming` or `maildrop`.
        queue: String,
        /// Why, for each recipient.
        reasons: Vec<String>,
    },
}

#[derive(Deserialize)]
struct Entry {
    queue_name: String,
    queue_id: String,
    #[serde(default)]
    recipients: Vec<Recipient>,
}

#[derive(Deserialize)]
struct Recipient {
    #[serde(default)]
    delay_reason: String,
}

/// Asks the queue of an instance; nothing where it cannot be asked.
pub fn ask(env: &Env, directory: &Path, queue_id: &str) -> Option<Queued> {
    let output = Program::new(env.find_program("postqueue")?)
        .arg("-c")
        .arg(directory)
        .arg("-j")
        .timeout(PATIENCE)
        .run()
        .ok()?;
    output.success().then(|| queued(&output.stdout_text(), queue_id))
}

/// Finds a message in what `postqueue -j` prints: a JSON object a line.
fn queued(text: &str, queue_id: &str) -> Queued {
    let entries = text
        .lines()
        .filter(|line| line.contains(queue_id))
        .filter_map(|line| serde_json::from_str::<Entry>(line).ok());
    match entries.into_iter().find(|entry| entry.queue_id == queue_id) {
        None => Queued::Gone,
        Some(entry) => Queued::Waiting {
            queue: printable_line(entry.queue_name.as_bytes(), 40),
            reasons: entry
                .recipients
                .iter()
                .filter(|recipient| !recipient.delay_reason.is_empty())
                .take(10)
                .map(|recipient| printable_line(recipient.delay_reason.as_bytes(), TEXT_LIMIT))
                .collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_queue() {
        let text = r#"{"queue_name": "deferred", "queue_id": "4ABCDE", "arrival_time": 1, "message_size": 300, "sender": "a@x", "recipients": [{"address": "b@y", "delay_reason": "connect to y: timed out"}]}
{"queue_name": "active", "queue_id": "4BBBBB", "recipients": [{"address": "4ABCDE"}]}
not json 4CCCCC
"#;
        let check = |id: &str, expected: Queued| assert_eq!(queued(text, id), expected, "{id}");
        let waiting = |queue: &str, reasons: &[&str]| Queued::Waiting {
            queue: queue.to_owned(),
            reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
        };
        check("4ABCDE", waiting("deferred", &["connect to y: timed out"]));
        check("4BBBBB", waiting("active", &[]));
        check("4CCCCC", Queued::Gone);
        check("4DDDDD", Queued::Gone);
    }
}
