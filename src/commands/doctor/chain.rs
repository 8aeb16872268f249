//! What is wrong with a chain that a server is given, whichever server it is.

use std::path::Path;

use time::Duration;

use super::{SSL_OF_POSTFIX, dovecot::SSL};
use crate::{
    commands::Context,
    model::{
        certificate::Chain,
        finding::{Finding, Severity},
    },
    probe::trust::{self, Roots, Trust},
};

/// The longest lifetime that Apple's mail programs take, whoever issued the certificate.
const LONGEST: Duration = Duration::days(825);
/// The name of a file with the whole chain, as every ACME client writes it.
const FULL: &str = "fullchain.pem";

/// Whose finding it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Dovecot,
    Postfix,
}

impl Family {
    fn finding(self, severity: Severity, ids: [&'static str; 2], path: &Path, evidence: String) -> Finding {
        let [dovecot, postfix] = ids;
        let (id, reference) = match self {
            Self::Dovecot => (dovecot, SSL),
            Self::Postfix => (postfix, SSL_OF_POSTFIX),
        };
        Finding::new(severity, id, path.display().to_string(), evidence).reference(reference)
    }
}

/// Looks at a chain as it stands in a file. `whom`: whom it is served to, for the end of a sentence.
pub(super) fn findings(
    context: &Context<'_>,
    family: Family,
    path: &Path,
    chain: &Chain,
    whom: &str,
    roots: Option<&Roots>,
) -> Vec<Finding> {
    let leaf = &chain.leaf;
    let mut found = Vec::new();
    if leaf.self_issued {
        let evidence = format!(
            "it is a self-signed certificate, such as the distribution's snake oil: mail programs warn, and senders that verify \
             refuse it{whom}"
        );
        let ids = ["dovecot.self-signed", "postfix.self-signed"];
        let remedy = "`mailcert issue` gets one that others trust, `mailcert apply` names it";
        found.push(
            family
                .finding(Severity::Warning, ids, path, evidence)
                .remedy(remedy),
        );
        // Of one that nobody trusts the rest does not matter.
        return found;
    }
    // A private CA may sign without an intermediate: its root alone is enough then, and clients have that.
    let alone = [leaf.der.clone()];
    let lacks_issuer = || {
        let judge = |roots: &Roots| trust::judge(&alone, roots, context.now());
        roots.is_none_or(|roots| matches!(judge(roots), Trust::IncompleteChain { .. }))
    };
    if chain.intermediates.is_empty() && lacks_issuer() {
        let ids = ["dovecot.leaf-only", "postfix.leaf-only"];
        // What its issuer calls the whole chain may be one: this host need not have the root of an in-house CA.
        let is_called_full = path.file_name().is_some_and(|name| name == FULL);
        let (severity, evidence, remedy) = match is_called_full {
            true => (
                Severity::Warning,
                format!(
                    "it holds the leaf alone, and no root of this host signed it: unless clients have the root that did, they cannot \
                     verify it{whom}"
                ),
                "put the root into this host's trust store if it signs directly; else add the intermediates that the CA gives out",
            ),
            false => (
                Severity::Error,
                format!(
                    "it holds the leaf without its intermediate certificates: who verifies sees an untrusted issuer{whom}"
                ),
                "name the full chain: fullchain.pem, not cert.pem",
            ),
        };
        found.push(family.finding(severity, ids, path, evidence).remedy(remedy));
    }
    if leaf.dns_names.is_empty() && leaf.ip_addresses.is_empty() {
        let evidence = format!(
            "it has no subjectAltName: clients read no name out of its subject, and it fits no server{whom}"
        );
        found.push(
            family
                .finding(
                    Severity::Error,
                    ["dovecot.names-missing", "postfix.names-missing"],
                    path,
                    evidence,
                )
                .remedy("get one that has its names there: `mailcert issue`, or `mailcert csr` for a CA of your own")
                .reference("RFC 9525, 2"),
        );
    }
    let lifetime = leaf.not_after - leaf.not_before;
    if lifetime > LONGEST {
        let evidence = format!(
            "it is made to last {} days: mail programs of Apple take none that is valid for more than {}{whom}",
            lifetime.whole_days(),
            LONGEST.whole_days()
        );
        found.push(
            family
                .finding(
                    Severity::Warning,
                    ["dovecot.lifetime-long", "postfix.lifetime-long"],
                    path,
                    evidence,
                )
                .remedy("have it issued for a shorter time: nobody has to renew by hand what `mailcert renew` renews")
                .reference("support.apple.com/HT210176"),
        );
    }
    found
}
