//! "Ask before spending" (`design`, 6.2): what would make a CA refuse is looked for before an order is made there.
//!
//! A CA counts failed validations and, some of them, orders. So its questions are asked first: do the names resolve, does
//! CAA let this CA, account and method (RFC 8659, RFC 8657), is a token seen at every address of every name. For dns-01:
//! does every server of the zone answer for it, and may our key change the name. A wrong answer refuses. A connection that
//! fails only from this host is a note: behind NAT it often does.
//!
//! A refusal costs none of the CA's limits, and backs off like any other failure all the same (1, 10, 100 minutes, then
//! daily, sooner towards the end of the certificate): a zone is mended by a person, who then types `renew --force`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use futures_util::{future::join_all, stream, stream::StreamExt as _};

use super::{Context, ca, dns};
use crate::{
    acme::{
        AcmeError,
        account::Session,
        challenge::{BoxFuture, ChallengeResponse, ChallengeType, Present, Verdict as Told},
        directory::Directory,
        order::Stop,
    },
    dns::{
        challenge::Dns01,
        error::Lag,
        provider::{Listing, Provider},
        resolver::Resolver,
        survey::{self, Addresses},
    },
    env::progress::Progress,
    error::{Error, Result},
    model::{
        authority,
        name::{DomainName, Identifier},
        record::caa::{self, Request, Verdict},
    },
    probe::{
        http01::{self, Look, Token},
        tls_alpn01,
    },
};

/// Addresses of one name that are looked at; more are a mistake or an attack.
const MAX_ADDRESSES: usize = 16;
/// Looks at the same time.
const LOOKS_AT_ONCE: usize = 32;

/// What is about to be ordered, and where.
#[derive(Clone, Copy)]
pub struct Flight<'a> {
    /// Whom to order it from: its directory says how CAA records name it, its account's URL may stand in them.
    pub session: &'a Session,
    /// What will put the challenges in place.
    pub solver: &'a Arc<dyn Present>,
    /// The names.
    pub identifiers: &'a [Identifier],
}

/// Looks for what would make the CA refuse; returns what the operator should know besides.
///
/// Called before each new order, at each CA that is tried.
///
/// # Errors
/// When the CA would refuse, with each name that is at fault: no order was made.
pub async fn preflight(context: &Context<'_>, flight: Flight<'_>) -> Result<Vec<String>> {
    let examiner = Examiner::new(context, flight)?;
    context.progress.step("asking what the CA will ask");
    let names = examiner.names();
    let mut findings = examiner.survey(&names).await;
    if findings.faults.is_empty() {
        findings.add(examiner.rehearse(flight.solver, &findings.addresses).await?);
    }
    findings.into_result("no order was made")
}

/// Returns a solver for an order that is resumed: once it has put the challenges in place, it looks at them as the CA
/// will, and the CA is told only when they are seen.
///
/// # Errors
/// When the DNS provider cannot be used.
pub fn before_answering(context: &Context<'_>, flight: Flight<'_>) -> Result<Arc<dyn Present>> {
    Ok(Arc::new(Looking {
        examiner: Examiner::new(context, flight)?,
        solver: Arc::clone(flight.solver),
        progress: context.progress.clone(),
    }))
}

/// A solver that looks at what it has put in place.
struct Looking {
    examiner: Examiner,
    solver: Arc<dyn Present>,
    progress: Progress,
}

impl Looking {
    async fn look(&self, responses: &[ChallengeResponse]) -> Result<Vec<String>> {
        let names = responses.iter().map(|response| response.name.clone()).collect();
        let mut findings = self.examiner.survey(&names).await;
        if findings.faults.is_empty() {
            let seen = self.examiner.look(responses, &findings.addresses).await;
            findings.add(seen);
        }
        findings.into_result("the CA was not told to look; the order stays")
    }
}

impl Present for Looking {
    fn challenge_type(&self) -> ChallengeType {
        self.solver.challenge_type()
    }

    fn present<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        Box::pin(async move {
            self.solver.present(responses).await?;
            let notes = self
                .look(responses)
                .await
                .map_err(|error| AcmeError::NotSeen(Box::new(error)))?;
            for note in notes {
                self.progress.done(&note);
            }
            Ok(())
        })
    }

    fn cleanup<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        self.solver.cleanup(responses)
    }

    fn judged<'a>(&'a self, responses: &'a [ChallengeResponse], verdict: Told<'a>) -> BoxFuture<'a, ()> {
        self.solver.judged(responses, verdict)
    }

    fn may_be_tried(&self) -> bool {
        self.solver.may_be_tried()
    }

    fn cleanup_limit(&self, n_responses: usize) -> std::time::Duration {
        self.solver.cleanup_limit(n_responses)
    }
}

/// What was found.
#[derive(Default)]
struct Findings {
    /// What a CA would refuse for; each with its remedies.
    faults: Vec<Fault>,
    /// What may be wrong, or may only look so from here.
    notes: Vec<String>,
    /// The addresses of each name.
    addresses: BTreeMap<DomainName, Vec<IpAddr>>,
}

/// One thing that a CA would refuse for.
struct Fault {
    text: String,
    remedy: String,
}

impl Findings {
    fn fault(&mut self, text: String, remedy: impl Into<String>) {
        let remedy = remedy.into();
        self.faults.push(Fault { text, remedy });
    }

    fn add(&mut self, other: Self) {
        self.faults.extend(other.faults);
        self.notes.extend(other.notes);
    }

    fn into_result(self, spent: &str) -> Result<Vec<String>> {
        if self.faults.is_empty() {
            return Ok(self.notes);
        }
        let mut error = Error::failed(format!("the CA would refuse, so {spent}"));
        let mut remedies: Vec<String> = Vec::new();
        for fault in self.faults {
            error = error.cause(fault.text);
            if !remedies.contains(&fault.remedy) {
                remedies.push(fault.remedy);
            }
        }
        let error = self.notes.into_iter().fold(error, Error::cause);
        Err(remedies.into_iter().fold(error, Error::remedy))
    }
}

/// Asks what one CA will ask about one certificate.
struct Examiner {
    resolver: Resolver,
    /// Where challenge records are written; with dns-01 alone, and where no program of the operator's does it.
    provider: Option<Arc<dyn Provider>>,
    identifiers: Vec<Identifier>,
    challenge: ChallengeType,
    /// What the CA recognizes itself by in CAA records.
    identities: Vec<String>,
    account: String,
    stop: Stop,
}

impl Examiner {
    fn new(context: &Context<'_>, flight: Flight<'_>) -> Result<Self> {
        let challenge = flight.solver.challenge_type();
        Ok(Self {
            resolver: dns::resolver(context),
            provider: match challenge {
                // Programs of the operator's write where we have no key.
                ChallengeType::Dns01 if flight.solver.may_be_tried() => Some(dns::provider(context)?),
                _ => None,
            },
            identifiers: flight.identifiers.to_vec(),
            challenge,
            identities: identities(flight.session.directory()),
            account: flight.session.account_url().to_owned(),
            stop: context.stop(),
        })
    }

    /// Returns the names that are validated, each once.
    fn names(&self) -> BTreeSet<DomainName> {
        self.identifiers
            .iter()
            .map(|identifier| identifier.base().clone())
            .collect()
    }

    /// Asks the DNS about these names, everything at once.
    async fn survey(&self, names: &BTreeSet<DomainName>) -> Findings {
        let mut findings = Findings::default();
        let places = async {
            match self.challenge {
                ChallengeType::Dns01 => (
                    BTreeMap::new(),
                    join_all(names.iter().map(|name| self.zone(name))).await,
                ),
                _ => (survey::addresses_of(&self.resolver, names).await, Vec::new()),
            }
        };
        let (caa, (addresses, zones)) = tokio::join!(survey::caa_above(&self.resolver, names), places);
        for (name, found) in addresses {
            self.judge_addresses(&name, &found, &mut findings);
            findings.addresses.insert(name, found.found);
        }
        for zone in zones {
            findings.add(zone);
        }
        let of_names = |identifier: &&Identifier| names.contains(identifier.base());
        for identifier in self.identifiers.iter().filter(of_names) {
            self.judge_caa(identifier, &caa, &mut findings);
        }
        findings
    }

    fn judge_addresses(&self, name: &DomainName, found: &Addresses, findings: &mut Findings) {
        let failed = found.failed.join("; ");
        match (found.found.is_empty(), found.failed.is_empty()) {
            (false, true) => {}
            (false, false) => findings
                .notes
                .push(format!("{name}: not all of its addresses are known: {failed}")),
            (true, false) => findings.fault(
                format!("{name}: nobody can say its address: {failed}"),
                format!("look why with `dig {name}`, and mend its zone or dns.resolvers"),
            ),
            (true, true) => {
                let what = match found.exists {
                    true => "has neither an A nor an AAAA record",
                    false => "does not exist in the DNS (NXDOMAIN)",
                };
                findings.fault(
                    format!("{name} {what}"),
                    format!(
                        "publish an A or AAAA record at {name} that leads to this host, or take {name} out of identifiers"
                    ),
                );
            }
        }
    }

    fn judge_caa(
        &self,
        identifier: &Identifier,
        answers: &BTreeMap<DomainName, survey::Answer<Vec<caa::Property>>>,
        findings: &mut Findings,
    ) {
        let answer = |owner: &DomainName| match answers.get(owner) {
            Some(Ok(properties)) => Ok(properties.as_slice()),
            Some(Err(reason)) => Err(reason.as_str()),
            None => Err("it was not asked for"),
        };
        let (owner, properties) = match caa::relevant(identifier.base(), answer) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err((owner, reason)) => {
                return findings.fault(
                    format!(
                        "{identifier}: nobody can say whether CAA at {owner} lets the CA issue: {reason}"
                    ),
                    format!(
                        "look why with `dig {owner} CAA`: while that fails, no CA may issue (RFC 8659, 3)"
                    ),
                );
            }
        };
        let request = Request {
            identities: &self.identities,
            account: &self.account,
            method: self.challenge.name(),
            wildcard: identifier.is_wildcard(),
        };
        match caa::judge(properties, &request) {
            Verdict::Allowed => {}
            Verdict::Unknown => findings.notes.push(format!(
                "{identifier}: CAA at {owner} names the CAs that may issue, and this CA does not say what its name is there"
            )),
            Verdict::Refused(refusal) => {
                let who = self.identities.first().map_or("this CA", String::as_str);
                let method = self.challenge.name();
                let remedy = match self.identities.first() {
                    Some(identity) => format!(
                        "publish at {owner}, beside the others or in their place: CAA 0 {} \"{identity}\"",
                        request.tag(properties)
                    ),
                    None => format!("change the CAA records at {owner}"),
                };
                findings.fault(
                    format!(
                        "{identifier}: CAA at {owner} does not let {who} issue to {} by {method}: {refusal}",
                        self.account
                    ),
                    remedy,
                );
            }
        }
    }

    /// Looks whether dns-01 can be done for a name: its zone is there, all its servers answer, our key may write.
    async fn zone(&self, name: &DomainName) -> Findings {
        let mut findings = Findings::default();
        let writer = Dns01 {
            resolver: &self.resolver,
            provider: &(),
            timeout: std::time::Duration::ZERO,
        };
        let value = random_text().unwrap_or_default();
        let located = match writer.locate(&[(name.clone(), value)]).await {
            Ok(located) => located,
            Err(error) => {
                findings.fault(
                    format!("{name}: there is no place for its challenge: {error}"),
                    format!("look whether {name} is in a zone that is delegated: `dig {name} SOA`"),
                );
                return findings;
            }
        };
        for record in located.records {
            let (zone, owner) = (&record.zone, &record.name);
            let (lame, written) = tokio::join!(survey::lame_servers(&self.resolver, zone), async {
                match &self.provider {
                    // Taking away a value that is not there changes nothing, and needs all that a challenge needs.
                    Some(provider) if provider.capabilities().list == Listing::Own => {
                        provider.remove(zone, owner, &record.data()).await
                    }
                    _ => Ok(()),
                }
            });
            match lame {
                Ok(lame) => lame
                    .iter()
                    .for_each(|lag| lame_fault(name, zone, lag, &mut findings)),
                Err(error) => findings.fault(
                    format!("{name}: {error}"),
                    format!(
                        "look whether {zone} is delegated to servers that have addresses: `dig {zone} NS`"
                    ),
                ),
            }
            if let Err(error) = written {
                let told = dns::failure(
                    format!("{name}: its challenge cannot be written at {owner}"),
                    &error,
                );
                let remedy = told.remedies.first().cloned();
                findings.fault(
                    told.to_string(),
                    remedy.unwrap_or_else(|| "look whether dns.provider is right".to_owned()),
                );
            }
        }
        findings
    }

    /// Puts tokens of our own in place, looks at them as a CA does, and takes them away.
    async fn rehearse(
        &self,
        solver: &Arc<dyn Present>,
        addresses: &BTreeMap<DomainName, Vec<IpAddr>>,
    ) -> Result<Findings> {
        match self.challenge {
            _ if !solver.may_be_tried() => return Ok(Findings::default()),
            // Seen on every server before the CA is told; nothing is written twice for it.
            ChallengeType::Dns01 => return Ok(Findings::default()),
            ChallengeType::Http01 | ChallengeType::TlsAlpn01 => {}
        }
        let responses = self
            .names()
            .into_iter()
            .map(probe_response)
            .collect::<Result<Vec<_>>>()?;
        let looked = async {
            solver.present(&responses).await?;
            tokio::select! {
                findings = self.look(&responses, addresses) => Ok(findings),
                () = self.stop.wanted() => Err(AcmeError::Interrupted),
            }
        };
        let looked = looked.await;
        let cleaned = solver.cleanup(&responses).await;
        let doing = "the challenge cannot be put in place; no order was made";
        let mut findings = looked.map_err(|error| ca::failure(doing, &error))?;
        if let Err(error) = cleaned {
            findings.notes.push(format!("a probe was left behind: {error}"));
        }
        Ok(findings)
    }

    /// Looks at responses that are in place, at every address of every name.
    async fn look(
        &self,
        responses: &[ChallengeResponse],
        addresses: &BTreeMap<DomainName, Vec<IpAddr>>,
    ) -> Findings {
        let mut findings = Findings::default();
        let port = match self.challenge {
            ChallengeType::Dns01 => return findings,
            ChallengeType::Http01 => 80,
            ChallengeType::TlsAlpn01 => 443,
        };
        let mut looks = Vec::new();
        for response in responses {
            let of_name = addresses.get(&response.name).into_iter().flatten();
            looks.extend(
                of_name
                    .take(MAX_ADDRESSES)
                    .map(|address| self.look_at(response, *address)),
            );
        }
        let looked: Vec<_> = stream::iter(looks).buffered(LOOKS_AT_ONCE).collect().await;
        for (name, address, look) in looked {
            match look {
                Look::Right => {}
                Look::Unreachable(reason) => findings.notes.push(format!(
                    "{name}: this host cannot reach {address} port {port} itself ({reason}); if the CA can, all is well"
                )),
                Look::Wrong(reason) => findings.fault(
                    format!("{name}: the challenge is not seen at {address}: {reason}"),
                    match self.challenge {
                        ChallengeType::TlsAlpn01 => format!(
                            "another server has {name} at {address}: lead the name or port 443 to this host, without a proxy \
                             that ends TLS, or use http-01 or dns-01"
                        ),
                        _ => format!(
                            "another web server has {name} at {address}: lead the name or port 80 to this host, or set \
                             acme.challenge.webroot to the directory that it serves"
                        ),
                    },
                ),
            }
        }
        findings
    }

    async fn look_at<'r>(
        &self,
        response: &'r ChallengeResponse,
        address: IpAddr,
    ) -> (&'r DomainName, IpAddr, Look) {
        if self.challenge == ChallengeType::TlsAlpn01 {
            let look = tls_alpn01::look(&response.name, address, &response.key_authorization).await;
            return (&response.name, address, look);
        }
        let token = Token {
            token: &response.token,
            expected: &response.key_authorization,
        };
        let resolve = |name: DomainName| async move {
            let found = self.resolver.addresses(&name).await;
            found.map_err(|error| error.to_string())
        };
        let look = http01::look(&response.name, address, token, resolve).await;
        (&response.name, address, look)
    }
}

/// Returns what a CA recognizes itself by in CAA records: as its directory says, else as is known of it.
fn identities(directory: &Directory) -> Vec<String> {
    let said = &directory.meta().caa_identities;
    match authority::by_directory(&directory.url) {
        Some(known) if said.is_empty() => known
            .caa_identities
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        _ => said.clone(),
    }
}

fn lame_fault(name: &DomainName, zone: &DomainName, lag: &Lag, findings: &mut Findings) {
    findings.fault(
        format!(
            "{name}: {} is named as a server of {zone} and does not answer for it: {}",
            lag.server, lag.said
        ),
        format!("mend that server, or take it out of the NS records of {zone}"),
    );
}

/// Makes a response that no order has.
fn probe_response(name: DomainName) -> Result<ChallengeResponse> {
    let token = random_text()?;
    Ok(ChallengeResponse {
        name,
        key_authorization: format!("{token}.{}", random_text()?),
        token,
        txt: String::new(),
    })
}

/// Returns as much randomness as RFC 8555, 8.3 wants of a token, in its alphabet.
fn random_text() -> Result<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Error::failed("this host has no randomness; no order was made"))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}
