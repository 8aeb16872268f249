//! main.cf, master.cf, what postconf prints, and the tables that senders are read from.

use std::collections::BTreeSet;

use mailcert::postfix::{
    desired::protocols::Allowed,
    endpoints::{Host, Ports, ports_for_others, tls_services},
    sender_login::{Input, read_aliases, read_virtual},
    sni,
    syntax::{MainCf, MasterCf},
    values::{Values, Version},
};

/// The name that is set, and its value.
const NAME: &str = "smtpd_tls_cert_file";
const VALUE: &str = "/n";

/// Every name that a line might give a value to.
fn names(data: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(data);
    let before = text.lines().filter_map(|line| line.split_once('='));
    before.map(|(name, _)| name.trim().to_owned()).collect()
}

/// main.cf: prints as it was read; what is set is set, and nothing else changes.
pub fn main_cf(data: &[u8]) {
    let file = MainCf::parse(data);
    assert_eq!(file.to_bytes(), data);
    let others = |file: &MainCf| -> Vec<(String, Option<Vec<u8>>)> {
        let names = names(data).into_iter().filter(|name| name != NAME);
        names.map(|name| (name.clone(), file.get(&name))).collect()
    };
    let before = others(&file);

    let mut set = file.clone();
    set.set(NAME, VALUE);
    assert_eq!(set.get(NAME).as_deref(), Some(VALUE.as_bytes()));
    assert_eq!(others(&set), before);
    let written = set.to_bytes();
    let mut again = MainCf::parse(&written);
    again.set(NAME, VALUE);
    assert_eq!(again.to_bytes(), written, "a second time changes nothing");

    let mut without = file;
    without.comment_out(NAME, "why");
    assert_eq!(without.get(NAME), None);
    assert_eq!(others(&without), before);
    assert_eq!(MainCf::parse(&without.to_bytes()).get(NAME), None);
}

/// master.cf: prints as it was read; each edit does what it says, to one service.
pub fn master_cf(data: &[u8]) {
    let file = MasterCf::parse(data);
    assert_eq!(file.to_bytes(), data);
    let services = file.services();
    for service in &services {
        let _ = (service.label(), service.unread());
    }
    let others = |services: &[mailcert::postfix::syntax::Service], index: usize| {
        let others = services.iter().enumerate().filter(|(at, _)| *at != index);
        others.map(|(_, service)| service.clone()).collect::<Vec<_>>()
    };
    // The first and the last: a file may have thousands.
    for index in [0, services.len().saturating_sub(1)] {
        let Some(service) = services.get(index) else {
            continue;
        };
        let mut added = file.clone();
        added.add_override(index, NAME, VALUE);
        let after = added.services();
        assert_eq!(others(&after, index), others(&services, index));
        if service.unread().is_none() {
            assert_eq!(
                after[index].overridden(NAME),
                Some(VALUE.as_bytes()),
                "{:?}",
                after[index]
            );
        }
        let mut removed = added;
        removed.comment_out_in(index, NAME, "why");
        let after = removed.services();
        assert_eq!(others(&after, index), others(&services, index));
        assert_eq!(after[index].overridden(NAME), None, "{:?}", after[index]);

        let mut inserted = file.clone();
        let at = inserted.insert_service(Some(index), "zzz inet n - y - - smtpd");
        let after = inserted.services();
        assert_eq!(after.len(), services.len() + 1);
        assert_eq!(after[at].name, "zzz");
        assert_eq!(others(&after, at), services);
    }
    let mut all_out = file.clone();
    all_out.comment_out(|_, found| (found.name == NAME).then(|| "why".to_owned()));
    assert!(
        all_out
            .services()
            .iter()
            .all(|service| service.overridden(NAME).is_none())
    );

    let templates = file.templates();
    for template in templates.first().into_iter().chain(templates.last()) {
        let mut live = file.clone();
        let index = live.uncomment(template, |_| true);
        let after = live.services();
        assert_eq!(after.len(), services.len() + 1);
        assert_eq!(others(&after, index), services);
        assert_eq!(after[index].name, template.service.name);
    }
}

/// What postconf prints, and what is made of it.
pub fn postconf(data: &[u8]) {
    let files = super::files(data);
    let of = |name: &str| {
        let found = files.iter().find(|(known, _)| known == name);
        found.map_or(data, |(_, bytes)| bytes.as_slice())
    };
    let values = Values::parse(of("values"));
    for (_, value) in values.iter() {
        let expanded = values.expand(value);
        assert!(
            expanded.len() <= (1 << 20) + 100 * data.len(),
            "{} bytes",
            expanded.len()
        );
    }
    let ports = Ports::parse(&String::from_utf8_lossy(of("services")));
    let services = MasterCf::parse(of("master.cf")).services();
    let host = Host { ports, ipv6: true };
    let found = tls_services(&services, &values, &host);
    for note in &found.notes {
        super::assert_harmless(note);
    }
    let _ = ports_for_others(&services, &values, &host);
    let text = String::from_utf8_lossy(data);
    if let Some(version) = Version::parse(&text) {
        assert_eq!(Version::parse(&version.to_string()), Some(version));
    }
    let _ = Allowed::read(&text, Version::new(3, 7));
}

/// aliases(5), virtual(5), the source of a map of names.
pub fn sender_login(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let input = Input {
        local: BTreeSet::from(["example.test".to_owned()]),
        hosted: BTreeSet::from(["hosted.test".to_owned()]),
        aliased: BTreeSet::from(["aliased.test".to_owned()]),
        delimiter: "+".to_owned(),
        aliases: read_aliases(&text),
        virtual_aliases: read_virtual(&text),
    };
    let made = input.generate();
    for (address, logins) in &made.table {
        let is_word = |word: &str| !word.is_empty() && !word.contains(['\n', '\r']);
        assert!(is_word(address) && is_word(logins), "{address:?} {logins:?}");
        assert!(
            !address.contains(char::is_whitespace) && !address.starts_with('#'),
            "{address:?}"
        );
    }
    let n_lines = made
        .source()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .count();
    assert_eq!(n_lines, made.table.len());
    let _ = made.rules_file();
    let _ = sni::read(&text);
}
