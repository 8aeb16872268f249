//! What the DNS, and what it leads to, has answered so far. Pure.
//!
//! A decision that depends on many answers is a function of [`Facts`]: it either decides or names the next question, and
//! is called again when the answer is known. So SPF is evaluated without IO, for several addresses with one set of
//! answers, and for records that are not published yet.
//!
//! Each question that was open is remembered, also those that a decision only announced ([`Facts::want`]): whoever asks
//! them all at once needs no longer than the longest chain of questions of which each needs the answer before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use super::{error::DnsError, tlsa::Tlsa};
use crate::model::record::caa::Property;

/// A question, its name in lower case without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Addresses of one family.
    Addresses(String, Family),
    /// What one authoritative server has itself at a name, CNAMEs not followed.
    At(SocketAddr, String, Kind),
    /// CAA records.
    Caa(String),
    /// The certificates that a port serves to a client that asks for the name.
    Chain(String, SocketAddr),
    /// Mail exchangers.
    Mx(String),
    /// Names of a zone's authoritative servers.
    Ns(String),
    /// The document at `https://HOST/PATH`, asked at these addresses.
    Page(String, &'static str, Vec<IpAddr>),
    /// Names of an address.
    Ptr(IpAddr),
    /// SPF records of the obsolete type 99 (RFC 7208, 3.1).
    SpfType(String),
    /// SRV records.
    Srv(String),
    /// TLSA records.
    Tlsa(String),
    /// TXT values, strings joined.
    Txt(String),
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

/// What authoritative servers are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Addresses of one family.
    Address(Family),
    /// CAA records.
    Caa,
    /// Mail exchangers.
    Mx,
    /// TLSA records.
    Tlsa,
    /// TXT values.
    Txt,
}

/// An answer; an empty one is "no such name" or "no such data" (RFC 7208, 4.6.4, "void").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Addresses`].
    Addresses(Vec<IpAddr>),
    /// To [`Question::Caa`].
    Caa(Vec<Property>),
    /// To [`Question::Chain`].
    Chain(Served),
    /// To [`Question::At`] where the name is an alias: what it leads to.
    Elsewhere(String),
    /// To [`Question::Mx`], best first, with their preference; the root is empty text.
    Exchanges(Vec<(u16, String)>),
    /// The DNS could not tell, and why.
    Failed(DnsError),
    /// To [`Question::Ns`] and [`Question::Ptr`].
    Names(Vec<String>),
    /// To [`Question::Page`].
    Page(Page),
    /// To [`Question::Srv`].
    Services(Vec<Service>),
    /// To [`Question::Txt`] and [`Question::SpfType`].
    Texts(Vec<Vec<u8>>),
    /// To [`Question::Tlsa`].
    Tlsa(Vec<Tlsa>),
    /// To [`Question::Chain`] and [`Question::Page`]: nothing came, and why. Fit for a terminal.
    Unreached(String),
}

/// What a port serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Its certificates in DER, the leaf first.
    pub chain: Vec<Vec<u8>>,
    /// Why no trusted root vouches for them; `None` when one does. Name and time are not looked at.
    pub distrust: Option<String>,
}

/// What a web server answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// The media type without parameters, in lower case.
    pub media_type: String,
    /// The body, at most 64 KiB and one octet.
    pub body: Vec<u8>,
}

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// The priority.
    pub priority: u16,
    /// The weight.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The target; the root is empty text.
    pub target: String,
}

/// What came with an answer of the DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the resolver says that DNSSEC proves it (RFC 6840, 5.8).
    pub authenticated: bool,
    /// Whether there is no such name at all (RFC 8020).
    pub no_such_name: bool,
    /// The names that the CNAME records led through, without the first.
    pub aliases: Vec<String>,
    /// The TTL in seconds, the smallest of the records.
    pub ttl: u32,
    /// Octets of the message.
    pub size: usize,
    /// Why the answer does not validate, when the resolver failed for that.
    pub bogus: Option<String>,
}

/// An answer with what came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// What came with it.
    pub status: Status,
}

/// The answers known so far. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    replies: Arc<BTreeMap<Question, Reply>>,
    /// One answer that is supposed.
    supposed: Option<Arc<(Question, Reply)>>,
    /// What was asked for and is not known; shared by the clones.
    open: Arc<Mutex<BTreeSet<Question>>>,
    /// The servers that are asked in the place of those that the NS records name; none: those.
    servers: Arc<[SocketAddr]>,
}

/// A decision, or the question whose answer it needs first.
pub type Asked<T> = Result<T, Question>;

impl Answer {
    /// Returns the names of an answer, best first; none for an answer of another kind.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Names(names) => names.clone(),
            Self::Exchanges(found) => found.iter().map(|(_, host)| host.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the addresses of an answer; none for an answer of another kind.
    pub fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Addresses(addresses) => addresses,
            _ => &[],
        }
    }

    /// Returns the TXT values of an answer; none for an answer of another kind.
    pub fn texts(&self) -> &[Vec<u8>] {
        match self {
            Self::Texts(texts) => texts,
            _ => &[],
        }
    }

    /// Returns why the DNS could not tell, where it could not.
    pub fn failure(&self) -> Option<&DnsError> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

static UNKNOWN: Status = Status {
    authenticated: false,
    no_such_name: false,
    aliases: Vec::new(),
    ttl: 0,
    size: 0,
    bogus: None,
};

impl Facts {
    /// Returns no answers yet; `servers` are taken for the authoritative ones of every zone where there are any
    /// (`dns.servers`, with a split horizon).
    pub fn with_servers(servers: &[SocketAddr]) -> Self {
        Self {
            servers: servers.into(),
            ..Self::default()
        }
    }

    /// Returns the servers that are asked in the place of those that the NS records name; none: those.
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Returns the answer to a question.
    ///
    /// # Errors
    /// Hands the question back when it is still open.
    pub fn get(&self, question: &Question) -> Asked<&Answer> {
        match self.reply(question) {
            Some(reply) => Ok(&reply.answer),
            None => {
                self.lock().insert(question.clone());
                Err(question.clone())
            }
        }
    }

    /// Announces that a question will be needed.
    pub fn want(&self, question: Question) {
        if self.reply(&question).is_none() {
            self.lock().insert(question);
        }
    }

    /// Returns what came with the answer to a question; nothing is known about one that is open.
    pub fn status(&self, question: &Question) -> &Status {
        self.reply(question).map_or(&UNKNOWN, |reply| &reply.status)
    }

    /// Returns whether a question is answered.
    pub fn knows(&self, question: &Question) -> bool {
        self.reply(question).is_some()
    }

    fn reply(&self, question: &Question) -> Option<&Reply> {
        match &self.supposed {
            Some(supposed) if supposed.0 == *question => Some(&supposed.1),
            _ => self.replies.get(question),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<Question>> {
        // A set of questions is whole whatever its last user did.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the questions that were open since the last call.
    pub fn take_open(&self) -> BTreeSet<Question> {
        std::mem::take(&mut *self.lock())
    }

    /// Returns every question that was answered, with the answer.
    pub fn replies(&self) -> impl Iterator<Item = (&Question, &Reply)> {
        self.replies.iter()
    }

    /// Keeps an answer.
    pub fn insert(&mut self, question: Question, answer: Answer) {
        let status = Status::default();
        self.insert_reply(question, Reply { answer, status });
    }

    /// Keeps an answer with what came with it.
    pub fn insert_reply(&mut self, question: Question, reply: Reply) {
        Arc::make_mut(&mut self.replies).insert(question, reply);
    }

    /// Returns the number of answers.
    pub fn len(&self) -> usize {
        self.replies.len()
    }

    /// Returns whether nothing has been answered.
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// Returns these facts with a name's TXT values replaced: the world as it would be with another record.
    #[must_use]
    pub fn with_txt(&self, name: &str, values: Vec<Vec<u8>>) -> Self {
        let reply = Reply {
            answer: Answer::Texts(values),
            status: Status::default(),
        };
        Self {
            supposed: Some(Arc::new((Question::Txt(name.to_owned()), reply))),
            ..self.clone()
        }
    }
}

impl Family {
    /// Both families.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Returns the family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}
