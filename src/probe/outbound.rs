//! What `check outbound` has to say about ports of other hosts: whether mail can leave, and what to do when it cannot. Pure.
//!
//! Many providers block port 25 for their customers (OP25B, "outbound port 25 blocking") and leave 587 and 465 open. Mail is
//! then queued for days before its sender learns of it; a glance at three ports tells it in seconds.

use super::{
    reach::{Seen, Way},
    sighting::Reply,
};
use crate::model::{
    finding::{Finding, Severity},
    name::DomainName,
};

/// The port between mail servers.
const SMTP: u16 = 25;
/// How many destinations a finding names.
const SHOWN: usize = 4;
/// What the remedies stand on.
const RELAY_REFERENCE: &str =
    "postconf(5), relayhost; Postfix SASL_README, Enabling SASL authentication in the SMTP client";

/// What is known of the mail server that wants to send.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// Whether it uses IPv4 and IPv6 (postconf(5), inet_protocols).
    pub protocols: Protocols,
    /// The type that its tables are made of (postconf(5), default_database_type).
    pub table_type: &'a str,
    /// The mail domains.
    pub domains: &'a [DomainName],
}

/// The address families that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Protocols {
    /// Reads `inet_protocols`: `all`, or some of `ipv4` and `ipv6`; without a value, both.
    pub fn parse(value: &str) -> Self {
        let has = |wanted: &str| {
            value
                .split(|c: char| c == ',' || c.is_whitespace())
                .any(|word| word.eq_ignore_ascii_case(wanted))
        };
        let all = value.trim().is_empty() || has("all");
        Self {
            v4: all || has("ipv4"),
            v6: all || has("ipv6"),
        }
    }
}

/// What one address family is good for.
enum Family<'a> {
    /// The source address is none of this host's.
    BadSource,
    /// Nothing was asked on port 25.
    NotAsked,
    /// Nothing at all answers.
    NothingAnswers(Vec<&'a Seen>),
    /// The host has no route.
    NoRoute,
    /// Port 25 of these hosts is open.
    Open(Vec<&'a Seen>),
    /// Port 25 is blocked, and these show that others are not.
    PortBlocked(Vec<&'a Seen>, Vec<&'a Seen>),
}

/// Judges how far other hosts could be reached directly.
pub fn direct(seen: &[Seen], sender: &Sender<'_>) -> Vec<Finding> {
    let of = |is_v4: bool| -> Vec<&Seen> {
        seen.iter()
            .filter(|one| one.destination.address.is_ipv4() == is_v4)
            .collect()
    };
    let families = [
        ("IPv4", sender.protocols.v4, family(&of(true))),
        ("IPv6", sender.protocols.v6, family(&of(false))),
    ];
    let n_open = families
        .iter()
        .filter(|(_, is_used, family)| *is_used && matches!(family, Family::Open(_)))
        .count();
    let n_routed = families
        .iter()
        .filter(|(_, is_used, family)| *is_used && !matches!(family, Family::NoRoute | Family::NotAsked))
        .count();
    let view = View {
        sender,
        is_open: n_open > 0,
        is_routed: n_routed > 0,
        is_blocked_over_v4: sender.protocols.v4 && matches!(families[0].2, Family::PortBlocked(..)),
    };
    families
        .iter()
        .filter(|(_, is_used, _)| *is_used)
        .flat_map(|(name, _, family)| view.tell(name, family))
        .collect()
}

fn family<'a>(seen: &[&'a Seen]) -> Family<'a> {
    let (smtp, others): (Vec<&Seen>, Vec<&Seen>) = seen
        .iter()
        .partition(|one| one.destination.address.port() == SMTP);
    let of = |list: &[&'a Seen], is: fn(&Way) -> bool| -> Vec<&'a Seen> {
        list.iter().copied().filter(|one| is(&one.way)).collect()
    };
    let is_open = |way: &Way| matches!(way, Way::Open(_));
    let is_refused = |way: &Way| *way == Way::Refused;
    if smtp.is_empty() {
        return Family::NotAsked;
    }
    if seen.iter().any(|one| one.way == Way::BadSource) {
        return Family::BadSource;
    }
    if seen.iter().all(|one| one.way == Way::NoRoute) {
        return Family::NoRoute;
    }
    if smtp.iter().any(|one| is_open(&one.way)) {
        return Family::Open(smtp);
    }
    let mut alive = of(&others, is_open);
    if alive.is_empty() && of(&smtp, is_refused).is_empty() {
        // A host that refuses another port itself was reached.
        alive = of(&others, is_refused);
    }
    if alive.is_empty() {
        Family::NothingAnswers(seen.to_vec())
    } else {
        Family::PortBlocked(smtp, alive)
    }
}

/// What the findings of one family depend on besides.
struct View<'a> {
    sender: &'a Sender<'a>,
    /// Whether port 25 is open over some family.
    is_open: bool,
    /// Whether there is a way out over some family.
    is_routed: bool,
    /// Whether port 25 alone is blocked over IPv4, and the way out was told there.
    is_blocked_over_v4: bool,
}

impl View<'_> {
    fn tell(&self, name: &str, family: &Family<'_>) -> Vec<Finding> {
        match family {
            Family::BadSource => {
                let parameter = if name == "IPv4" {
                    "smtp_bind_address"
                } else {
                    "smtp_bind_address6"
                };
                let evidence = format!("{parameter} is no address of this host: no mail leaves over {name}");
                vec![
                    Finding::new(Severity::Error, "outbound.bind-address", name, evidence)
                        .remedy(format!("set {parameter} to an address that `ip address` lists, or take it out of main.cf and master.cf"))
                        .reference("postconf(5), smtp_bind_address"),
                ]
            }
            Family::NotAsked => vec![Finding::new(
                Severity::Info,
                "outbound.not-asked",
                name,
                format!("none of the hosts to ask has an {name} address"),
            )],
            Family::NoRoute => vec![self.no_route(name)],
            Family::Open(smtp) => open(name, smtp),
            Family::NothingAnswers(all) => {
                let severity = if self.is_open {
                    Severity::Warning
                } else {
                    Severity::Error
                };
                let evidence = format!("no host answers over {name}: {}", told(all));
                let remedy = match self.is_open {
                    true => format!(
                        "mend the way out over {name}; until then `inet_protocols = {}` in main.cf saves each mail the wait",
                        other(name)
                    ),
                    false => "look at this host's routes and its own output rules (`ip route`, `nft list ruleset`), then ask \
                              the provider"
                        .to_owned(),
                };
                vec![
                    Finding::new(severity, "outbound.blocked", name, evidence)
                        .remedy(remedy)
                        .reference("postconf(5), inet_protocols"),
                ]
            }
            Family::PortBlocked(smtp, alive) => vec![self.port_blocked(name, smtp, alive)],
        }
    }

    fn no_route(&self, name: &str) -> Finding {
        let evidence = format!("this host has no way out over {name}");
        match (name, self.is_routed) {
            ("IPv6", true) => Finding::new(Severity::Info, "outbound.no-route", name, evidence),
            (_, true) => Finding::new(
                Severity::Error,
                "outbound.no-route",
                name,
                format!("{evidence}: most mail servers have no address of another kind"),
            )
            .remedy("give this host an IPv4 address or a gateway (NAT64), or a relayhost that it can reach")
            .reference("ip-route(8)"),
            (_, false) => Finding::new(Severity::Error, "outbound.no-route", name, evidence)
                .remedy("look at `ip address` and `ip route`")
                .reference("ip-route(8)"),
        }
    }

    /// Tells OP25B, and the two ways out of it.
    fn port_blocked(&self, name: &str, smtp: &[&Seen], alive: &[&Seen]) -> Finding {
        // Most mail servers have IPv4 alone: IPv6 being open is not enough.
        let severity = if self.is_open && name == "IPv6" {
            Severity::Warning
        } else {
            Severity::Error
        };
        let evidence = format!(
            "port 25 of other hosts is blocked over {name}, other ports are not (OP25B): {}; but {}",
            told(smtp),
            told(alive)
        );
        let remedy = if name == "IPv6" && self.is_blocked_over_v4 {
            "as for IPv4".to_owned()
        } else if severity == Severity::Warning {
            format!(
                "ask the provider to open port 25 for {name}; until then `inet_protocols = {}` in main.cf saves each mail the wait",
                other(name)
            )
        } else {
            format!(
                "where this host's own firewall blocks it (`nft list ruleset`, output), open it there; else ask the provider \
                 to open port 25 (often part of a fixed address), or send through the provider's relay:\n{}",
                relay_lines(self.sender)
            )
        };
        Finding::new(severity, "outbound.port-25-blocked", name, evidence)
            .remedy(remedy)
            .reference(RELAY_REFERENCE)
    }
}

/// Returns the value of `inet_protocols` that leaves a family out.
fn other(name: &str) -> &'static str {
    if name == "IPv4" { "ipv6" } else { "ipv4" }
}

/// Tells that mail can leave, and who does not want it.
fn open(name: &str, smtp: &[&Seen]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = smtp.iter().filter_map(|one| turned_away(one)).collect();
    let (good, bad): (Vec<&Seen>, Vec<&Seen>) = smtp.iter().partition(|one| matches!(one.way, Way::Open(_)));
    let mut evidence = format!("port 25 of other hosts is open over {name}: {}", told(&good));
    if !bad.is_empty() {
        evidence.push_str(&format!("; not everywhere: {}", told(&bad)));
    }
    findings.push(Finding::new(Severity::Ok, "outbound.ok", name, evidence));
    findings
}

/// A host that greets with a refusal: it does not take mail from this address at all.
fn turned_away(seen: &Seen) -> Option<Finding> {
    let Way::Open(Some(greeting @ Reply { code, .. })) = &seen.way else {
        return None;
    };
    (*code != 220).then(|| {
        Finding::new(
            Severity::Warning,
            "outbound.turned-away",
            place(seen),
            format!("it greets this host with {greeting}"),
        )
        .remedy(
            "look what the text says: most often the address is on a blocklist, or its PTR record is missing or generic",
        )
        .reference("RFC 5321, 3.1")
    })
}

/// Returns what main.cf, the password table and SPF must be for a relay; `PROVIDER` stands for what only the operator knows.
pub fn relay_lines(sender: &Sender<'_>) -> String {
    let kind = if sender.table_type.is_empty() {
        "hash"
    } else {
        sender.table_type
    };
    let spf: String = sender
        .domains
        .iter()
        .map(|domain| format!("\n{domain}. TXT \"v=spf1 mx include:SPF.PROVIDER.EXAMPLE -all\""))
        .collect();
    let spf = match spf.as_str() {
        "" => "\nTXT \"v=spf1 mx include:SPF.PROVIDER.EXAMPLE -all\" at each mail domain".to_owned(),
        _ => spf,
    };
    format!(
        "main.cf, port 587:\n\
         relayhost = [SMTP.PROVIDER.EXAMPLE]:587\n\
         smtp_tls_security_level = encrypt\n\
         smtp_sasl_auth_enable = yes\n\
         smtp_sasl_password_maps = {kind}:/etc/postfix/sasl_passwd\n\
         smtp_sasl_security_options = noanonymous\n\
         main.cf, where the provider wants port 465 instead:\n\
         relayhost = [SMTP.PROVIDER.EXAMPLE]:465\n\
         smtp_tls_wrappermode = yes\n\
         /etc/postfix/sasl_passwd, mode 0600, then `postmap {kind}:/etc/postfix/sasl_passwd` and `postfix reload`:\n\
         [SMTP.PROVIDER.EXAMPLE]:587 USER:PASSWORD\n\
         SPF, or receivers reject what the relay sends (the provider tells the name to include):{spf}\n\
         Debian needs libsasl2-modules for it, RHEL cyrus-sasl-plain; then `mailcert check outbound` looks at the relay"
    )
}

/// Returns a destination and how it went, for some of them.
fn told(seen: &[&Seen]) -> String {
    let mut texts: Vec<String> = seen
        .iter()
        .take(SHOWN)
        .map(|one| format!("{} {}", place(one), one.way.describe()))
        .collect();
    if seen.len() > SHOWN {
        texts.push(format!("and {} more", seen.len() - SHOWN));
    }
    texts.join(", ")
}

/// Returns a destination as `host:port`, with its address where that is something else.
fn place(seen: &Seen) -> String {
    let (host, address) = (&seen.destination.host, seen.destination.address);
    if address.ip().to_string() == *host {
        address.to_string()
    } else {
        format!("{host}:{} ({})", address.port(), address.ip())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probe::reach::Destination;

    const BOTH: Protocols = Protocols { v4: true, v6: true };

    fn seen(address: &str, way: &Way) -> Seen {
        let address: std::net::SocketAddr = address.parse().unwrap();
        Seen {
            destination: Destination {
                host: address.ip().to_string(),
                address,
            },
            way: way.clone(),
        }
    }

    fn greeting(code: u16) -> Way {
        Way::Open(Some(Reply {
            code,
            lines: vec!["mx.example.test".to_owned()],
        }))
    }

    /// Judges these and compares ids, severities and subjects.
    fn check(
        protocols: Protocols,
        world: &[(&str, &Way)],
        expected: &[(&str, Severity, &str)],
    ) -> Vec<Finding> {
        let world: Vec<Seen> = world.iter().map(|(address, way)| seen(address, way)).collect();
        let domains = ["example.jp".parse().unwrap()];
        let sender = Sender {
            protocols,
            table_type: "lmdb",
            domains: &domains,
        };
        let findings = direct(&world, &sender);
        let found: Vec<_> = findings
            .iter()
            .map(|finding| (finding.id, finding.severity, finding.subject.as_str()))
            .collect();
        assert_eq!(found, expected, "{world:?}");
        findings
    }

    #[test]
    fn says_op25b_when_port_25_alone_is_blocked() {
        let (open, dropped) = (greeting(220), Way::Dropped(Duration::from_secs(8)));
        let rejected = Way::Rejected("No route to host".to_owned());
        let mute = Way::Mute("the server closed the connection".to_owned());
        let blocked = ("outbound.port-25-blocked", Severity::Error, "IPv4");
        let only_v4 = ("outbound.not-asked", Severity::Info, "IPv6");
        for shut in [&dropped, &rejected, &Way::Refused, &mute] {
            let world = [
                ("192.0.2.1:25", shut),
                ("192.0.2.2:587", &open),
                ("192.0.2.2:465", &Way::Open(None)),
            ];
            let found = check(BOTH, &world, &[blocked, only_v4]);
            for line in [
                "relayhost = [SMTP.PROVIDER.EXAMPLE]:587\n",
                "smtp_sasl_password_maps = lmdb:/etc/postfix/sasl_passwd\n",
                "smtp_tls_security_level = encrypt\n",
                "smtp_tls_wrappermode = yes\n",
                "example.jp. TXT \"v=spf1 mx include:",
            ] {
                assert!(found[0].remedy.contains(line), "{}", found[0].remedy);
            }
        }
        // A host that refuses 587 itself was reached; one that refuses both may be anything.
        check(
            BOTH,
            &[("192.0.2.1:25", &dropped), ("192.0.2.1:587", &Way::Refused)],
            &[blocked, only_v4],
        );
        check(
            BOTH,
            &[("192.0.2.1:25", &Way::Refused), ("192.0.2.1:587", &Way::Refused)],
            &[("outbound.blocked", Severity::Error, "IPv4"), only_v4],
        );
    }

    #[test]
    fn judges_each_family_by_itself() {
        let (open, dropped, none) = (greeting(220), Way::Dropped(Duration::from_secs(8)), Way::NoRoute);
        let (v4, v6) = ("192.0.2.1:25", "[2001:db8::1]:25");
        let (v4_587, v6_587) = ("192.0.2.1:587", "[2001:db8::1]:587");
        let ok = |name| ("outbound.ok", Severity::Ok, name);
        check(BOTH, &[(v4, &open), (v6, &open)], &[ok("IPv4"), ok("IPv6")]);
        check(
            BOTH,
            &[(v4, &open), (v6, &none), (v6_587, &none)],
            &[ok("IPv4"), ("outbound.no-route", Severity::Info, "IPv6")],
        );
        check(
            BOTH,
            &[(v4, &none), (v6, &open)],
            &[("outbound.no-route", Severity::Error, "IPv4"), ok("IPv6")],
        );
        check(
            BOTH,
            &[(v4, &none), (v6, &none)],
            &[
                ("outbound.no-route", Severity::Error, "IPv4"),
                ("outbound.no-route", Severity::Error, "IPv6"),
            ],
        );
        // Open over IPv6 alone is not enough; blocked over IPv6 alone costs time.
        check(
            BOTH,
            &[(v4, &dropped), (v4_587, &open), (v6, &open)],
            &[("outbound.port-25-blocked", Severity::Error, "IPv4"), ok("IPv6")],
        );
        check(
            BOTH,
            &[(v4, &open), (v6, &dropped), (v6_587, &open)],
            &[
                ok("IPv4"),
                ("outbound.port-25-blocked", Severity::Warning, "IPv6"),
            ],
        );
        check(
            BOTH,
            &[(v4, &open), (v6, &dropped), (v6_587, &dropped)],
            &[ok("IPv4"), ("outbound.blocked", Severity::Warning, "IPv6")],
        );
        // What Postfix does not use is not judged.
        check(
            Protocols::parse("ipv4"),
            &[(v4, &open), (v6, &dropped)],
            &[ok("IPv4")],
        );
        check(
            BOTH,
            &[(v4, &Way::BadSource), (v6, &open)],
            &[("outbound.bind-address", Severity::Error, "IPv4"), ok("IPv6")],
        );
    }

    #[test]
    fn one_host_that_does_not_answer_or_turns_us_away_is_no_block() {
        let dropped = Way::Dropped(Duration::from_secs(8));
        let found = check(
            Protocols::parse("ipv4"),
            &[
                ("192.0.2.1:25", &greeting(220)),
                ("192.0.2.2:25", &dropped),
                ("192.0.2.3:25", &greeting(554)),
            ],
            &[
                ("outbound.turned-away", Severity::Warning, "192.0.2.3:25"),
                ("outbound.ok", Severity::Ok, "IPv4"),
            ],
        );
        assert!(
            found[1]
                .evidence
                .contains("not everywhere: 192.0.2.2:25 no answer within 8 s"),
            "{found:?}"
        );
    }

    #[test]
    fn reads_inet_protocols() {
        let check =
            |value: &str, v4, v6| assert_eq!(Protocols::parse(value), Protocols { v4, v6 }, "{value}");
        check("", true, true);
        check("all", true, true);
        check("ipv4", true, false);
        check("ipv6", false, true);
        check("ipv6, ipv4", true, true);
    }
}
