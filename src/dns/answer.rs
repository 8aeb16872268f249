//! What a DNS message says: records at the end of a CNAME chain, zones, referrals; names as text and on the wire. Pure.
//!
//! Messages come from anywhere: nothing here trusts that records belong to the question. Rules: RFC 1034, 3.6.2 and 5.3;
//! RFC 2308.

use std::net::IpAddr;

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, CAA, CNAME, MX, SRV, TLSA, TXT},
    },
};

use super::error::{DnsError, ServerFailure};
use crate::model::{
    name::DomainName,
    rdata::{self, Rdata},
    rrset::{Rrset, Txt},
    spelled::Spelled,
};

/// CNAME records that are followed one after the other.
pub(super) const MAX_CHAIN: usize = 16;

/// The TXT records at a name; none when there is no such name or no TXT there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxtRrset {
    /// The TTL in seconds; from a resolver, what is left of it. 0 when there are none.
    pub ttl: u32,
    /// The values, in the order of the answer.
    pub values: Vec<Txt>,
}

/// Returns why a message answers nothing, or `None` when it does.
pub(super) fn unusable(message: &Message) -> Option<ServerFailure> {
    match message.response_code {
        ResponseCode::NoError if is_referral(message) => Some(ServerFailure::Referral),
        ResponseCode::NoError | ResponseCode::NXDomain => None,
        code => Some(ServerFailure::ResponseCode(code_name(code))),
    }
}

/// Returns a response code as RFC 2136 and RFC 6895 write it.
pub(super) fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::NXRRSet => "NXRRSET".to_owned(),
        ResponseCode::NotAuth => "NOTAUTH".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::NotZone => "NOTZONE".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::YXDomain => "YXDOMAIN".to_owned(),
        ResponseCode::YXRRSet => "YXRRSET".to_owned(),
        code => format!("response code {}", u16::from(code)),
    }
}

/// Returns whether a server only says whom else to ask (RFC 2308, 2.2).
fn is_referral(message: &Message) -> bool {
    message.answers.is_empty()
        && !message.authoritative
        && has_authority(message, RecordType::NS)
        && !has_authority(message, RecordType::SOA)
}

/// Returns whether a message says "no such data" without the SOA that belongs to it (RFC 2308, 2.2, type 3).
pub(super) fn is_bare(message: &Message) -> bool {
    message.response_code == ResponseCode::NoError && !has_authority(message, RecordType::SOA)
}

fn has_authority(message: &Message, kind: RecordType) -> bool {
    message
        .authorities
        .iter()
        .any(|record| record.record_type() == kind)
}

pub(super) fn records_at<'a>(
    message: &'a Message,
    name: &'a Name,
    kind: RecordType,
) -> impl Iterator<Item = &'a Record> {
    message.answers.iter().filter(move |record| {
        record.record_type() == kind && record.dns_class == DNSClass::IN && record.name == *name
    })
}

/// Returns the records of a kind at the end of the CNAME chain within one message.
pub(super) fn follow(message: &Message, name: &Name, kind: RecordType) -> Vec<Record> {
    let mut owner = name.clone();
    for _ in 0..MAX_CHAIN {
        let records: Vec<Record> = records_at(message, &owner, kind).cloned().collect();
        match cname_at(message, &owner) {
            Some(target) if records.is_empty() => owner = target,
            _ => return records,
        }
    }
    Vec::new()
}

/// Returns where the CNAME record at a name leads.
pub(super) fn cname_at(message: &Message, name: &Name) -> Option<Name> {
    records_at(message, name, RecordType::CNAME).find_map(|record| match &record.data {
        RData::CNAME(target) => Some(target.0.clone()),
        _ => None,
    })
}

/// Returns the zone that an answer to a SOA question names, if it is one that can hold the name.
pub(super) fn zone_in(message: &Message, asked: &Name) -> Option<Name> {
    if let Some(own) = records_at(message, asked, RecordType::SOA).next() {
        return Some(own.name.clone());
    }
    // Behind a CNAME the SOA is that of the target's zone; an empty answer tells by its question that it is from there.
    let is_of_asked = message.queries.iter().all(|query| query.name == *asked);
    if !is_of_asked || cname_at(message, asked).is_some() {
        return None;
    }
    let soa = message
        .authorities
        .iter()
        .find(|record| record.record_type() == RecordType::SOA)?;
    soa.name.zone_of(asked).then(|| soa.name.clone())
}

pub(super) fn txt_rrset(records: &[Record]) -> TxtRrset {
    let values = records.iter().filter_map(|record| match &record.data {
        RData::TXT(txt) => Some(Txt::from_strings(txt.txt_data.iter())),
        _ => None,
    });
    TxtRrset {
        ttl: records.iter().map(|record| record.ttl).min().unwrap_or(0),
        values: values.collect(),
    }
}

/// Returns records of one type as values that can be changed.
///
/// # Errors
/// When the data of one is such that it could not be named in a change.
pub(super) fn rrset_of(
    name: &DomainName,
    kind: rdata::RecordType,
    records: &[Record],
) -> Result<Rrset, DnsError> {
    let values: Result<Vec<Rdata>, DnsError> = records.iter().map(|record| data_of(&record.data)).collect();
    Ok(Rrset {
        ttl: records.iter().map(|record| record.ttl).min().unwrap_or(0),
        values: values.map_err(|error| DnsError::Name(format!("the {kind} records of {name}: {error}")))?,
    })
}

/// Returns a record's data as a value of ours.
pub fn data_of(data: &RData) -> Result<Rdata, DnsError> {
    let target = |name: &Name| match name.is_root() {
        true => Ok(None),
        false => spelled(name).map(Some),
    };
    Ok(match data {
        RData::A(address) => Rdata::A(address.0),
        RData::AAAA(address) => Rdata::Aaaa(address.0),
        RData::CAA(caa) => Rdata::Caa {
            flags: caa.flags(),
            tag: caa.tag.clone(),
            value: caa.value.clone(),
        },
        RData::CNAME(name) => Rdata::Cname(spelled(&name.0)?),
        RData::MX(mx) => Rdata::Mx {
            preference: mx.preference,
            exchange: target(&mx.exchange)?,
        },
        RData::SRV(srv) => Rdata::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: target(&srv.target)?,
        },
        // RFC 6698, 2.2: without data it cannot be written.
        RData::TLSA(tlsa) if tlsa.cert_data.is_empty() => {
            return Err(DnsError::Name(
                "a TLSA record without data cannot be read".to_owned(),
            ));
        }
        RData::TLSA(tlsa) => Rdata::Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.clone(),
        },
        RData::TXT(txt) => Rdata::Txt(Txt::from_strings(txt.txt_data.iter())),
        other => return Err(DnsError::Name(format!("`{other}` cannot be read"))),
    })
}

/// Returns a value as hickory has it.
pub(super) fn record_data(value: &Rdata) -> Result<RData, DnsError> {
    let written = |name: &Spelled| raw_name(name.as_written());
    let target = |name: &Option<Spelled>| name.as_ref().map_or_else(|| Ok(Name::root()), written);
    Ok(match value {
        Rdata::A(address) => RData::A(A(*address)),
        Rdata::Aaaa(address) => RData::AAAA(AAAA(*address)),
        Rdata::Caa { flags, tag, value } => {
            let mut caa = CAA::new_issue(flags & 128 != 0, None, Vec::new());
            caa.reserved_flags = flags & 127;
            caa.tag.clone_from(tag);
            caa.value.clone_from(value);
            RData::CAA(caa)
        }
        Rdata::Cname(name) => RData::CNAME(CNAME(written(name)?)),
        Rdata::Mx { preference, exchange } => RData::MX(MX::new(*preference, target(exchange)?)),
        Rdata::Srv {
            priority,
            weight,
            port,
            target: host,
        } => RData::SRV(SRV::new(*priority, *weight, *port, target(host)?)),
        Rdata::Tlsa {
            usage,
            selector,
            matching,
            data,
        } => RData::TLSA(TLSA::new(
            (*usage).into(),
            (*selector).into(),
            (*matching).into(),
            data.clone(),
        )),
        Rdata::Txt(txt) => RData::TXT(TXT::from_bytes(txt.strings().iter().map(Vec::as_slice).collect())),
    })
}

/// Returns a type as hickory has it.
pub(super) fn wire_type(kind: rdata::RecordType) -> RecordType {
    match kind {
        rdata::RecordType::A => RecordType::A,
        rdata::RecordType::Aaaa => RecordType::AAAA,
        rdata::RecordType::Caa => RecordType::CAA,
        rdata::RecordType::Cname => RecordType::CNAME,
        rdata::RecordType::Mx => RecordType::MX,
        rdata::RecordType::Srv => RecordType::SRV,
        rdata::RecordType::Tlsa => RecordType::TLSA,
        rdata::RecordType::Txt => RecordType::TXT,
    }
}

pub(super) fn addresses(records: &[Record]) -> Vec<IpAddr> {
    let addresses = records.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    addresses.collect()
}

/// Returns a name as hickory has it; always absolute.
pub(super) fn wire_name(name: &DomainName) -> Result<Name, DnsError> {
    raw_name(name.as_str())
}

/// Returns any text as a name, each label as it is: what macros make need not be a host name.
pub(super) fn raw_name(text: &str) -> Result<Name, DnsError> {
    let labels = text
        .split('.')
        .filter(|label| !label.is_empty())
        .map(str::as_bytes);
    let mut name = Name::from_labels(labels).map_err(|error| DnsError::Name(format!("`{text}`: {error}")))?;
    name.set_fqdn(true);
    Ok(name)
}

/// Returns a name's text in lower case without the trailing dot; odd octets are escaped as `\DDD`.
pub fn text_of(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.strip_suffix('.').map_or(text.clone(), str::to_owned)
}

fn spelled(name: &Name) -> Result<Spelled, DnsError> {
    Spelled::from_dns(&name.to_ascii()).map_err(|error| DnsError::Name(error.to_string()))
}

pub(super) fn domain_name(text: &str) -> Result<DomainName, DnsError> {
    DomainName::from_dns(text).map_err(|error| DnsError::Name(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::{
        op::{OpCode, Query},
        rr::rdata::{NS, SOA},
    };

    use super::*;

    fn name(text: &str) -> Name {
        raw_name(text).unwrap()
    }

    fn message(asked: &str, kind: RecordType) -> Message {
        let mut message = Message::response(1, OpCode::Query);
        message.add_query(Query::query(name(asked), kind));
        message
    }

    fn soa(owner: &str) -> Record {
        Record::from_rdata(
            name(owner),
            60,
            RData::SOA(SOA::new(name("ns"), name("root"), 1, 2, 3, 4, 5)),
        )
    }

    fn cname(owner: &str, target: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
    }

    #[test]
    fn follows_a_chain_within_one_answer() {
        let mut answer = message("a.test", RecordType::A);
        answer.add_answer(cname("a.test", "B.test"));
        answer.add_answer(cname("b.test", "c.test"));
        answer.add_answer(Record::from_rdata(
            name("c.test"),
            60,
            RData::A(A(Ipv4Addr::new(192, 0, 2, 1))),
        ));
        answer.add_answer(Record::from_rdata(
            name("d.test"),
            60,
            RData::A(A(Ipv4Addr::new(192, 0, 2, 2))),
        ));
        let found = follow(&answer, &name("a.test"), RecordType::A);
        assert_eq!(addresses(&found), [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))]);
        answer.answers.pop();
        answer.answers.pop();
        answer.add_answer(cname("c.test", "a.test"));
        assert!(follow(&answer, &name("a.test"), RecordType::A).is_empty());
    }

    #[test]
    fn finds_the_zone_in_an_answer() {
        let check = |answer: Option<Record>, authority: Option<Record>, expected: Option<&str>| {
            let mut found = message("x.mail.test", RecordType::SOA);
            found.add_answers(answer);
            found.add_authorities(authority);
            assert_eq!(zone_in(&found, &name("x.mail.test")), expected.map(name));
        };
        check(Some(soa("x.mail.test")), None, Some("x.mail.test"));
        check(None, Some(soa("mail.test")), Some("mail.test"));
        check(None, Some(soa("other.test")), None);
        check(Some(cname("x.mail.test", "y.test")), Some(soa("test")), None);
        check(None, None, None);
        let mut elsewhere = message("y.mail.test", RecordType::SOA);
        elsewhere.add_authority(soa("test"));
        assert_eq!(zone_in(&elsewhere, &name("x.mail.test")), None);
    }

    #[test]
    fn tells_referrals_from_empty_answers() {
        let mut found = message("x.mail.test", RecordType::TXT);
        assert_eq!(unusable(&found), None);
        found.add_authority(Record::from_rdata(
            name("mail.test"),
            60,
            RData::NS(NS(name("ns.test"))),
        ));
        assert_eq!(unusable(&found), Some(ServerFailure::Referral));
        found.metadata.authoritative = true;
        assert_eq!(unusable(&found), None);
        found.metadata.response_code = ResponseCode::ServFail;
        assert_eq!(
            unusable(&found),
            Some(ServerFailure::ResponseCode("SERVFAIL".to_owned()))
        );
    }

    #[test]
    fn keeps_the_strings_and_the_ttl_of_txt() {
        let txt = |ttl, strings: Vec<&[u8]>| {
            Record::from_rdata(name("a.test"), ttl, RData::TXT(TXT::from_bytes(strings)))
        };
        let rrset = txt_rrset(&[txt(300, vec![b"v=spf1 ", b"-all"]), txt(200, vec![b"\xff", b""])]);
        assert_eq!(rrset.ttl, 200);
        assert_eq!(
            rrset.values,
            [
                Txt::from_strings(["v=spf1 ", "-all"]),
                Txt::from_strings([&b"\xff"[..], b""])
            ]
        );
    }

    #[test]
    fn every_value_goes_to_the_wire_and_back() {
        use rdata::RecordType as Kind;
        for (kind, text) in [
            (Kind::A, "192.0.2.1"),
            (Kind::Aaaa, "2001:db8::1"),
            (Kind::Caa, "128 issue \"ca.test; accounturi=https://ca.test/1\""),
            (Kind::Caa, "1 issuemail \";\""),
            (Kind::Cname, "mail.test."),
            (Kind::Mx, "10 mail.test."),
            (Kind::Mx, "0 ."),
            (Kind::Srv, "0 1 993 imap.test."),
            (Kind::Srv, "0 0 0 ."),
            (Kind::Tlsa, "3 1 1 00ff"),
            (Kind::Tlsa, "200 201 202 00ff"),
            (Kind::Txt, "\"v=spf1 \" \"-all\""),
        ] {
            let value = Rdata::parse(kind, text).unwrap();
            let owner = name("x.test");
            let mut message = message("x.test", wire_type(kind));
            message.add_answer(Record::from_rdata(owner, 77, record_data(&value).unwrap()));
            let read = Message::from_vec(&message.to_vec().unwrap()).unwrap();
            let found = rrset_of(&"x.test".parse().unwrap(), kind, &read.answers).unwrap();
            assert_eq!((found.ttl, found.values), (77, vec![value]), "{text}");
        }
        let odd = Record::from_rdata(name("x.test"), 1, RData::MX(MX::new(1, name("a b.test"))));
        let error = rrset_of(&"x.test".parse().unwrap(), Kind::Mx, &[odd]).unwrap_err();
        assert!(error.to_string().contains("MX records of x.test"), "{error}");
    }

    #[test]
    fn asks_for_odd_names_as_they_are() {
        assert_eq!(name("joe+x.b_c.test").to_ascii(), "joe\\+x.b_c.test.");
        assert!(raw_name(&format!("{}.test", "a".repeat(64))).is_err());
        assert_eq!(text_of(&name("Mail.TEST")), "mail.test");
        assert_eq!(text_of(&Name::root()), "");
    }
}
