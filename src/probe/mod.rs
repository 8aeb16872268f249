//! Connects to mail ports as a client does, tells what is served, and judges it.
//!
//! [`Client`] holds one conversation: connect, greeting, EHLO, STARTTLS, handshake, EHLO, perhaps MAIL and RCPT, QUIT; with
//! IMAP and POP3 servers, their words for the same.
//! It shows every chain and refuses none, so that an expired or self-made certificate is seen and not only "failed".
//! [`judge`] and [`trust`] decide about what was seen, and [`verify`] asks until a deployment is proven or time is up.
//! [`http01`] and [`tls_alpn01`] look at a challenge as a CA does; [`reach`] and [`outbound`] tell whether mail can leave.
//! Nothing of this changes a server, authenticates, or sends mail; [`submit`] does the last two, for a test that was asked for.
//!
//! RFC 3207 (STARTTLS), RFC 8314 (implicit TLS), RFC 5321 (replies), RFC 9525 (names).

pub mod check;
mod client;
pub mod dial;
pub mod http01;
pub mod judge;
pub mod outbound;
pub mod page;
pub mod reach;
pub mod report;
mod retrieval;
mod roots;
pub mod sighting;
pub mod smtp;
pub mod submit;
mod target;
mod tls;
pub mod tls_alpn01;
pub mod trust;
pub mod verify;

pub use client::{Client, Dialogue, Limits};
pub use roots::{RootsError, load_roots};
pub use sighting::{Handshake, Outcome, Reply, Sighting, Stage, Transaction};
pub use target::Target;

#[cfg(test)]
mod fake;
