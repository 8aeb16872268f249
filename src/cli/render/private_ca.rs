//! How `ca` looks as text.

use std::fmt::Write as _;

use super::{Color, Render, Style, finding_text};
use crate::{
    commands::private_ca::{
        Facts,
        crl::{Crl, Crls},
        export::Exported,
        init::Made,
        revoke::Revoked,
        show::Shown,
        sign::{Action, Signed},
    },
    error::{Error, ExitCode},
    model::plan::printable_line,
};

/// So many certificates are told one by one.
const SHOWN: usize = 20;

fn row(text: &mut String, label: &str, value: &str) {
    let _ = writeln!(text, "  {label:<11} {}", printable_line(value.as_bytes(), 1000));
}

fn facts(text: &mut String, style: Style, label: &str, facts: &Facts) {
    row(
        text,
        label,
        &format!(
            "{} ({}), until {}",
            facts.subject,
            facts.key,
            style.date(facts.not_after)
        ),
    );
}

fn crl_row(text: &mut String, style: Style, crl: &Crl) {
    let label = format!("{} CRL", crl.by.name());
    row(
        text,
        &label,
        &format!(
            "{}, number {}, good until {}",
            crl.file.display(),
            crl.number,
            style.date(crl.next_update)
        ),
    );
}

impl Render for Made {
    fn text(&self, style: Style) -> String {
        let done = style.paint(Color::Green, "made");
        let mut text = format!(
            "{}  {done}\n",
            style.paint(Color::Bold, &self.directory.display().to_string())
        );
        facts(&mut text, style, "root", &self.root);
        row(&mut text, "sha256", &self.root.sha256);
        if let Some(issuing) = &self.issuing {
            facts(&mut text, style, "issuing", issuing);
        }
        row(&mut text, "certifies", &self.constraints);
        row(&mut text, "root's key", &self.root_key_file.display().to_string());
        for note in &self.notes {
            row(&mut text, "note", note);
        }
        row(
            &mut text,
            "next",
            &format!(
                "give {} to clients; `mailcert ca sign` and `ca issue` certify names",
                self.root_file.display()
            ),
        );
        text
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }
}

impl Render for Signed {
    /// The certificate alone, or the files that they were written to.
    fn text(&self, _: Style) -> String {
        let mut text = String::new();
        for done in &self.certificates {
            if let Some(certificate) = &done.certificate {
                text.push_str(certificate);
            }
            for file in done
                .key_file
                .iter()
                .chain(&done.file)
                .filter(|_| done.error.is_none())
            {
                let _ = writeln!(text, "{}", file.display());
            }
        }
        text
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }

    fn error(&self) -> Option<Error> {
        self.error()
    }
}

/// Returns what there is to say about certificates that were signed.
pub fn about(style: Style, signed: &Signed) -> String {
    let mut text = String::new();
    let told = signed.certificates.iter().filter(|done| done.error.is_none());
    for done in told.clone().take(SHOWN) {
        let word = match done.action {
            Action::Present => style.paint(Color::Yellow, "there already"),
            _ => style.paint(Color::Green, "signed"),
        };
        let names: Vec<&str> = done.names.iter().take(SHOWN).map(String::as_str).collect();
        let more = match done.names.len().saturating_sub(SHOWN) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let _ = writeln!(
            text,
            "{}{more}  {word}",
            style.paint(Color::Bold, &names.join(", "))
        );
        if let Some(serial) = done.serial {
            row(&mut text, "serial", &serial.to_string());
        }
        if let Some(not_after) = done.not_after {
            row(&mut text, "until", &style.date(not_after));
        }
    }
    let n_told = told.count();
    if n_told > SHOWN {
        let present = |done: &&crate::commands::private_ca::sign::Done| done.action == Action::Present;
        let n_present = signed.certificates.iter().filter(present).count();
        let _ = writeln!(
            text,
            "{} certificates signed by {}, {n_present} there already",
            n_told - n_present,
            signed.issuer
        );
    }
    for note in &signed.notes {
        row(&mut text, "note", note);
    }
    text
}

impl Render for Revoked {
    fn text(&self, style: Style) -> String {
        let done = match self.already {
            true => style.paint(Color::Yellow, "was revoked before"),
            false => style.paint(Color::Green, "revoked"),
        };
        let mut text = format!("{}  {done}\n", style.paint(Color::Bold, &self.names.join(", ")));
        row(&mut text, "serial", &self.serial.to_string());
        row(
            &mut text,
            "reason",
            &format!("{}, {}", self.reason, style.date(self.at)),
        );
        crl_row(&mut text, style, &self.crl);
        text
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }
}

impl Render for Crls {
    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for crl in &self.crls {
            crl_row(&mut text, style, crl);
        }
        text
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }
}

impl Render for Exported {
    /// The form alone, so that `> FILE` has it; or the files that were written.
    fn text(&self, _: Style) -> String {
        self.text.clone()
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }
}

impl Render for Shown {
    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        if let [one] = self.certificates.as_slice()
            && let Some(certificate) = &one.certificate
        {
            let _ = writeln!(text, "{}", style.paint(Color::Bold, &one.names.join(", ")));
            row(&mut text, "serial", &one.serial);
            row(&mut text, "until", &style.date(one.not_after));
            if let (Some(at), Some(reason)) = (one.revoked_at, one.reason) {
                row(&mut text, "revoked", &format!("{reason}, {}", style.date(at)));
            }
            text.push_str(certificate);
            return text;
        }
        let _ = writeln!(
            text,
            "{}",
            style.paint(Color::Bold, &self.directory.display().to_string())
        );
        facts(&mut text, style, "root", &self.root);
        row(&mut text, "sha256", &self.root.sha256);
        if let Some(issuing) = &self.issuing {
            facts(&mut text, style, "issuing", issuing);
        }
        row(&mut text, "certifies", &self.constraints);
        let key = match self.encrypted {
            Some(true) => "under a passphrase",
            Some(false) => "under no passphrase",
            None => "not here",
        };
        row(&mut text, "key", key);
        if self.issuing.is_some() {
            row(
                &mut text,
                "root's key",
                if self.root_key_present { "here" } else { "not here" },
            );
        }
        row(
            &mut text,
            "issued",
            &format!(
                "{}, {} of them good, {} revoked",
                self.n_issued, self.n_valid, self.n_revoked
            ),
        );
        for crl in &self.crls {
            crl_row(&mut text, style, crl);
        }
        for one in &self.certificates {
            let state = match (one.revoked_at, one.not_after <= style.now) {
                (Some(_), _) => style.paint(Color::Red, "revoked"),
                (None, true) => style.paint(Color::Yellow, "expired"),
                (None, false) => style.paint(Color::Green, "good"),
            };
            let names = printable_line(one.names.join(", ").as_bytes(), 200);
            let _ = writeln!(
                text,
                "  {}  {state}  until {}  {names}",
                one.serial,
                one.not_after.date()
            );
        }
        for finding in &self.findings {
            text.push_str(&finding_text(style, finding));
        }
        text
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }
}
