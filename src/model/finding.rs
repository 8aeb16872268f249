//! What a check found: severity, subject, evidence, remedy, reference. Pure.

mod ids;

use serde::Serialize;

pub use ids::IDS;

/// How bad it is, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Info,
    /// Works, but is fragile or obsolete.
    Warning,
    /// Receivers or clients will reject or ignore it.
    Error,
}

/// One thing a check has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// `<family>.<what>`; stable, for scripts.
    pub id: &'static str,
    /// The domain, file or endpoint it is about.
    pub subject: String,
    /// What was seen.
    pub evidence: String,
    /// What to do; empty when nothing needs doing.
    pub remedy: String,
    /// The RFC section or manual page that says so; may be empty.
    pub reference: &'static str,
}

impl Finding {
    /// Returns a finding without a remedy.
    pub fn new(
        severity: Severity,
        id: &'static str,
        subject: impl Into<String>,
        evidence: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            id,
            subject: subject.into(),
            evidence: evidence.into(),
            remedy: String::new(),
            reference: "",
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Adds the document that says so.
    #[must_use]
    pub fn reference(mut self, reference: &'static str) -> Self {
        self.reference = reference;
        self
    }
}
