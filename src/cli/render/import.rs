//! `import`.

use std::fmt::Write as _;

use super::{Color, Render, Style};
use crate::{
    commands::import::{Adoption, Prepared},
    error::{Error, ExitCode},
};

impl Render for Adoption {
    fn text(&self, style: Style) -> String {
        let bullet = style.paint(Color::Bold, "*");
        let mut text = String::new();
        for one in &self.adopted {
            let names: Vec<String> = one.identifiers.iter().map(ToString::to_string).collect();
            let _ = writeln!(
                text,
                "{bullet} lineage {}: {} ({}), valid until {}",
                one.name,
                names.join(", "),
                one.key,
                style.date(one.not_after)
            );
        }
        if let Some(account) = &self.account {
            let url = account.url.as_deref().unwrap_or("its URL is asked for");
            let _ = writeln!(
                text,
                "{bullet} account at {}: {url} ({})",
                account.directory, account.key
            );
        }
        text.push_str(&self.changes.text(style));
        text
    }

    fn exit_code(&self) -> ExitCode {
        Render::exit_code(&self.changes)
    }

    fn error(&self) -> Option<Error> {
        Render::error(&self.changes)
    }
}

impl Render for Prepared {
    fn text(&self, style: Style) -> String {
        self.adoption.text(style)
    }

    fn exit_code(&self) -> ExitCode {
        self.adoption.exit_code()
    }

    fn error(&self) -> Option<Error> {
        self.adoption.error()
    }
}
