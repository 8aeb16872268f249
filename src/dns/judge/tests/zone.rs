//! A scripted world: `NAME TYPE VALUE` lines; what is not there does not exist. `!` for a value is a failure, `!bogus` one
//! that DNSSEC is the reason of; `@ADDRESS NAME TYPE VALUE` is what one name server has, in the place of the others'.
//! `ADDRESS:PORT SILENT` is a port that nobody listens at. `NAME INSECURE` takes the AD bit from all answers at and below a name.

use std::{net::SocketAddr, sync::LazyLock};

use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use time::macros::datetime;

use super::super::*;
use crate::{
    dns::{
        desired,
        error::{DnsError, ServerFailure},
        facts::{Kind, Page, Reply, Served, Service, Status},
        signing::SigningKey,
        tlsa::Tlsa,
    },
    model::{
        key::{KeyType, PrivateKey},
        rdata::RecordType,
        record::caa::Property,
    },
};

/// What the ports serve, and a certificate of another key.
pub static SERVED: LazyLock<(Vec<u8>, Tlsa)> =
    LazyLock::new(|| certificate(&["mail.example.test", "backup.example.test"]));

/// As above, of another name.
static OTHER: LazyLock<(Vec<u8>, Tlsa)> = LazyLock::new(|| certificate(&["other.test"]));

/// The key that signs.
pub static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate(KeyType::Rsa(2048)).unwrap());

fn certificate(names: &[&str]) -> (Vec<u8>, Tlsa) {
    let key = KeyPair::generate().unwrap();
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_before = datetime!(2026-01-01 0:00 UTC);
    params.not_after = datetime!(2027-01-01 0:00 UTC);
    let certificate = params.self_signed(&key).unwrap();
    (
        certificate.der().to_vec(),
        Tlsa::for_key(&key.subject_public_key_info()),
    )
}

/// Returns the record that names the key of a certificate as one of a CA (RFC 7671, 5.2).
fn as_anchor(record: &Tlsa) -> String {
    format!("2{}", &record.to_string()[1..])
}

/// The lines of a world.
#[derive(Clone)]
pub struct Zone {
    lines: Vec<String>,
}

const GOOD: &str = "\
test NS ns.test
ns.test A 198.51.100.53
 NS a.root.test
example.test NS ns1.example.test
example.test NS ns2.example.test
ns1.example.test A 198.51.100.1
ns2.example.test A 198.51.100.2
example.test MX 10 mail.example.test
example.test MX 20 backup.example.test
example.test TXT v=spf1 mx -all
example.test A 198.51.100.80
mail.example.test A 198.51.100.25
mail.example.test AAAA 2001:db8::25
mail.example.test TXT v=spf1 a -all
backup.example.test A 198.51.100.26
backup.example.test AAAA 2001:db8::26
198.51.100.25 PTR mail.example.test
2001:db8::25 PTR mail.example.test
198.51.100.26 PTR backup.example.test
2001:db8::26 PTR backup.example.test
_dmarc.example.test TXT v=DMARC1; p=quarantine; rua=mailto:dmarc@example.test
_mta-sts.example.test TXT v=STSv1; id=20260101
mta-sts.example.test A 198.51.100.80
mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: enforce\\nmx: *.example.test\\nmax_age: 604800\\n
_smtp._tls.example.test TXT v=TLSRPTv1; rua=mailto:tls@reports.test
example.test CAA 0 issue letsencrypt.org; validationmethods=http-01; accounturi=https://ca.test/a/1
_submissions._tcp.example.test SRV 0 1 465 mail.example.test
_imaps._tcp.example.test SRV 0 1 993 mail.example.test
_pop3s._tcp.example.test SRV 0 0 0 .
";

impl Zone {
    /// Returns a world in which all is well.
    pub fn good() -> Self {
        let mut zone = Self {
            lines: GOOD.lines().map(str::to_owned).collect(),
        };
        for host in ["mail", "backup"] {
            zone.add(&format!("_25._tcp.{host}.example.test TLSA {}", SERVED.1));
            zone.add(&format!(
                "_25._tcp.{host}.example.test TLSA 3 1 1 {}",
                "ab".repeat(32)
            ));
        }
        let key = SigningKey::from_file(KEY.to_pem().as_bytes()).unwrap();
        zone.add(&format!("s1._domainkey.example.test TXT {}", key.record()));
        zone
    }

    /// Adds a line.
    pub fn add(&mut self, line: &str) {
        if !line.contains('$') {
            self.lines.push(line.to_owned());
            return;
        }
        let line = line
            .replace("$SERVED", &SERVED.1.to_string())
            .replace("$PKCS1", &base64_pkcs1())
            .replace("$ANCHOR", &as_anchor(&OTHER.1))
            .replace("$ITSELF", &as_anchor(&SERVED.1));
        let line = match line.ends_with(" TXT $LONG") {
            true => line.replace("$LONG", &"x".repeat(1300)),
            false => line,
        };
        self.lines.push(line);
    }

    /// Removes the lines that begin with this.
    pub fn remove(&mut self, prefix: &str) {
        let before = self.lines.len();
        self.lines.retain(|line| !line.starts_with(prefix));
        assert!(self.lines.len() < before, "nothing begins with `{prefix}`");
    }

    /// Returns the subject of this role: the domain, or the host. `. SUBJECT WORD VALUE` lines change it.
    pub fn subject(&self, role: Role) -> Subject {
        let (domain, host): (DomainName, DomainName) = (
            "example.test".parse().unwrap(),
            "mail.example.test".parse().unwrap(),
        );
        let addresses = vec!["198.51.100.25".parse().unwrap(), "2001:db8::25".parse().unwrap()];
        let of = |word: &str| self.values(".", word).map(str::to_owned).collect::<Vec<String>>();
        let ours = Ours {
            host: host.clone(),
            ehlo: of("EHLO").pop().unwrap_or_else(|| host.to_string()),
            interfaces: addresses.clone(),
            sending: Sending {
                host: host.clone(),
                addresses: match of("SENDS").as_slice() {
                    [] => addresses,
                    sends => sends.iter().map(|one| one.parse().unwrap()).collect(),
                },
                relay: None,
            },
            authority: Some(Authority {
                identities: match of("CA").pop().as_deref() {
                    Some("unnamed") => Vec::new(),
                    _ => vec!["letsencrypt.org".to_owned()],
                },
                account: Some("https://ca.test/a/1".to_owned()),
                method: "http-01",
                identifiers: vec![host.to_string().parse().unwrap()],
            }),
            ports: vec![25],
            published: self.values(".", "WANTS").map(wanted).collect(),
        };
        let key = match of("KEY").pop().as_deref() {
            Some("none") => None,
            Some("other") => Some(Ok(SigningKey::Rsa { pkcs1: vec![1] })),
            Some("garbage") => Some(SigningKey::from_file(b"\x1b[31m")),
            _ => Some(SigningKey::from_file(KEY.to_pem().as_bytes())),
        };
        Subject {
            name: if role == Role::Host { host } else { domain },
            role,
            ours: (role != Role::Any).then_some(ours),
            selectors: match of("SELECTOR").pop().as_deref() {
                Some("none") => Vec::new(),
                _ => vec![Selector {
                    name: "s1".to_owned(),
                    key,
                }],
            },
            now: match of("YEAR").pop() {
                Some(year) => datetime!(2026-06-01 0:00 UTC)
                    .replace_year(year.parse().unwrap())
                    .unwrap(),
                None => datetime!(2026-06-01 0:00 UTC),
            },
            reach: Reach::Everything,
        }
    }

    /// Answers a question.
    pub fn reply(&self, question: &Question) -> Reply {
        let mut status = Status {
            authenticated: true,
            ..Status::default()
        };
        let (name, kind, server) = match question {
            Question::Addresses(name, Family::V4) => (name.clone(), "A", None),
            Question::Addresses(name, Family::V6) => (name.clone(), "AAAA", None),
            Question::At(server, name, kind) => {
                let word = match kind {
                    Kind::Address(Family::V4) => "A",
                    Kind::Address(Family::V6) => "AAAA",
                    Kind::Caa => "CAA",
                    Kind::Mx => "MX",
                    Kind::Tlsa => "TLSA",
                    Kind::Txt => "TXT",
                };
                (name.clone(), word, Some(server))
            }
            Question::Caa(name) => (name.clone(), "CAA", None),
            Question::Chain(host, _) => (host.clone(), "CHAIN", None),
            Question::Mx(name) => (name.clone(), "MX", None),
            Question::Ns(name) => (name.clone(), "NS", None),
            Question::Page(host, ..) => (host.clone(), "PAGE", None),
            Question::Ptr(address) => (address.to_string(), "PTR", None),
            Question::SpfType(name) => (name.clone(), "SPF", None),
            Question::Srv(name) => (name.clone(), "SRV", None),
            Question::Tlsa(name) => (name.clone(), "TLSA", None),
            Question::Txt(name) => (name.clone(), "TXT", None),
        };
        let mut owner = name.clone();
        if server.is_none() {
            for _ in 0..3 {
                let target = self.values(&owner, "CNAME").next().map(str::to_owned);
                let Some(target) = target else { break };
                status.aliases.push(target.clone());
                owner = target;
            }
        }
        let values = match server {
            Some(server) => self.at(server, &owner, kind),
            None => self.values(&owner, kind).collect(),
        };
        let below = |prefix: &str| owner == prefix || owner.ends_with(&format!(".{prefix}"));
        let insecure = self
            .lines
            .iter()
            .filter_map(|line| line.strip_suffix(" INSECURE"));
        status.authenticated = !insecure.into_iter().any(below);
        status.no_such_name = self.has(&format!("{owner} NXDOMAIN"));
        status.size = values.iter().map(|value| value.len() + 12).sum();
        status.ttl = self
            .values(&owner, "TTL")
            .next()
            .map_or(60, |ttl| ttl.parse().unwrap());
        if let Question::Chain(_, address) = question
            && self.has(&format!("{address} SILENT"))
        {
            return Reply {
                answer: Answer::Unreached("connecting: refused".to_owned()),
                status,
            };
        }
        if let Some(failure) = values.first().filter(|value| value.starts_with('!')) {
            status.bogus = (*failure == "!bogus").then(|| "DNSSEC: a signature has expired".to_owned());
            let answer = match question {
                Question::Chain(..) | Question::Page(..) => Answer::Unreached("nobody listens".to_owned()),
                _ => Answer::Failed(DnsError::Server {
                    server: "192.0.2.53:53".parse().unwrap(),
                    question: format!("{name} {kind}"),
                    failure: ServerFailure::ResponseCode("SERVFAIL".to_owned()),
                }),
            };
            return Reply { answer, status };
        }
        Reply {
            answer: answer(question, kind, &values),
            status,
        }
    }

    fn has(&self, line: &str) -> bool {
        self.lines.iter().any(|known| known == line)
    }

    fn values<'z>(&'z self, name: &'z str, kind: &'z str) -> impl Iterator<Item = &'z str> {
        let head = format!("{name} {kind} ");
        self.lines.iter().filter_map(move |line| line.strip_prefix(&head))
    }

    fn at<'z>(&'z self, server: &SocketAddr, name: &'z str, kind: &'z str) -> Vec<&'z str> {
        let own = format!("@{} {name} {kind}", server.ip());
        if self.lines.iter().any(|line| line.starts_with(&own)) {
            let head = format!("{own} ");
            return self
                .lines
                .iter()
                .filter_map(|line| line.strip_prefix(&head))
                .collect();
        }
        self.values(name, kind).collect()
    }
}

/// Reads `NAME TYPE VALUE`.
fn wanted(line: &str) -> Wanted {
    let mut words = line.splitn(3, ' ');
    let (name, kind, value) = (
        words.next().unwrap(),
        words.next().unwrap(),
        words.next().unwrap(),
    );
    let family = match name.split('.').next().unwrap() {
        "_dmarc" => desired::Family::Dmarc,
        "_mta-sts" => desired::Family::MtaSts,
        "_smtp" => desired::Family::TlsRpt,
        _ => desired::Family::Srv,
    };
    desired::tests::wanted(name, family, RecordType::from_name(kind).unwrap(), &[value])
}

fn base64_pkcs1() -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    match SigningKey::from_file(KEY.to_pem().as_bytes()).unwrap() {
        SigningKey::Rsa { pkcs1 } => BASE64_STANDARD.encode(pkcs1),
        SigningKey::Ed25519 { .. } => unreachable!(),
    }
}

fn answer(question: &Question, kind: &str, values: &[&str]) -> Answer {
    let words = |value: &&str| value.split(' ').map(str::to_owned).collect::<Vec<String>>();
    match kind {
        "A" | "AAAA" => Answer::Addresses(values.iter().map(|value| value.parse().unwrap()).collect()),
        "CAA" => Answer::Caa(
            values
                .iter()
                .map(|value| {
                    let mut parts = value.splitn(3, ' ');
                    Property {
                        critical: parts.next() == Some("128"),
                        tag: parts.next().unwrap().to_owned(),
                        value: parts.next().unwrap().as_bytes().to_vec(),
                    }
                })
                .collect(),
        ),
        "CHAIN" => Answer::Chain(Served {
            chain: match values {
                [] | ["untrusted"] => vec![SERVED.0.clone()],
                ["anchor", ..] => vec![OTHER.0.clone()],
                [names, ..] => {
                    vec![certificate(&words(names).iter().map(String::as_str).collect::<Vec<_>>()).0]
                }
            },
            distrust: (values == ["untrusted"]).then(|| "its issuer is no trusted root".to_owned()),
        }),
        "MX" => {
            let mut found: Vec<(u16, String)> = values
                .iter()
                .map(|value| {
                    let (preference, host) = value.split_once(' ').unwrap();
                    (preference.parse().unwrap(), host.trim_matches('.').to_owned())
                })
                .collect();
            found.sort();
            Answer::Exchanges(found)
        }
        "PAGE" => match values {
            [] => Answer::Unreached("nobody listens".to_owned()),
            [value, ..] => {
                let mut parts = value.splitn(3, ' ');
                Answer::Page(Page {
                    status: parts.next().unwrap().parse().unwrap(),
                    media_type: parts.next().unwrap().to_owned(),
                    body: parts
                        .next()
                        .unwrap_or_default()
                        .replace("\\n", "\n")
                        .replace("$LONG", &"x".repeat(65_600))
                        .into_bytes(),
                })
            }
        },
        "NS" | "PTR" => Answer::Names(values.iter().map(|value| (*value).to_owned()).collect()),
        "SRV" => Answer::Services(
            values
                .iter()
                .map(|value| {
                    let words = words(value);
                    Service {
                        priority: words[0].parse().unwrap(),
                        weight: words[1].parse().unwrap(),
                        port: words[2].parse().unwrap(),
                        target: words[3].trim_matches('.').to_owned(),
                    }
                })
                .collect(),
        ),
        "TLSA" => Answer::Tlsa(
            values
                .iter()
                .map(|value| {
                    let words = words(value);
                    let octets = words[3].as_bytes().chunks(2);
                    Tlsa {
                        usage: words[0].parse().unwrap(),
                        selector: words[1].parse().unwrap(),
                        matching: words[2].parse().unwrap(),
                        data: octets
                            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                            .collect(),
                    }
                })
                .collect(),
        ),
        _ => {
            assert!(matches!(kind, "TXT" | "SPF"), "{question:?}");
            Answer::Texts(values.iter().map(|value| value.as_bytes().to_vec()).collect())
        }
    }
}
