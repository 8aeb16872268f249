//! How the root comes into the trust stores of systems, and out of them again. Pure.
//!
//! Rules: update-ca-certificates(8); update-ca-trust(8); certutil (Windows); security(1) (macOS).

use std::fmt::Write as _;

use serde::Serialize;

/// Where Debian, and what comes from it, takes an operator's roots from.
pub const DEBIAN_ANCHORS: &str = "/usr/local/share/ca-certificates";
/// Where RHEL and Fedora take them from.
pub const RED_HAT_ANCHORS: &str = "/etc/pki/ca-trust/source/anchors";
/// Where SUSE takes them from.
pub const SUSE_ANCHORS: &str = "/etc/pki/trust/anchors";

/// One system's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The system.
    pub system: &'static str,
    /// As whom, or where, the lines are typed.
    pub place: &'static str,
    /// What puts the root in: commands, or what to touch.
    pub install: Vec<String>,
    /// What takes it out.
    pub remove: Vec<String>,
}

/// Returns every system's way for a root in `STEM.pem` and, as DER, in `STEM.cer`.
pub fn ways(stem: &str, serial: &str) -> Vec<Way> {
    let way = |system, place, install: &[String], remove: &[String]| Way {
        system,
        place,
        install: install.to_vec(),
        remove: remove.to_vec(),
    };
    let anchors = |system, directory: &str, ending: &str, update: &str, clear: &str| {
        way(
            system,
            "as root",
            &[
                format!("install -m 644 {stem}.pem {directory}/{stem}.{ending}"),
                update.to_owned(),
            ],
            &[format!("rm {directory}/{stem}.{ending}"), clear.to_owned()],
        )
    };
    vec![
        anchors(
            "Debian, Ubuntu, Alpine",
            DEBIAN_ANCHORS,
            "crt",
            "update-ca-certificates",
            "update-ca-certificates --fresh",
        ),
        anchors(
            "RHEL, Fedora, CentOS",
            RED_HAT_ANCHORS,
            "pem",
            "update-ca-trust extract",
            "update-ca-trust extract",
        ),
        anchors(
            "SUSE",
            SUSE_ANCHORS,
            "pem",
            "update-ca-certificates",
            "update-ca-certificates",
        ),
        way(
            "Windows",
            "in a command prompt of the administrator; for one user alone with -user behind certutil",
            &[format!("certutil -addstore -f Root {stem}.cer")],
            &[format!("certutil -delstore Root {serial}")],
        ),
        way(
            "macOS",
            "in a terminal",
            &[format!(
                "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {stem}.pem"
            )],
            &[format!("sudo security remove-trusted-cert -d {stem}.pem")],
        ),
        way(
            "Android",
            "on the phone; its own names differ by maker",
            &[
                format!("copy {stem}.cer to the phone (adb push {stem}.cer /sdcard/Download/)"),
                "Settings > Security & privacy > More security settings > Encryption & credentials > Install a certificate > \
                 CA certificate"
                    .to_owned(),
            ],
            &["Settings > ... > Encryption & credentials > Trusted credentials > User".to_owned()],
        ),
        way(
            "iPhone, iPad",
            "on the device",
            &[
                format!("open {stem}.mobileconfig, then Settings > Profile Downloaded > Install"),
                "Settings > General > About > Certificate Trust Settings: switch the root on".to_owned(),
            ],
            &["Settings > General > VPN & Device Management > the profile > Remove Profile".to_owned()],
        ),
    ]
}

/// Returns the ways as text.
pub fn lines(ways: &[Way], sha256: &str) -> String {
    let mut text = format!("SHA-256 of the root: {sha256}\n");
    for way in ways {
        let _ = write!(text, "\n{} ({})\n", way.system, way.place);
        for line in &way.install {
            let _ = writeln!(text, "  {line}");
        }
        text.push_str("  out again:\n");
        for line in &way.remove {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}
