//! Postfix 3.10 and 3.11 as Debian has them: everything that is set up here is set up there, and taken back.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use time::Duration;

use crate::{
    submission::{client, site_of, told},
    support::{
        Outcome, PostfixOptions, Release, Site,
        judge::{self, Tls},
        world::HOST,
    },
};

/// A second name, served from the SNI map.
const OTHER: &str = "mail.other.example.test";

/// Everything that the configuration can ask of Postfix.
const WANTED: &str =
    "incoming = true\noutgoing = true\nhide_banner = true\nsubmission = true\nsubmissions = true\n";

fn files(site: &Site) -> [Vec<u8>; 2] {
    [site.postfix.main_cf(), site.postfix.master_cf()].map(|path| fs::read(path).unwrap())
}

/// Returns what postconf(1) warns about, each once.
fn warnings(site: &Site) -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    for question in ["-n", "-M", "-P"] {
        let mut postconf = site.postfix.command("postconf");
        let output = postconf
            .arg("-c")
            .arg(site.postfix.config_directory())
            .arg(question)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        // Without the numbers of lines, which move.
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        said.extend(text.lines().map(|line| {
            let words = line
                .split(", line ")
                .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
            words.collect::<String>()
        }));
    }
    said
}

fn findings(site: &Site) -> Vec<Value> {
    let checked = site
        .mailcert()
        .run(&["check", "postfix", "--format", "json"])
        .json();
    checked["findings"].as_array().unwrap().clone()
}

fn no_changes(outcome: &Outcome) {
    assert_eq!(outcome.json()["changes"], json!([]), "{outcome}");
}

/// Sets everything up on an installation, renews, and takes all of it back.
fn there_and_back(release: Release, version: &str, layout: &str) {
    let site = site_of(Some(release), "");
    assert!(site.postfix.postconf("mail_version").starts_with(version));
    let (before, warned) = (files(&site), warnings(&site));
    let snake_oil = site.postfix.leaf_sha256(25).unwrap();

    // Certificates come first, while Postfix is nobody's.
    let with_other = |text: String, more: &str, lines: &str| {
        let table = format!("[[certificate]]\nidentifiers = [\"{OTHER}\"]\nissuer = \"external\"\n{more}");
        text.replace("[renew]\n", &format!("{table}[renew]\n")) + lines
    };
    site.write_config(|text| with_other(text, "", "manage = false\n"));
    let (identity, other) = (site.issue(), site.authority.issue(OTHER, Duration::days(90)));
    site.install("held", &identity).expect(0);
    let install_other = |name: &str, identity: &crate::support::Identity| {
        let from = identity.leave(&site.scratch, name).display().to_string();
        site.mailcert().run(&["install", OTHER, "--from", &from])
    };
    install_other("other", &other).expect(0);
    let wanted = format!("{WANTED}tls_layout = \"{layout}\"\n");
    site.write_config(|text| with_other(text, "sni = true\n", &wanted));

    let planned = site
        .mailcert()
        .run(&["plan", "postfix", "--format", "json"])
        .expect(0);
    assert!(
        planned.json()["changes"].as_array().unwrap().len() >= 2,
        "{planned}"
    );
    assert_eq!(files(&site), before, "a plan changes nothing");

    let apply = || {
        site.mailcert()
            .run(&["apply", "postfix", "--yes", "--format", "json"])
    };
    let applied = apply().expect(0);
    for port in [25, 465, 587] {
        assert_eq!(
            site.postfix.leaf_sha256(port),
            Ok(identity.sha256()),
            "{port}: {applied}"
        );
        assert_eq!(site.postfix.verify(port, &site.root_file()), Ok(()), "{port}");
    }
    let served_other = || judge::leaf_sha256(site.postfix.port(25), Tls::StartTls, OTHER);
    assert_eq!(served_other(), Ok(other.sha256()));
    // No parameter that this version does not know, and none that it wants to be rid of.
    assert_eq!(warnings(&site), warned);
    assert_eq!(client(&site), told(), "{}\n{applied}", site.postfix.log());
    no_changes(&apply().expect(0));
    let severe: Vec<Value> = findings(&site)
        .into_iter()
        .filter(|finding| finding["severity"] == "error")
        .collect();
    assert_eq!(severe, Vec::<Value>::new());
    let log = site.postfix.log();
    for word in ["fatal:", "panic:", "unused parameter", "will be removed"] {
        assert!(!log.contains(word), "{word} in the log:\n{log}");
    }

    // A renewal reaches the ports and the SNI map.
    let (second, second_other) = (site.issue(), site.authority.issue(OTHER, Duration::days(91)));
    site.install("second", &second).expect(0);
    install_other("second-other", &second_other).expect(0);
    assert_eq!(site.postfix.leaf_sha256(587), Ok(second.sha256()));
    assert_eq!(served_other(), Ok(second_other.sha256()));

    let undone = site.mailcert().run(&["undo"]).expect(0);
    assert_eq!(files(&site), before, "{undone}");
    assert_eq!(site.postfix.leaf_sha256(25), Ok(snake_oil));
    assert!(site.postfix.leaf_sha256(587).is_err());
    assert_eq!(warnings(&site), warned);
}

#[test]
#[ignore = "real: needs Debian 13's postfix, named, python3"]
fn long_everything_is_set_up_and_taken_back_on_postfix_3_10() {
    there_and_back(Release::trixie(), "3.10.", "cert+key");
}

#[test]
#[ignore = "real: needs Debian unstable's postfix, named, python3"]
fn long_everything_is_set_up_and_taken_back_on_postfix_3_11() {
    there_and_back(Release::unstable(), "3.1", "chain");
}

/// What Postfix 3.11 deprecates, as an old main.cf has it.
const DEPRECATED: &str = "\
    authorized_verp_clients = 127.0.0.1\n\
    disable_dns_lookups = no\n\
    fallback_relay =\n\
    lmtp_cname_overrides_servername = no\n\
    lmtp_enforce_tls = no\n\
    lmtp_per_record_deadline = no\n\
    lmtp_tls_enforce_peername = no\n\
    lmtp_tls_per_site =\n\
    lmtp_use_tls = no\n\
    postscreen_blacklist_action = ignore\n\
    postscreen_dnsbl_ttl = 1h\n\
    postscreen_dnsbl_whitelist_threshold = 0\n\
    postscreen_enforce_tls = no\n\
    postscreen_use_tls = no\n\
    postscreen_whitelist_interfaces = static:all\n\
    smtp_cname_overrides_servername = no\n\
    smtp_enforce_tls = no\n\
    smtp_per_record_deadline = no\n\
    smtp_tls_enforce_peername = no\n\
    smtp_tls_per_site =\n\
    smtp_use_tls = no\n\
    smtpd_client_connection_limit_exceptions =\n\
    smtpd_enforce_tls = no\n\
    smtpd_per_record_deadline = no\n\
    smtpd_tls_dh1024_param_file = auto\n\
    smtpd_tls_eecdh_grade = auto\n\
    smtpd_use_tls = yes\n\
    tlsproxy_client_level =\n\
    tlsproxy_client_policy =\n\
    tlsproxy_enforce_tls = no\n\
    tlsproxy_use_tls = no\n\
    virtual_maps =\n";

/// Holds what the doctor calls obsolete against what postconf(1) warns about.
fn as_postconf_warns(release: Release, n_at_least: usize) {
    let site = Site::of(|_, _| PostfixOptions {
        main_cf: format!(
            "{DEPRECATED}smtpd_recipient_restrictions = reject_maps_rbl, permit_mx_backup, reject_unauth_destination\n"
        ),
        release: Some(release),
        ..PostfixOptions::default()
    });
    site.hold_certificate("");
    let warned: BTreeSet<String> = warnings(&site)
        .iter()
        .filter(|line| line.contains("will be removed"))
        .filter_map(|line| Some(line.split("parameter \"").nth(1)?.split('"').next()?.to_owned()))
        .collect();
    assert!(warned.len() >= n_at_least, "{warned:#?}");
    let found = findings(&site);
    let of = |id: &str| -> Vec<&Value> { found.iter().filter(|one| one["id"] == id).collect() };
    let told: BTreeSet<String> = of("postfix.obsolete")
        .iter()
        .filter_map(|one| {
            Some(
                one["evidence"]
                    .as_str()?
                    .split(": ")
                    .nth(1)?
                    .split(' ')
                    .next()?
                    .to_owned(),
            )
        })
        .collect();
    assert!(told.is_superset(&warned), "{:#?}", warned.difference(&told));
    // What the doctor has a remedy for is not told a second time in postconf's words.
    let again = of("postfix.warning");
    assert!(
        again
            .iter()
            .all(|one| !one["evidence"].as_str().unwrap().contains("will be removed")),
        "{again:#?}"
    );
    assert_eq!(of("postfix.restriction-obsolete").len(), 1, "{found:#?}");
    let gone = of("postfix.restriction-gone");
    assert!(
        gone[0]["evidence"].as_str().unwrap().contains("reject_maps_rbl"),
        "{gone:#?}"
    );
    // The daemon says so, too: nobody's mail is taken.
    let recipient = format!("RCPT TO:<a@{HOST}>");
    let answer = site
        .postfix
        .last_reply(&["EHLO client.test", "MAIL FROM:<a@elsewhere.test>", &recipient]);
    assert!(answer.starts_with("451"), "{answer}");
}

#[test]
#[ignore = "real: needs Debian 13's postfix, named"]
fn long_the_doctor_knows_what_postfix_3_10_deprecates() {
    as_postconf_warns(Release::trixie(), 15);
}

#[test]
#[ignore = "real: needs Debian unstable's postfix, named"]
fn long_the_doctor_knows_what_postfix_3_11_deprecates() {
    as_postconf_warns(Release::unstable(), 30);
}
