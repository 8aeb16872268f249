//! Conversations with a CA (RFC 8555), and its renewal information (RFC 9773).
//!
//! [`http`] carries every request, with limits; [`directory`] and [`account`] begin a conversation; [`order`] gets a
//! certificate, or goes on where a crash left an order; [`challenge`] proves control of names; [`renewal_info`] asks when
//! to renew; [`revocation`] withdraws a certificate. Nothing is kept on disk here: what must survive a crash is handed to the caller before the CA is asked.
//!
//! The crate `instant-acme` drives orders, authorizations and challenges, and is known to [`order`] and its wire only.

pub mod account;
pub mod chain;
pub mod challenge;
pub mod directory;
pub mod error;
pub mod external_account;
pub mod http;
mod jws;
pub mod link;
pub mod order;
pub mod poll;
pub mod problem;
pub mod renewal_info;
pub mod revocation;
#[cfg(test)]
mod tests;
mod wire;

pub use error::AcmeError;
