//! Configuration profiles of Apple's: the root, and by option a mail account. Pure.
//!
//! Nothing in a profile is secret: the device asks for address, user name and password when it is installed. On iOS a root that
//! came by a profile of a user's is trusted for TLS only once it is switched on under Settings, General, About, Certificate
//! Trust Settings.
//!
//! Rules: Apple's "Configuration Profile Reference": `Configuration`, `com.apple.security.root`, `com.apple.mail.managed`.

use std::fmt::Write as _;

use base64::{Engine, engine::general_purpose};

use super::{Mail, Service, xml};
use crate::model::certificate::{Certificate, Sha256};

/// Who gives the profile, and what it has.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'a> {
    /// The CA's name.
    pub name: &'a str,
    /// What its files are called.
    pub stem: &'a str,
    /// The roots.
    pub roots: &'a [Certificate],
    /// The account, where there is to be one.
    pub mail: Option<&'a Mail>,
}

/// Returns the profile.
pub fn profile(profile: &Profile<'_>) -> String {
    let mut payloads = String::new();
    let prefix = identifier(profile);
    for (index, root) in profile.roots.iter().enumerate() {
        let n = if index == 0 {
            String::new()
        } else {
            format!("-{}", index + 1)
        };
        payloads.push_str("    <dict>\n");
        let mut add = |key: &str, value: &str| pair(&mut payloads, 3, key, value);
        add("PayloadType", &string("com.apple.security.root"));
        add("PayloadVersion", "<integer>1</integer>");
        add("PayloadIdentifier", &string(&format!("{prefix}.root{n}")));
        add(
            "PayloadUUID",
            &string(&uuid(profile, &format!("root {}", root.sha256))),
        );
        add("PayloadDisplayName", &string(profile.name));
        add(
            "PayloadCertificateFileName",
            &string(&format!("{}{n}.cer", profile.stem)),
        );
        add("PayloadContent", &data(&root.der));
        payloads.push_str("    </dict>\n");
    }
    if let Some(mail) = profile.mail {
        account(&mut payloads, profile, mail, &prefix);
    }
    let what = if profile.mail.is_some() { "mail" } else { "ca" };
    let description = match profile.mail {
        Some(mail) => format!("Trusts {} and sets up mail at {}", profile.name, mail.host),
        None => format!("Trusts {}", profile.name),
    };
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n<dict>\n",
    );
    let mut add = |key: &str, value: &str| pair(&mut text, 1, key, value);
    add("PayloadType", &string("Configuration"));
    add("PayloadVersion", "<integer>1</integer>");
    add("PayloadIdentifier", &string(&format!("{prefix}.{what}")));
    add("PayloadUUID", &string(&uuid(profile, what)));
    add("PayloadDisplayName", &string(profile.name));
    add("PayloadDescription", &string(&description));
    add("PayloadOrganization", &string(profile.name));
    add("PayloadRemovalDisallowed", "<false/>");
    add("PayloadContent", &format!("<array>\n{payloads}  </array>"));
    text.push_str("</dict>\n</plist>\n");
    text
}

fn account(payloads: &mut String, profile: &Profile<'_>, mail: &Mail, prefix: &str) {
    payloads.push_str("    <dict>\n");
    let mut add = |key: &str, value: &str| pair(payloads, 3, key, value);
    add("PayloadType", &string("com.apple.mail.managed"));
    add("PayloadVersion", "<integer>1</integer>");
    add("PayloadIdentifier", &string(&format!("{prefix}.account")));
    add("PayloadUUID", &string(&uuid(profile, "account")));
    add("PayloadDisplayName", &string(mail.host.as_str()));
    add(
        "EmailAccountDescription",
        &string(mail.domains.first().unwrap_or(&mail.host).as_str()),
    );
    add("EmailAccountType", &string("EmailTypeIMAP"));
    let outgoing = mail.submission.first().copied().unwrap_or(Service::SUBMISSIONS);
    for (side, service) in [("Incoming", mail.imap), ("Outgoing", outgoing)] {
        let key = |what: &str| format!("{side}MailServer{what}");
        add(&key("Authentication"), &string("EmailAuthPassword"));
        add(&key("HostName"), &string(mail.host.as_str()));
        add(
            &key("PortNumber"),
            &format!("<integer>{}</integer>", service.port),
        );
        // Both ways of TLS are `SSL` here; the port tells which.
        add(&key("UseSSL"), "<true/>");
    }
    add("OutgoingPasswordSameAsIncomingPassword", "<true/>");
    add("PreventMove", "<false/>");
    add("SMIMEEnabled", "<false/>");
    payloads.push_str("    </dict>\n");
}

fn pair(text: &mut String, depth: usize, key: &str, value: &str) {
    let indent = "  ".repeat(depth);
    let _ = writeln!(text, "{indent}<key>{}</key>\n{indent}{value}", xml(key));
}

fn string(text: &str) -> String {
    format!("<string>{}</string>", xml(text))
}

fn data(bytes: &[u8]) -> String {
    format!("<data>{}</data>", general_purpose::STANDARD.encode(bytes))
}

/// Returns what the payloads' identifiers begin with: the host's name from the right, as Apple's are.
fn identifier(profile: &Profile<'_>) -> String {
    let name = profile.mail.map_or(profile.stem, |mail| mail.host.as_str());
    let labels: Vec<&str> = name.split('.').filter(|label| !label.is_empty()).rev().collect();
    format!("{}.mailcert", labels.join("."))
}

/// Returns a UUID that is always the same for the same thing (RFC 9562, 5.8).
fn uuid(profile: &Profile<'_>, what: &str) -> String {
    let root = profile
        .roots
        .first()
        .map(|root| root.sha256.to_string())
        .unwrap_or_default();
    let host = profile.mail.map(|mail| mail.host.as_str()).unwrap_or_default();
    let digest = Sha256::of(format!("mailcert {root} {host} {what}").as_bytes());
    let mut octets = [0; 16];
    for (octet, from) in octets.iter_mut().zip(digest.as_bytes()) {
        *octet = *from;
    }
    octets[6] = octets[6] & 0x0f | 0x80;
    octets[8] = octets[8] & 0x3f | 0x80;
    let hex: String = octets.iter().map(|octet| format!("{octet:02X}")).collect();
    let ends = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    let parts: Vec<&str> = ends.iter().filter_map(|(from, to)| hex.get(*from..*to)).collect();
    parts.join("-")
}
