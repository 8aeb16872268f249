//! What is wrong, harmful or obsolete in a Postfix's configuration, whoever wrote it. Pure.
//!
//! Each finding names what was seen, what to do, and the document that says so. Nothing here depends on what the
//! configuration of mailcert wants: it is about what mail gets from this host, and what this host takes.
//!
//! Rules: postconf(5); master(5); RFC 3207; RFC 8314; RFC 8996.

mod client_certificates;
mod obsolete;
mod outgoing;
mod service;
mod tables;
mod template;
mod users;
mod values;

pub use obsolete::is_told;

use super::{
    endpoints::Host,
    submission::{effective, port_of},
    syntax::{MainCf, Service},
    values::{Values, Version},
};
use crate::model::finding::{Finding, Severity};

/// A Postfix as it is configured.
#[derive(Clone, Copy, Debug)]
pub struct Patient<'a> {
    /// Where, for findings about no file in particular.
    pub subject: &'a str,
    /// The installed version.
    pub version: Version,
    /// main.cf, as it is written.
    pub main_cf: &'a MainCf,
    /// Its effective values.
    pub values: &'a Values,
    /// The services of master.cf.
    pub services: &'a [Service],
    /// The types of tables that it can read; empty where that is not known.
    pub table_types: &'a [String],
    /// What the host has besides.
    pub host: &'a Host,
}

/// Looks at everything that can be seen in the configuration alone.
pub fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    patient.outgoing(&mut findings);
    patient.protocols(&mut findings);
    patient.banner(&mut findings);
    patient.obsolete(&mut findings);
    patient.tables(&mut findings);
    patient.template(&mut findings);
    patient.client_certificates(&mut findings);
    for (index, service) in patient.services.iter().enumerate() {
        patient.service(index, service, &mut findings);
    }
    findings
}

/// Returns what makes an edit of the two files a guess: values that nobody has put in, and services that stand there more than once.
pub fn unclear(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    patient.template(&mut findings);
    for (index, service) in patient.services.iter().enumerate() {
        findings.extend(patient.twice(index, service));
    }
    findings
}

fn error(id: &'static str, subject: impl Into<String>, evidence: impl Into<String>) -> Finding {
    Finding::new(Severity::Error, id, subject, evidence)
}

fn warning(id: &'static str, subject: impl Into<String>, evidence: impl Into<String>) -> Finding {
    Finding::new(Severity::Warning, id, subject, evidence)
}

fn info(id: &'static str, subject: impl Into<String>, evidence: impl Into<String>) -> Finding {
    Finding::new(Severity::Info, id, subject, evidence)
}

impl Patient<'_> {
    /// Returns the effective value of main.cf.
    fn get(&self, name: &str) -> &str {
        self.values.get(name)
    }

    /// Returns the number of a service's port.
    fn port(&self, service: &Service) -> Option<u16> {
        port_of(service, self.values, self.host)
    }

    /// Returns the value of a parameter as a service sees it.
    fn effective(&self, service: &Service, name: &str) -> String {
        effective(service, name, self.values)
    }

    /// Returns whether a service sees `yes` there.
    fn is_yes(&self, service: &Service, name: &str) -> bool {
        self.effective(service, name).eq_ignore_ascii_case("yes")
    }
}

#[cfg(test)]
mod tests;
