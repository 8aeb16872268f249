//! Dovecot serves what mailcert installs: by the shipped deploy hook, and proven on every port that `dovecot.verify` names.

use std::{path::Path, process::Command};

use crate::support::{Outcome, Site, dovecot::Dovecot, judge, world::HOST};

/// The ports, as OpenSSL is told how TLS begins there.
const PORTS: [(u16, &str, &[&str]); 4] = [
    (993, "imaps", &[]),
    (143, "imap", &["-starttls", "imap"]),
    (995, "pop3s", &[]),
    (110, "pop3", &["-starttls", "pop3"]),
];

/// A site with a Dovecot that names the live files, and serves the first certificate.
struct Mailboxes {
    dovecot: Dovecot,
    site: Site,
}

impl Mailboxes {
    fn start() -> Self {
        let site = Site::start();
        site.hold_certificate("");
        let live = site.state("live").join(HOST);
        let dovecot = Dovecot::start(
            &site.scratch,
            &site.address,
            &live.join("fullchain.pem"),
            &live.join("privkey.pem"),
        );
        Self { dovecot, site }
    }

    /// Has every port verified, and these deploy hooks run.
    fn configure(&self, deploy: &str) {
        let ip = self.site.address.ip();
        let endpoints = PORTS.map(|(port, scheme, _)| format!("\"{scheme}://{ip}:{port}\""));
        let tables = format!("manage = false\n[hooks]\ndeploy = [{deploy}]\n",);
        let unmanaged = "[dovecot]\nmanage = false\n";
        let verified = format!("{unmanaged}verify = [{}]\n", endpoints.join(", "));
        self.site
            .write_config(|text| text.replace(unmanaged, &verified) + &tables);
    }

    /// Returns the shipped hook as `[hooks]` names it.
    fn hook(&self) -> String {
        let config = format!("DOVECOT_CONFIG={}", self.dovecot.config_file().display());
        format!("{{ run = [\"/usr/bin/env\", {config:?}, {:?}] }}", hook())
    }

    /// Returns the leaf that a port serves, by OpenSSL.
    fn served(&self, port: u16, options: &[&str]) -> String {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &self.site.address.port(port).to_string()])
            .args(options)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        judge::certificate_sha256(&String::from_utf8_lossy(&output.stdout)).unwrap_or_default()
    }
}

fn hook() -> String {
    format!("{}/hooks/deploy/dovecot-reload", env!("CARGO_MANIFEST_DIR"))
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl"]
fn a_renewed_certificate_is_served_on_every_port_and_proven_there() {
    let mailboxes = Mailboxes::start();
    mailboxes.configure(&mailboxes.hook());
    let next = mailboxes.site.issue();
    let installed = mailboxes.site.install("next", &next).expect(0);
    for (port, scheme, options) in PORTS {
        assert_eq!(
            mailboxes.served(port, options),
            next.sha256(),
            "{scheme}: {installed}"
        );
    }
    let status = mailboxes.site.status();
    assert_eq!(status["state"], "verified", "{status}");
    let probed = mailboxes
        .site
        .mailcert()
        .run(&["probe", &format!("{}", mailboxes.site.address.port(993))]);
    assert!(probed.stdout.contains(&next.sha256()), "{probed}");
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl"]
fn a_dovecot_that_nobody_reloads_keeps_the_run_red() {
    let mailboxes = Mailboxes::start();
    mailboxes.configure("");
    let next = mailboxes.site.issue();
    let told = mailboxes.site.install("next", &next).expect(1);
    assert!(
        told.stderr.contains("imaps://") && told.stderr.contains("still serves"),
        "{told}"
    );
    // The hook mends it.
    mailboxes.configure(&mailboxes.hook());
    mailboxes.site.mailcert().run(&["deploy"]).expect(0);
    assert_eq!(mailboxes.served(993, &[]), next.sha256());
}

/// Runs the hook as certbot does.
fn run_hook(directory: &Path, dovecot: &Dovecot, verify: &str) -> Outcome {
    let output = Command::new(hook())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("RENEWED_LINEAGE", directory)
        .env("DOVECOT_CONFIG", dovecot.config_file())
        .env("DOVECOT_VERIFY", verify)
        .output()
        .unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl"]
fn without_mailcert_the_hook_checks_reloads_and_asks() {
    let mailboxes = Mailboxes::start();
    let (site, dovecot) = (&mailboxes.site, &mailboxes.dovecot);
    let live = site.state("live").join(HOST);
    let port = site.address.port(993).to_string();
    let told = run_hook(&live, dovecot, &port).expect(0);
    assert!(told.stderr.contains("serves SHA-256"), "{told}");
    // Another lineage of the same client is none of Dovecot's business.
    let other = site.authority.issue("www.example.test", time::Duration::days(90));
    let directory = other.leave(&site.scratch, "other");
    let told = run_hook(&directory, dovecot, &port).expect(0);
    assert!(told.stderr.contains("does not use"), "{told}");
    // Key and certificate that do not belong together would end every connection.
    let broken = site.scratch.dir("broken");
    std::fs::copy(live.join("fullchain.pem"), broken.join("fullchain.pem")).unwrap();
    std::fs::copy(directory.join("privkey.pem"), broken.join("privkey.pem")).unwrap();
    let told = run_hook(&broken, dovecot, &port).expect(1);
    assert!(told.stderr.contains("does not belong to"), "{told}");
    // What Dovecot refuses is told in its words, with file and line, and what runs goes on.
    let text = std::fs::read_to_string(dovecot.config_file()).unwrap();
    std::fs::write(dovecot.config_file(), format!("{text}ssl_cret = x\n")).unwrap();
    let told = run_hook(&live, dovecot, &port).expect(1);
    let line = text.lines().count() + 1;
    assert!(
        told.stderr
            .contains(&format!("dovecot.conf line {line}: Unknown setting: ssl_cret")),
        "{told}"
    );
    assert!(!mailboxes.served(993, &[]).is_empty());
    std::fs::write(dovecot.config_file(), text).unwrap();
}
