//! How `send-test` looks as text.

use std::fmt::Write as _;

use super::{Color, Render, Style};
use crate::{
    commands::send_test::{Fate, Sent},
    error::{Error, ExitCode},
};

impl Render for Sent {
    fn text(&self, style: Style) -> String {
        let (word, color) = match self.outcome {
            Fate::Bounced => ("bounced", Color::Red),
            Fate::Deferred => ("deferred", Color::Yellow),
            Fate::Delivered => ("delivered", Color::Green),
            Fate::Refused => ("refused", Color::Red),
            Fate::Unknown => ("taken; what became of it is not known", Color::Yellow),
        };
        let mut text = format!("{}\n", style.paint(color, word));
        let mut row = |label: &str, value: &str| {
            let _ = writeln!(text, "  {label:<9} {value}");
        };
        row("mail", &format!("from {} to {}", self.from, self.to));
        let address = self.address.map(|address| format!(" ({})", address.ip()));
        row(
            "server",
            &format!("{}{}", self.server, address.unwrap_or_default()),
        );
        if let Some(tls) = &self.tls {
            let verified = if tls.verified {
                "certificate verified"
            } else {
                "certificate not verified, as you wanted it"
            };
            row(
                "tls",
                &format!("{} with {}, {verified}", tls.protocol, tls.cipher_suite),
            );
        }
        if let Some(mechanism) = self.mechanism {
            row("login", &format!("by {mechanism}"));
        }
        if let Some(id) = &self.queue_id {
            row("queue id", id);
        }
        row("message", &self.message_id);
        for one in &self.deliveries {
            let relay = match one.relay.as_str() {
                "" | "none" => String::new(),
                relay => format!(" by {relay}"),
            };
            let delay = match one.delay.as_str() {
                "" => String::new(),
                delay => format!(" after {delay} s"),
            };
            let said = [one.dsn.as_str(), one.text.as_str()];
            let said: Vec<&str> = said.into_iter().filter(|part| !part.is_empty()).collect();
            row(
                "to",
                &format!("{}{relay}{delay}: {}", one.recipient, said.join(" ")),
            );
        }
        text
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }

    fn error(&self) -> Option<Error> {
        self.error.clone()
    }
}
