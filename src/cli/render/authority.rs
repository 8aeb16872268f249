//! How `revoke` and `account` look as text.

use std::fmt::Write as _;

use super::{Color, Render, Style};
use crate::{
    commands::{
        account::{Action, Ending, Outcome},
        revoke::{By, Revoke},
    },
    error::ExitCode,
};

impl Render for Revoke {
    fn text(&self, style: Style) -> String {
        let done = match self.revoked {
            true => style.paint(Color::Green, "revoked"),
            false => style.paint(Color::Yellow, "to be revoked"),
        };
        let mut text = format!("{}  {done}\n", style.paint(Color::Bold, &self.lineage));
        let mut row = |label: &str, value: String| {
            let _ = writeln!(text, "  {label:<9} {value}");
        };
        if let Some(generation) = self.generation {
            let in_use = if self.in_use { ", in use" } else { "" };
            row("which", format!("generation {generation}{in_use}"));
        }
        row("names", self.names.join(", "));
        row("serial", self.serial.clone());
        row("sha256", self.leaf_sha256.clone());
        row("expires", style.date(self.not_after));
        row("reason", self.reason.to_string());
        let by = match self.by {
            By::Account => "the account",
            By::CertificateKey => "the certificate's key",
        };
        row("at", format!("{}, signed by {by}", self.directory));
        notes(&mut text, style, &self.notes);
        text
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }
}

impl Render for Outcome {
    fn text(&self, style: Style) -> String {
        let account = &self.account;
        let done = match self.action {
            Action::Deactivated => "deactivated; its file is kept",
            Action::Found => "was registered already",
            Action::Registered => "registered",
            Action::RolledOver => "has a new key",
            Action::Shown => "",
        };
        let mut text = format!("{}  {done}", style.paint(Color::Bold, &account.directory));
        text.truncate(text.trim_end().len());
        text.push('\n');
        let mut row = |label: &str, value: String| {
            let _ = writeln!(text, "  {label:<10} {value}");
        };
        row("account", account.url.clone());
        let color = if account.status == "valid" {
            Color::Green
        } else {
            Color::Red
        };
        row("status", style.paint(color, &account.status));
        let contact = match account.contact.as_slice() {
            [] => "none".to_owned(),
            all => all.join(", "),
        };
        row("contact", contact);
        row("thumbprint", account.thumbprint.clone());
        if account.bound {
            row("bound", "to a customer's account".to_owned());
        }
        row("file", account.file.display().to_string());
        notes(&mut text, style, &self.notes);
        text
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }
}

impl Render for Ending {
    fn text(&self, style: Style) -> String {
        let mut text = format!(
            "{}  {}\n",
            style.paint(Color::Bold, &self.directory),
            style.paint(Color::Yellow, "the account is to be deactivated")
        );
        if let Some(url) = &self.url {
            let url = crate::model::plan::printable(url.as_bytes());
            let _ = writeln!(text, "  {:<10} {url}", "account");
        }
        let lineages = match self.lineages.as_slice() {
            [] => "none".to_owned(),
            all => all.join(", "),
        };
        let _ = writeln!(text, "  {:<10} {lineages}: no longer renewed there", "lineages");
        text
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

fn notes(text: &mut String, style: Style, notes: &[String]) {
    for note in notes {
        let _ = writeln!(text, "{} {note}", style.paint(Color::Yellow, "note:"));
    }
}
