//! Every name that a hook is given, and what it holds. Pure.
//!
//! Deploy hooks of any style are given the names of all clients, which do not clash, so that a script works whatever
//! style was named for it. Nothing of a challenge is ever given to other hooks.
//!
//! Sources: certbot 5.8 (`_internal/hooks.py`, `_internal/plugins/manual.py`), lego 4.35 (`cmd/hook.go`), lego 5.3
//! (`cmd/internal/hook/metadata.go`), acme.sh 3.1.4 (`_on_before_issue`, `_installcert`), dehydrated 0.7.3.

use std::path::Path;

use super::event::{Challenge, Ended, Subject, Surroundings};
use crate::model::key::KeyType;

/// Variables with their values.
pub type Variables = Vec<(&'static str, String)>;

/// certbot cuts lists of names here, in bytes: environments are limited.
const LIST_LIMIT: usize = 16_000;

/// Returns what every hook of every style is given.
pub fn common(event: &'static str) -> Variables {
    vec![("MAILCERT_EVENT", event.to_owned())]
}

/// Returns the names of all clients for a lineage that is in service.
pub fn deploy(subject: &Subject, around: &Surroundings) -> Variables {
    let mut variables = lineage(subject);
    variables.extend(certbot(subject));
    variables.extend(lego4(subject, around));
    variables.extend(lego5(subject, around));
    variables.extend(acme_sh(subject));
    variables.push(("Le_Next_Domain_Key", String::new()));
    variables
}

/// Returns our own names for a lineage.
pub fn lineage(subject: &Subject) -> Variables {
    let mut variables = vec![
        ("MAILCERT_LINEAGE", subject.name.clone()),
        ("MAILCERT_IDENTIFIERS", subject.identifiers.join(" ")),
        ("MAILCERT_LIVE", text(&subject.live)),
    ];
    if let Some(generation) = &subject.generation {
        variables.push(("MAILCERT_GENERATION", generation.number.to_string()));
        variables.push(("MAILCERT_LEAF_SHA256", generation.leaf_sha256.clone()));
    }
    variables
}

/// Returns our own names for lists of lineages.
pub fn lineages(name: &'static str, subjects: &[&Subject]) -> Variables {
    let names: Vec<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
    vec![(name, names.join(" "))]
}

/// Returns what certbot gives deploy hooks.
fn certbot(subject: &Subject) -> Variables {
    vec![
        ("RENEWED_LINEAGE", text(&subject.live)),
        ("RENEWED_DOMAINS", subject.names().join(" ")),
    ]
}

/// Returns what certbot gives post hooks.
pub fn certbot_post(ended: &[Ended]) -> Variables {
    let names = |failed: bool| {
        let some = ended.iter().filter(|one| one.failure.is_some() == failed);
        let all: Vec<&str> = some
            .flat_map(|one| one.subject.names().iter().map(String::as_str))
            .collect();
        list(&all)
    };
    vec![("RENEWED_DOMAINS", names(false)), ("FAILED_DOMAINS", names(true))]
}

/// Joins names as far as there is room. certbot cuts in the middle of a name; that is not kept.
fn list(names: &[&str]) -> String {
    let mut text = String::new();
    for name in names {
        if text.len() + name.len() >= LIST_LIMIT {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(name);
    }
    text
}

/// Returns what lego 4 gives its hooks; the PEM file, which it has only with `--pem`, is always there.
fn lego4(subject: &Subject, around: &Surroundings) -> Variables {
    let file = |name: &str| text(&subject.live.join(name));
    vec![
        ("LEGO_ACCOUNT_EMAIL", around.email.clone()),
        ("LEGO_CERT_DOMAIN", subject.main().to_owned()),
        ("LEGO_CERT_PATH", file("fullchain.pem")),
        ("LEGO_CERT_KEY_PATH", file("privkey.pem")),
        ("LEGO_ISSUER_CERT_PATH", file("chain.pem")),
        ("LEGO_CERT_PEM_PATH", file("combined.pem")),
    ]
}

/// Returns what lego 5 gives its deploy and post hooks.
pub fn lego5(subject: &Subject, around: &Surroundings) -> Variables {
    let file = |name: &str| text(&subject.live.join(name));
    let mut variables = lego5_pre(subject, around);
    if subject.generation.is_some() {
        variables.extend([
            ("LEGO_HOOK_CERT_PATH", file("fullchain.pem")),
            ("LEGO_HOOK_CERT_KEY_PATH", file("privkey.pem")),
            ("LEGO_HOOK_ISSUER_CERT_PATH", file("chain.pem")),
            ("LEGO_HOOK_CERT_PEM_PATH", file("combined.pem")),
        ]);
    }
    variables
}

/// Returns what lego 5 gives its pre hooks.
pub fn lego5_pre(subject: &Subject, around: &Surroundings) -> Variables {
    let key_type = match subject.key {
        KeyType::EcdsaP256 => "EC256".to_owned(),
        KeyType::EcdsaP384 => "EC384".to_owned(),
        KeyType::Rsa(bits) => format!("RSA{bits}"),
    };
    vec![
        ("LEGO_HOOK_ACCOUNT_ID", around.email.clone()),
        ("LEGO_HOOK_ACCOUNT_EMAIL", around.email.clone()),
        ("LEGO_HOOK_ACCOUNT_SERVER", around.directory.clone()),
        ("LEGO_HOOK_CERT_NAME", subject.name.clone()),
        ("LEGO_HOOK_CERT_NAME_SANITIZED", subject.name.replace('*', "_")),
        ("LEGO_HOOK_CERT_KEY_TYPE", key_type),
        ("LEGO_HOOK_CERT_DOMAINS", subject.identifiers.join(",")),
    ]
}

/// Returns what acme.sh gives `--reloadcmd`, and `--post-hook` after success. The former has `Le_Next_Domain_Key` too, empty
/// unless acme.sh's own key rollover is on; `Le_ForceNewDomainKey` is there only then.
pub fn acme_sh(subject: &Subject) -> Variables {
    let file = |name: &str| text(&subject.live.join(name));
    vec![
        ("CERT_PATH", file("cert.pem")),
        ("CERT_KEY_PATH", file("privkey.pem")),
        ("CA_CERT_PATH", file("chain.pem")),
        ("CERT_FULLCHAIN_PATH", file("fullchain.pem")),
        ("Le_Domain", subject.main().to_owned()),
    ]
}

/// Returns what acme.sh gives `--pre-hook`.
pub fn acme_sh_pre(subject: &Subject) -> Variables {
    let others = subject.identifiers.get(1..).unwrap_or_default().join(",");
    vec![
        ("Le_Domain", subject.main().to_owned()),
        (
            "Le_Alt",
            if others.is_empty() {
                "no".to_owned()
            } else {
                others
            },
        ),
    ]
}

/// Returns what dehydrated exports to its script. `CONFIG` is left out: ours is not one that a shell can read.
pub fn dehydrated(around: &Surroundings) -> Variables {
    vec![
        ("BASEDIR", text(&around.state_directory)),
        ("CERTDIR", text(&around.live_directory)),
        ("CHALLENGETYPE", around.challenge.to_owned()),
        ("COMMAND", "sign_domains".to_owned()),
    ]
}

/// Returns what dehydrated exports besides while it works on one certificate.
pub fn dehydrated_certificate(subject: &Subject) -> Variables {
    let algorithm = match subject.key {
        KeyType::EcdsaP256 => "prime256v1",
        KeyType::EcdsaP384 => "secp384r1",
        KeyType::Rsa(_) => "rsa",
    };
    vec![
        ("KEY_ALGO", algorithm.to_owned()),
        ("PRIVATE_KEY_ROLLOVER", "no".to_owned()),
        ("altnames", subject.identifiers.join(" ")),
    ]
}

/// Returns our own names for one challenge.
pub fn challenge(challenge: &Challenge) -> Variables {
    let mut variables = vec![
        ("MAILCERT_CHALLENGE", challenge.kind.to_owned()),
        ("MAILCERT_IDENTIFIER", challenge.name.clone()),
        ("MAILCERT_TOKEN", challenge.token.clone()),
        ("MAILCERT_KEY_AUTHORIZATION", challenge.key_authorization.clone()),
        ("MAILCERT_DIGEST", challenge.digest.clone()),
        ("MAILCERT_DIGEST_HEX", challenge.digest_hex.clone()),
    ];
    if let Some(record) = &challenge.record {
        variables.push(("MAILCERT_RECORD", record.clone()));
    }
    variables
}

/// Returns what certbot gives its authenticator; `output` is what that printed, for the cleanup.
pub fn certbot_challenge(challenge: &Challenge, output: Option<&str>) -> Variables {
    let all = challenge.all_names.join(",");
    let validation = match challenge.kind {
        "http-01" => &challenge.key_authorization,
        _ => &challenge.digest,
    };
    let mut variables = vec![
        ("CERTBOT_DOMAIN", challenge.name.clone()),
        ("CERTBOT_IDENTIFIER", challenge.name.clone()),
        ("CERTBOT_VALIDATION", validation.clone()),
        ("CERTBOT_ALL_DOMAINS", all.clone()),
        ("CERTBOT_ALL_IDENTIFIERS", all),
        ("CERTBOT_REMAINING_CHALLENGES", challenge.remaining.to_string()),
    ];
    if challenge.kind == "http-01" {
        variables.push(("CERTBOT_TOKEN", challenge.token.clone()));
    }
    if let Some(output) = output {
        variables.push(("CERTBOT_AUTH_OUTPUT", output.trim().to_owned()));
    }
    variables
}

/// Returns what dehydrated exports besides while challenges are set up. It exports the kind of the key too, which is the
/// business of the certificate here.
pub fn dehydrated_challenge(challenge: &Challenge) -> Variables {
    vec![("altnames", challenge.all_names.join(" "))]
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_too_long_ends_after_a_whole_name() {
        let names: Vec<String> = (0..3000).map(|n| format!("n{n:04}.example")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = list(&names);
        assert!(text.len() < LIST_LIMIT && text.len() > LIST_LIMIT - 30);
        assert!(text.ends_with(".example"), "{text}");
        assert_eq!(list(&["a", "*.a"]), "a *.a");
        assert_eq!(list(&[]), "");
    }
}
