//! Records in a PowerDNS: by dynamic updates, as in a BIND, and by its HTTP API.

use std::{path::PathBuf, sync::Arc};

use super::{
    dns::says,
    publish::{EVERYTHING, PUBLISHED},
};
use crate::support::{
    Between, LoopbackAddress, Mailcert, PowerDns, Scratch, Zone, bind,
    world::{DOMAIN, HOST},
};

/// A PowerDNS, and the host that mailcert runs on; no mail server runs.
struct Site {
    pdns: Arc<PowerDns>,
    /// Between mailcert's updates and the server.
    between: Between,
    way: LoopbackAddress,
    _address: LoopbackAddress,
    scratch: Scratch,
}

impl Site {
    fn start() -> Self {
        let scratch = Scratch::new();
        let (address, way) = (LoopbackAddress::take(&scratch), LoopbackAddress::take(&scratch));
        let records = format!(
            "@ MX 10 mail\nmail A {}\n@ 777 TXT \"google-site-verification=x\"\n",
            address.ip()
        );
        let pdns = PowerDns::start(
            &scratch,
            &address,
            &Zone::with_parents(DOMAIN, &address, &records),
        );
        Self {
            between: Between::open(way.port(53), pdns.address()),
            pdns: Arc::new(pdns),
            way,
            _address: address,
            scratch,
        }
    }

    fn by_updates(&self, secret: &PathBuf) -> String {
        format!(
            "type = \"rfc2136\", server = \"{}\", key_name = \"{}\", secret_file = {secret:?}",
            self.way.port(53),
            self.pdns.key_name(),
        )
    }

    fn mailcert(&self, provider: &str) -> Mailcert {
        let config = format!(
            "version = 1\nstate_directory = {:?}\n[host]\nname = \"{HOST}\"\ndomains = [\"{DOMAIN}\"]\n\
             [renew]\ntimer = \"none\"\n[dovecot]\nmanage = false\n[postfix]\nmanage = false\n\
             [dns]\nresolvers = [\"{}\"]\ntimeout = \"20s\"\nprovider = {{ {provider} }}\n{EVERYTHING}",
            self.scratch.path().join("state"),
            self.pdns.address(),
        );
        let file = self.scratch.file("mailcert.toml", config);
        Mailcert::new(Some(&file), &self.scratch.dir("root"))
    }

    fn rrset(&self, name: &str, rtype: &str) -> Vec<String> {
        let text = bind::dig(self.pdns.address(), &["+short"], name, rtype);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Publishes everything once, follows the configuration, and takes it back, octet for octet.
    fn publishes_and_takes_back(&self, mailcert: &Mailcert) {
        let before = self.pdns.zone(DOMAIN);
        mailcert.run(&["apply", "dns", "--yes"]).expect(0);
        let mut expected = before.clone();
        expected.extend(PUBLISHED.map(str::to_owned));
        expected.sort();
        let published = self.pdns.zone(DOMAIN);
        assert_eq!(published, expected);
        let again = mailcert.run(&["apply", "dns", "--yes"]).expect(0);
        says(&again, &["nothing to change"]);
        // What somebody wrote since is not taken back with what we wrote.
        self.pdns
            .nsupdate(&format!("update add {DOMAIN} 777 TXT \"later\""));
        let with_later = self.pdns.zone(DOMAIN);
        says(
            &mailcert.run(&["undo"]).expect(1),
            &["changed since", "\"later\"", "undo --force"],
        );
        assert_eq!(self.pdns.zone(DOMAIN), with_later);
        self.pdns
            .nsupdate(&format!("update delete {DOMAIN} TXT \"later\""));
        mailcert.run(&["undo"]).expect(0);
        assert_eq!(self.pdns.zone(DOMAIN), before);
    }
}

#[test]
#[ignore = "real: needs pdns_server, pdnsutil, sqlite3, nsupdate"]
fn long_powerdns_takes_dynamic_updates() {
    let site = Site::start();
    let secret = site.pdns.secret_file().to_owned();
    let mailcert = site.mailcert(&site.by_updates(&secret));
    site.publishes_and_takes_back(&mailcert);

    // Whatever is about to be changed, somebody adds a value of his own right before.
    let before = site.pdns.zone(DOMAIN);
    let pdns = Arc::clone(&site.pdns);
    site.between.edits(move |name, kind| {
        let late = match kind {
            "CAA" => "0 issue \"late-ca.test\"",
            "SRV" => "0 1 993 late.example.test.",
            _ => "\"late\"",
        };
        pdns.nsupdate(&format!("update add {name} 777 {kind} {late}"));
    });
    let refused = mailcert.run(&["apply", "dns", "--yes"]).expect(1);
    says(&refused, &["meanwhile", "nothing was written"]);
    let mut found = site.pdns.zone(DOMAIN);
    assert!(
        found.iter().any(|line| line.contains("late")),
        "nobody edited: {found:#?}"
    );
    found.retain(|line| !line.contains("late"));
    assert_eq!(found, before, "only the other's records came");
    site.between.rests();

    // What the other wrote is the ground of the next plan.
    let with_late = site.pdns.zone(DOMAIN);
    mailcert.run(&["apply", "dns", "--yes"]);
    let applied = site.pdns.zone(DOMAIN);
    for line in &with_late {
        assert!(applied.contains(line), "{line} is gone: {applied:#?}");
    }
    assert!(
        site.rrset(DOMAIN, "TXT")
            .contains(&"\"v=spf1 mx -all\"".to_owned())
    );
    mailcert.run(&["undo"]).expect(0);
    assert_eq!(site.pdns.zone(DOMAIN), with_late);

    // A key that is not the server's: PowerDNS refuses without a signature and says no more.
    let other = site
        .scratch
        .secret_file("other-secret", "YW5vdGhlciBzZWNyZXQgICAgICAgICAgICAgICAgICA=\n");
    let wrong = site.mailcert(&site.by_updates(&other));
    let refused = wrong.run(&["apply", "dns", "--yes"]).expect(1);
    says(&refused, &["REFUSED", "lab-key", "secret"]);
    assert!(!refused.to_string().contains("YW5vdGhlci"), "{refused}");
}

#[cfg(feature = "cloud-dns")]
mod api {
    use super::*;

    #[test]
    #[ignore = "real: needs pdns_server, pdnsutil, sqlite3, nsupdate"]
    fn long_powerdns_is_written_through_its_http_api() {
        let site = Site::start();
        let credentials = |key: &str| {
            let text = format!(
                "# PowerDNS\napi_key = {key}\nendpoint = http://{}\n",
                site.pdns.api()
            );
            let file = site.scratch.secret_file("credentials", text);
            format!("type = \"cloud\", service = \"pdns\", secret_file = {file:?}")
        };
        let mailcert = site.mailcert(&credentials(site.pdns.api_key()));
        site.publishes_and_takes_back(&mailcert);
        let log = site.pdns.log();
        assert!(log.contains("\"PATCH /api/v1/servers/localhost/zones/example.test. "));

        let wrong = site.mailcert(&credentials("another-key-of-nobodys"));
        let refused = wrong.run(&["apply", "dns", "--yes"]).expect(1);
        says(&refused, &["the API of pdns", "remedy:"]);
        assert!(!refused.to_string().contains("another-key"), "{refused}");
    }
}
