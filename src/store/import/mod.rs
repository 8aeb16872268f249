//! What other ACME clients keep on disk: their lineages, accounts, hooks and how they prove names.
//!
//! [`tree`] reads a client's directory into a plain listing, and nothing is ever written to it; one file for each client
//! says, purely, what the listing means.

pub mod acme_sh;
pub mod assignments;
pub mod certbot;
pub mod cloud;
pub mod dehydrated;
pub mod ini;
pub mod lego;
pub mod tree;
pub mod tsig;

use std::path::{Path, PathBuf};

use crate::{
    config::{
        Challenge, ReuseKey,
        hook::{ChallengeStyle, Command, Style},
    },
    env::files::FileError,
    model::key::{KeyError, PrivateKey},
};
use tree::Tree;

/// Another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// acme.sh 3.
    AcmeSh,
    /// certbot, from 2 on.
    Certbot,
    /// dehydrated 0.7.
    Dehydrated,
    /// lego 4 and 5.
    Lego,
}

impl Client {
    /// Every client, by name.
    pub const ALL: [Self; 4] = [Self::AcmeSh, Self::Certbot, Self::Dehydrated, Self::Lego];

    /// Returns its name, as `mailcert import` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AcmeSh => "acme.sh",
            Self::Certbot => "certbot",
            Self::Dehydrated => "dehydrated",
            Self::Lego => "lego",
        }
    }

    /// Returns the client of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|client| client.name() == name)
    }

    /// Returns the places where it keeps its directory on most hosts, the likeliest first.
    pub fn usual_places(self) -> &'static [&'static str] {
        match self {
            Self::AcmeSh => &["/root/.acme.sh", "/etc/acme.sh"],
            Self::Certbot => &["/etc/letsencrypt"],
            Self::Dehydrated => &["/etc/dehydrated"],
            Self::Lego => &["/etc/lego", "/var/lib/lego", "/root/.lego"],
        }
    }
}

/// All that a client's directory says. What is wrong with a part is said with it: nothing is left out in silence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its lineages, by name.
    pub lineages: Vec<ForeignLineage>,
    /// Its accounts.
    pub accounts: Vec<ForeignAccount>,
    /// Hooks for every lineage.
    pub hooks: Vec<ForeignHook>,
    /// What is there and cannot be taken over, for the operator.
    pub notes: Vec<String>,
}

/// One lineage of another client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignLineage {
    /// As that client calls it.
    pub name: String,
    /// The private key's file, as [`Tree`] has it.
    pub key: String,
    /// The file with leaf and chain.
    pub chain: String,
    /// The file with the chain, where the other one has the leaf alone.
    pub issuers: Option<String>,
    /// The URL of the CA's directory, or only its host where the client keeps no more; `None`: not kept.
    pub server: Option<Server>,
    /// The account that it is ordered by, as that client calls it, where the lineage says so.
    pub account: Option<String>,
    /// How its names are proven.
    pub method: Method,
    /// Whether a renewal keeps the key; `None`: the client keeps no word of it.
    pub reuse_key: Option<ReuseKey>,
    /// The CA's profile that it is ordered by.
    pub profile: Option<String>,
    /// The topmost issuer that is wanted.
    pub preferred_chain: Option<String>,
    /// Its own hooks.
    pub hooks: Vec<ForeignHook>,
    /// Why it cannot be taken over, where that is known already.
    pub fault: Option<String>,
    /// What is lost with it, for the operator.
    pub notes: Vec<String>,
}

impl ForeignLineage {
    /// Returns a lineage of which nothing is known but its files.
    pub fn new(name: &str, key: String, chain: String) -> Self {
        Self {
            name: name.to_owned(),
            key,
            chain,
            issuers: None,
            server: None,
            account: None,
            method: Method::Unknown("is not on record".to_owned()),
            reuse_key: None,
            profile: None,
            preferred_chain: None,
            hooks: Vec::new(),
            fault: None,
            notes: Vec::new(),
        }
    }
}

/// A CA as another client remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// The host of its directory, and a port where one is written.
    Host(String),
    /// Its directory's URL.
    Url(String),
}

impl Server {
    /// Returns whether this is the CA with this directory.
    pub fn is(&self, directory: &str) -> bool {
        match self {
            Self::Host(host) => host_of(directory) == Some(host),
            Self::Url(url) => url == directory,
        }
    }
}

/// Returns host and port of a URL, as they are written.
pub fn host_of(url: &str) -> Option<&str> {
    url.split_once("://")?.1.split(['/', '?', '#']).next()
}

/// An account of another client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignAccount {
    /// The CA.
    pub server: Server,
    /// As that client calls it.
    pub id: String,
    /// The account's URL; `None` where it is not kept: the CA tells it to whoever has the key.
    pub url: Option<String>,
    /// The file with its key, as [`Tree`] has it.
    pub key: String,
    /// How the key is written.
    pub form: KeyForm,
}

/// How an account's key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// A JSON Web Key (RFC 7517).
    Jwk,
    /// PEM.
    Pem,
}

impl ForeignAccount {
    /// Reads its key.
    ///
    /// # Errors
    /// What is wrong with the file, as the end of a sentence.
    pub fn read_key(&self, tree: &Tree) -> Result<PrivateKey, String> {
        let bytes = tree.file(&self.key)?;
        let key = match self.form {
            KeyForm::Jwk => PrivateKey::from_jwk(bytes),
            KeyForm::Pem => PrivateKey::from_pem(bytes),
        };
        key.map_err(|error: KeyError| format!("{}: {error}", tree.place(&self.key).display()))
    }
}

/// How a client proves names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// As we do it, too.
    Own(Challenge),
    /// By a program, which is run for us as it was for that client.
    Hook(ForeignChallenge),
    /// By the API of a DNS host, with credentials that are kept in a file.
    Cloud(&'static cloud::Plugin, PathBuf),
    /// By dynamic updates with a key that is kept in a file.
    Rfc2136(KeyFile),
    /// By dynamic updates with a key that is in the client's own files.
    Rfc2136Key(tsig::Key),
    /// In a manner that is not on record or that we do not have: the end of a sentence about it.
    Unknown(String),
}

/// Where the key for dynamic updates is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFile {
    /// certbot's credentials file.
    Certbot(PathBuf),
    /// BIND's key file, and the server.
    Named {
        /// The server, an address with a port.
        server: String,
        /// The file.
        file: PathBuf,
    },
}

/// A program that proves names.
#[derive(Clone, PartialEq, Eq)]
pub struct ForeignChallenge {
    /// Whether it writes TXT records, rather than files of a web server.
    pub is_dns: bool,
    /// Whose conventions it follows.
    pub style: ChallengeStyle,
    /// What is run.
    pub command: Command,
    /// Variables that it needs: credentials. Secret.
    pub variables: Vec<(String, String)>,
}

impl std::fmt::Debug for ForeignChallenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.variables.iter().map(|(name, _)| name.as_str()).collect();
        write!(
            f,
            "ForeignChallenge({:?} {:?} {names:?})",
            self.style, self.command
        )
    }
}

/// A program that is run around renewals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignHook {
    /// When.
    pub event: Event,
    /// Whose conventions it follows.
    pub style: Style,
    /// What is run.
    pub command: Command,
}

/// When a hook is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// After a renewal.
    Deploy,
    /// At the end.
    Post,
    /// Before anything else.
    Pre,
}

impl Event {
    /// Returns its list in `[hooks]`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Post => "post",
            Self::Pre => "pre",
        }
    }
}

/// Reads a client's directory and says what is in it.
///
/// # Errors
/// When the directory itself cannot be read; what is wrong inside is in the result.
pub fn gather(client: Client, place: &Path) -> Result<(Tree, Found), FileError> {
    match client {
        Client::AcmeSh => {
            let tree = Tree::read(place, acme_sh::is_wanted)?;
            let found = acme_sh::read(&tree);
            Ok((tree, found))
        }
        Client::Certbot => {
            let tree = Tree::read(place, certbot::is_wanted)?;
            let found = certbot::read(&tree);
            Ok((tree, found))
        }
        Client::Dehydrated => {
            let mut tree = Tree::read(place, dehydrated::is_configuration)?;
            for (name, there) in dehydrated::places(&tree) {
                tree.graft(&name, &there, dehydrated::is_wanted);
            }
            let found = dehydrated::read(&tree);
            Ok((tree, found))
        }
        Client::Lego => {
            let tree = Tree::read(place, lego::is_wanted)?;
            let found = lego::read(&tree);
            Ok((tree, found))
        }
    }
}
