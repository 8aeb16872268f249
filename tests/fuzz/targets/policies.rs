//! The policies of a mail domain, as anybody's name server may give them.

use mailcert::model::record::{
    caa::{self, Property},
    dkim, dmarc, mta_sts, spf, tls_rpt,
};

/// SPF: a record is what is printed; a term put into it is in it, and nothing else changed.
pub fn spf(data: &[u8]) {
    match spf::Record::parse(data) {
        Err(wrong) => {
            super::assert_harmless(&wrong.to_string());
            assert!(wrong.position <= data.len());
        }
        Ok(record) => {
            assert!(spf::is_record(data));
            assert_eq!(record.to_string().as_bytes(), data);
            for term in record.terms() {
                let text = record.text_of(term);
                assert!(!text.is_empty() && !text.contains(' '), "{text:?}");
            }
            let _ = (record.redirect(), record.all());
            let with = spf::Record::parse(record.insert_mx_before_all().as_bytes()).unwrap();
            assert!(with.has_mx());
            assert_eq!(with.terms().len(), record.terms().len() + 1);
            assert_eq!((with.all(), with.redirect()), (record.all(), record.redirect()));
        }
    }
}

/// DMARC.
pub fn dmarc(data: &[u8]) {
    let record = dmarc::Record::parse(data);
    assert_eq!(record.is_some(), dmarc::is_record(data));
    assert!(record.is_none() || !dmarc::is_nearly(data));
    if let Some(record) = record {
        for tag in ["p", "sp", "np"] {
            let _ = record.policy(tag);
        }
        for tag in ["rua", "ruf"] {
            for destination in record.destinations(tag).into_iter().flatten() {
                assert!(!destination.uri.contains(','), "{destination:?}");
            }
        }
    }
    let names = dmarc::tree(std::str::from_utf8(data).unwrap_or("a.example.test"));
    assert!(names.len() <= 8, "{}", names.len());
}

/// DKIM.
pub fn dkim(data: &[u8]) {
    if let Ok(record) = dkim::Record::parse(data) {
        let _ = (
            record.allows("h", "sha256"),
            record.allows("s", "email"),
            record.has_flag("y"),
        );
        assert!(record.tags.doubled().is_none() && record.tags.wrong().is_none());
    }
}

/// MTA-STS: the record, and the policy, which is the same after it was written and read again.
pub fn mta_sts(data: &[u8]) {
    if mta_sts::is_record(data)
        && let Ok(id) = mta_sts::id(data)
    {
        assert!((1..=32).contains(&id.len()));
    }
    if let Ok(policy) = mta_sts::Policy::parse(data) {
        let again = mta_sts::Policy::parse(policy.text().as_bytes()).unwrap();
        assert_eq!((again.mode, again.max_age), (policy.mode, policy.max_age));
        assert_eq!((again.text(), again.id()), (policy.text(), policy.id()));
        for pattern in &policy.mx {
            let host = pattern.replacen('*', "mail", 1);
            assert!(policy.covers(&host), "{pattern} does not cover {host}");
        }
    }
}

/// TLS-RPT.
pub fn tls_rpt(data: &[u8]) {
    if let Ok(destinations) = tls_rpt::destinations(data) {
        assert!(!destinations.is_empty());
    }
    let _ = tls_rpt::is_record(data);
}

/// CAA: the first octet is the flags, the first line the tag, the rest the value; several are parted by a line `%%`.
pub fn caa(data: &[u8]) {
    let properties: Vec<Property> = data
        .split(|byte| *byte == 0)
        .filter_map(|record| {
            let (flags, rest) = record.split_first()?;
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            Some(Property {
                critical: flags & 1 == 1,
                tag: String::from_utf8_lossy(&rest[..end]).into_owned(),
                value: rest[end + 1..].to_vec(),
            })
        })
        .collect();
    for property in &properties {
        super::assert_harmless(&property.to_string());
        let _ = (property.is_malformed(), property.is_unknown_and_critical());
    }
    let identities = ["ca.test".to_owned()];
    for wildcard in [false, true] {
        let request = caa::Request {
            identities: &identities,
            account: "https://ca.test/1",
            method: "http-01",
            wildcard,
        };
        if let caa::Verdict::Refused(refusal) = caa::judge(&properties, &request) {
            super::assert_harmless(&refusal.to_string());
        }
        // A record that nobody knows and that is critical stops every CA (RFC 8659, 4.1).
        let stops = properties.iter().any(Property::is_unknown_and_critical);
        let verdict = caa::judge(&properties, &request);
        assert!(!stops || matches!(verdict, caa::Verdict::Refused(_)));
    }
}
