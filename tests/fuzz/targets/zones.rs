//! Master files of zones, the data of records, names.

use mailcert::{
    dns::provider::zone_text::ZoneText,
    model::{
        address::MailAddress,
        endpoint::Endpoint,
        master_file,
        name::{DomainName, Identifier},
        public_suffix::PublicSuffixes,
        rdata::{Rdata, RecordType},
        rrset::Txt,
    },
};

/// The types that are read and written.
const TYPES: [RecordType; 8] = [
    RecordType::A,
    RecordType::Aaaa,
    RecordType::Caa,
    RecordType::Cname,
    RecordType::Mx,
    RecordType::Srv,
    RecordType::Tlsa,
    RecordType::Txt,
];

/// A zone's file: an edit is read again, and taking it back gives the same records.
pub fn zone(data: &[u8]) {
    if let Ok(entries) = master_file::entries(data) {
        let mut end = 0;
        for entry in &entries {
            assert!(entry.at.start >= end && entry.at.end <= data.len() && !entry.words.is_empty());
            end = entry.at.end;
        }
    }
    let text = String::from_utf8_lossy(data);
    for kind in TYPES {
        if let Ok(value) = Rdata::parse(kind, &text) {
            assert_eq!(Rdata::parse(kind, &value.to_string()).as_ref(), Ok(&value));
        }
    }
    if let Ok(txt) = text.parse::<Txt>() {
        assert_eq!(txt.to_string().parse::<Txt>().as_ref(), Ok(&txt));
    }
    names(&text);

    let apex: DomainName = "example.test".parse().unwrap();
    let Ok(zone) = ZoneText::parse(data, &apex) else {
        return;
    };
    for owner in ["example.test", "_acme-challenge.example.test", "a.example.test"] {
        let owner = DomainName::from_dns(owner).unwrap();
        let value = Rdata::text("zzz");
        let Ok(before) = zone.rrset(&owner, RecordType::Txt) else {
            continue;
        };
        let Ok(Some(edited)) = zone.edited(&owner, (std::slice::from_ref(&value), &[]), 60, 20_310_102)
        else {
            continue;
        };
        let after = ZoneText::parse(&edited, &apex).unwrap();
        let mut values = before.values.clone();
        values.push(value.clone());
        assert!(
            after
                .rrset(&owner, RecordType::Txt)
                .unwrap()
                .holds_exactly(&values)
        );
        if let Ok(Some(restored)) = after.edited(&owner, (&[], std::slice::from_ref(&value)), 60, 20_310_102)
        {
            let restored = ZoneText::parse(&restored, &apex).unwrap();
            let found = restored.rrset(&owner, RecordType::Txt).unwrap();
            assert!(found.holds_exactly(&before.values));
        }
    }
}

/// Names and what holds them: what is printed is read as the same.
fn names(text: &str) {
    for name in [text.parse::<DomainName>(), DomainName::from_dns(text)]
        .into_iter()
        .flatten()
    {
        assert_eq!(DomainName::from_dns(&name.to_string()).as_ref(), Ok(&name));
        let suffixes = PublicSuffixes::parse("test\n*.b\n!a.b\n");
        let registered = suffixes.registered_domain(&name);
        assert!(name.as_str().ends_with(&registered), "{registered} {name}");
    }
    if let Ok(identifier) = text.parse::<Identifier>() {
        assert_eq!(
            identifier.to_string().parse::<Identifier>().as_ref(),
            Ok(&identifier)
        );
        let lineage = identifier.lineage_name();
        assert!(!lineage.contains('/') && !lineage.starts_with('.'), "{lineage}");
    }
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        assert_eq!(endpoint.to_string().parse::<Endpoint>().as_ref(), Ok(&endpoint));
    }
    if let Ok(address) = text.parse::<MailAddress>() {
        let host: DomainName = "mail.example.test".parse().unwrap();
        super::assert_harmless(&address.completed(&host).to_string());
    }
}
