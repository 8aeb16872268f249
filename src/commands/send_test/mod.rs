//! `send-test`: submits one message as a mail program does, and follows it in the log and the queue until it is known what
//! became of it. Needs no configuration when the server is named.

mod letter;
mod trouble;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::Serialize;
use zeroize::Zeroizing;

use super::{CONFIG_LIMIT, hex, load_config, new_runtime};
use crate::{
    env::{Env, files, mail_log::Follower, process, progress::Progress},
    error::{Error, ExitCode, Result},
    model::{
        address::MailAddress,
        endpoint::{Endpoint, Peer, Scheme},
        name::DomainName,
    },
    postfix::{
        inspect::{self, Instance},
        queue::{self, Queued},
        submission::port_of,
        trail::{Delivery, Status, Trail},
    },
    probe::{
        Client, Handshake, Target, load_roots,
        submit::{self, Accepted, Refused, Step, Submission, Verification},
    },
};
use letter::Letter;
use trouble::{last_words, refusal, trouble};

pub use crate::probe::submit::Login;

/// Where Postfix is when no configuration says so.
const POSTFIX: &str = "/etc/postfix";
/// The pause between two looks at the log.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the log may be silent about a message before the queue is asked, and the pause between such questions.
const SILENCE: Duration = Duration::from_secs(2);

/// What is sent, by whom, through which server.
pub struct Request {
    /// The sender.
    pub from: MailAddress,
    /// The recipient.
    pub to: MailAddress,
    /// Who logs in; `None`: nobody.
    pub login: Option<Login>,
    /// The server; `None`: the configured host.
    pub server: Option<Peer>,
    /// The name that its certificate has to be for; `None`: the server's.
    pub name: Option<DomainName>,
    /// Roots instead of the system's.
    pub root_ca_file: Option<PathBuf>,
    /// Whether its certificate has to be good.
    pub certificate: Certificate,
    /// The subject.
    pub subject: String,
    /// How long all of it may take.
    pub within: Duration,
}

/// Whether the server's certificate has to be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Whatever it is.
    Any,
    /// As mail programs demand it.
    Good,
}

/// What became of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It came back.
    Bounced,
    /// It waits in the queue.
    Deferred,
    /// It arrived, at a mailbox or at the next server.
    Delivered,
    /// The server did not take it.
    Refused,
    /// The server took it, and nothing here tells more.
    Unknown,
}

/// A message, and what became of it.
#[derive(Debug, Serialize)]
pub struct Sent {
    /// What became of it.
    pub outcome: Fate,
    /// The sender.
    pub from: String,
    /// The recipient.
    pub to: String,
    /// Its Message-ID, without brackets.
    pub message_id: String,
    /// The server that it was submitted to.
    pub server: Endpoint,
    /// The server's address; `None` when none could be connected to.
    pub address: Option<SocketAddr>,
    /// How TLS was negotiated, when the message was taken.
    pub tls: Option<Tls>,
    /// The mechanism that was logged in by.
    pub mechanism: Option<&'static str>,
    /// Where the submission ended, when it was refused.
    pub refused_at: Option<Step>,
    /// The queue id.
    pub queue_id: Option<String>,
    /// How the last try for each recipient went.
    pub deliveries: Vec<Delivery>,
    /// Where was looked for it.
    pub followed: Vec<String>,
    /// What went wrong.
    #[serde(skip)]
    pub error: Option<Error>,
}

/// The encryption of a submission.
#[derive(Debug, Serialize)]
pub struct Tls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub protocol: String,
    /// The cipher suite's IANA name.
    pub cipher_suite: String,
    /// Whether the certificate was verified; it is not where the operator wants it so.
    pub verified: bool,
}

impl Sent {
    /// Returns 0 when it was delivered, 4 when that is still open, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self.outcome {
            Fate::Delivered => ExitCode::Done,
            Fate::Bounced | Fate::Refused => ExitCode::Failed,
            Fate::Deferred | Fate::Unknown => ExitCode::NotYet,
        }
    }
}

/// Where the message goes.
struct Place {
    host: DomainName,
    server: Peer,
    directory: PathBuf,
    instance: Option<Instance>,
}

/// Sends the message and follows it.
///
/// # Errors
/// Exit 2 when there is neither a configuration nor a server, or nothing to verify the server by; what the server refuses is
/// in the outcome.
pub fn run(env: &Env, config: &Path, progress: &Progress, request: &Request) -> Result<Sent> {
    let started = Instant::now();
    let place = Place::find(env, config, request)?;
    let endpoint = place.endpoint();
    let roots = match request.certificate {
        Certificate::Any => None,
        Certificate::Good => Some(load_roots(env, request.root_ca_file.as_deref()).map_err(|error| {
            Error::usage("the server's certificate cannot be verified")
                .cause(error)
                .remedy("name the roots by --root-ca-file, or send all the same with --no-verify")
        })?),
    };
    let name = request
        .name
        .clone()
        .or_else(|| endpoint.host.parse().ok())
        .unwrap_or_else(|| place.host.clone());
    let letter = Letter {
        from: &request.from,
        to: &request.to,
        subject: &request.subject,
        host: &place.host,
        now: env.clock.now(),
        nonce: &nonce()?,
    };
    let (from, to) = (
        request.from.completed(&place.host).to_string(),
        request.to.completed(&place.host).to_string(),
    );
    let message = letter.message();
    let submission = Submission {
        verification: match &roots {
            None => Verification::Waived,
            Some(roots) => Verification::Demanded {
                name: &name,
                roots,
                now: env.clock.now(),
            },
        },
        login: request.login.as_ref(),
        from: &from,
        to: &to,
        message: &message,
        within: request.within,
    };
    let client = Client::new(place.host.clone())
        .map_err(|error| Error::failed("the server cannot be asked").cause(error))?;
    let mut follower = Follower::begin(
        env,
        place.instance.as_ref().and_then(Instance::own_log),
        env.clock.now(),
    );
    progress.step(&format!("submitting to {endpoint}"));
    let (address, submitted) = new_runtime()?.block_on(async {
        let targets = Target::resolve(&endpoint, Some(&name)).await;
        let mut last = (None, Err(unconnected("the server has no address")));
        for target in targets {
            last = match &target.address {
                Err(reason) => (None, Err(unconnected(reason))),
                Ok(address) => (
                    Some(*address),
                    submit::submit(&client, &target, *address, &submission).await,
                ),
            };
            // The next address is for when nobody is at this one.
            if !matches!(&last.1, Err(refused) if refused.step == Step::Connect) {
                break;
            }
        }
        last
    });
    let mut sent = Sent {
        outcome: Fate::Refused,
        from,
        to,
        message_id: letter.message_id(),
        server: endpoint,
        address,
        tls: None,
        mechanism: None,
        refused_at: None,
        queue_id: None,
        deliveries: Vec::new(),
        followed: Vec::new(),
        error: None,
    };
    match submitted {
        Err(refused) => {
            sent.refused_at = Some(refused.step);
            sent.error = Some(refusal(&sent, &refused, request));
        }
        Ok(accepted) => {
            sent.tls = Some(tls(&accepted.handshake, request.certificate));
            sent.mechanism = accepted.mechanism;
            let left = request.within.saturating_sub(started.elapsed());
            Pursuit {
                env,
                progress,
                place: &place,
                follower: &mut follower,
                until: Instant::now() + left,
            }
            .run(&accepted, &mut sent);
            sent.followed = follower.describe();
            sent.error = trouble(&sent, &accepted, request);
        }
    }
    Ok(sent)
}

fn unconnected(reason: &str) -> Refused {
    Refused {
        step: Step::Connect,
        reason: reason.to_owned(),
        reply: None,
    }
}

fn tls(handshake: &Handshake, certificate: Certificate) -> Tls {
    Tls {
        protocol: handshake.protocol.clone(),
        cipher_suite: handshake.cipher_suite.clone(),
        verified: certificate == Certificate::Good,
    }
}

/// Returns what no other message has.
fn nonce() -> Result<String> {
    let mut bytes = [0; 12];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::failed("there are no random numbers to be had"))?;
    Ok(hex(&bytes))
}

/// Takes the first line of a password's text; PLAIN has no room for a NUL (RFC 4616, 2).
///
/// # Errors
/// Exit 2 when it is none. Its text is not in the error.
pub fn password(text: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let fault = match line {
        [] => "it is empty",
        line if line.contains(&0) => "it has a NUL in it",
        line => return Ok(Zeroizing::new(line.to_vec())),
    };
    Err(Error::usage("the password cannot be used").cause(fault))
}

impl Place {
    fn find(env: &Env, config: &Path, request: &Request) -> Result<Self> {
        let is_there = !matches!(files::read_if_exists(config, CONFIG_LIMIT), Ok(None));
        let loaded = match is_there || request.server.is_none() {
            true => Some(load_config(config).map_err(|error| {
                error.remedy("or name the server: `mailcert send-test FROM TO --server HOST:587`")
            })?),
            false => None,
        };
        let directory = loaded.as_ref().map_or_else(
            || env.host_path(POSTFIX),
            |config| config.postfix.config_directory.clone(),
        );
        let own = nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok());
        let host = match &loaded {
            Some(config) => Some(config.host.name.clone()),
            None => own
                .and_then(|name| name.parse().ok())
                .or_else(|| "localhost".parse().ok()),
        };
        let host = host.ok_or_else(|| Error::failed("this host has no name to say EHLO with"))?;
        let server = request.server.clone().unwrap_or_else(|| Peer {
            host: host.to_string(),
            port: None,
        });
        Ok(Self {
            instance: inspect::inspect(env, &directory).ok(),
            host,
            server,
            directory,
        })
    }

    /// Returns where the message is submitted: the port that is said, else 587, or 465 where Postfix has that one alone.
    fn endpoint(&self) -> Endpoint {
        let has = |port: u16| {
            self.instance.as_ref().is_some_and(|instance| {
                let mut services = instance.services.iter();
                services.any(|service| port_of(service, &instance.values, &instance.host) == Some(port))
            })
        };
        let port = self
            .server
            .port
            .unwrap_or(if !has(587) && has(465) { 465 } else { 587 });
        Endpoint {
            scheme: match port {
                465 => Scheme::Submissions,
                _ => Scheme::Submission,
            },
            host: self.server.host.clone(),
            port,
        }
    }
}

/// The pursuit of a message that was taken.
struct Pursuit<'a, 'f> {
    env: &'a Env,
    progress: &'a Progress,
    place: &'a Place,
    follower: &'f mut Follower,
    until: Instant,
}

impl Pursuit<'_, '_> {
    /// Follows until it is known what became of it, or time is up.
    fn run(&mut self, accepted: &Accepted, sent: &mut Sent) {
        let mut trail = Trail::new(&sent.message_id, &accepted.reply.lines.join(" "));
        let mut queued = None;
        let mut asked_at = Instant::now();
        let mut told = None;
        self.progress.step("following it");
        loop {
            for line in self.follower.more() {
                trail.read(&line);
            }
            if trail.is_over() || Instant::now() >= self.until {
                break;
            }
            let status = trail.status();
            if status != told && status == Some(Status::Deferred) {
                self.progress.done(&format!(
                    "deferred, and followed on: {}",
                    last_words(trail.deliveries())
                ));
                told = status;
            }
            if status.is_none() && asked_at.elapsed() >= SILENCE {
                queued = self.ask_queue(&trail);
                asked_at = Instant::now();
                // Without a line of the log nothing more will ever be known.
                if queued == Some(Queued::Gone) {
                    break;
                }
            }
            process::pause(PAUSE);
        }
        if trail.status().is_none() && queued.is_none() {
            queued = self.ask_queue(&trail);
        }
        sent.queue_id = trail.queue_id().map(str::to_owned);
        sent.deliveries = trail.deliveries().to_vec();
        sent.outcome = match (trail.status(), queued) {
            (Some(Status::Delivered), _) if trail.is_over() => Fate::Delivered,
            // A part is on its way still.
            (Some(Status::Delivered | Status::Deferred), _) => Fate::Deferred,
            (Some(Status::Bounced), _) => Fate::Bounced,
            (None, Some(Queued::Waiting { queue, reasons })) => {
                let reasons = match reasons.is_empty() {
                    true => vec![format!("it is in the queue `{queue}`")],
                    false => reasons,
                };
                let id = sent.queue_id.clone().unwrap_or_default();
                sent.deliveries = reasons
                    .into_iter()
                    .map(|text| waiting(&id, &sent.to, text))
                    .collect();
                Fate::Deferred
            }
            (None, _) => Fate::Unknown,
        };
    }

    fn ask_queue(&self, trail: &Trail) -> Option<Queued> {
        let id = trail.queue_id()?;
        self.place.instance.as_ref()?;
        queue::ask(self.env, &self.place.directory, id)
    }
}

/// What the queue says of a message, as the log would.
fn waiting(queue_id: &str, recipient: &str, text: String) -> Delivery {
    Delivery {
        queue_id: queue_id.to_owned(),
        recipient: recipient.to_owned(),
        status: Status::Deferred,
        dsn: String::new(),
        relay: String::new(),
        delay: String::new(),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_line() {
        let check = |text: &[u8], expected: Option<&[u8]>| {
            assert_eq!(
                password(text).ok().map(|line| line.to_vec()).as_deref(),
                expected,
                "{text:?}"
            );
        };
        check(b"secret\n", Some(b"secret"));
        check(b"secret\r\nmore", Some(b"secret"));
        check(" ä ".as_bytes(), Some(" ä ".as_bytes()));
        check(b"", None);
        check(b"\nsecret", None);
        check(b"a\0b", None);
    }
}
