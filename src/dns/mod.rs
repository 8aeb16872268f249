//! The DNS: questions to resolvers and to authoritative servers, dynamic updates, SPF judged and planned.

pub mod apply;
pub mod challenge;
pub mod check;
pub mod desired;
pub mod error;
pub mod exchange;
pub mod facts;
pub mod plan;
pub mod propagation;
pub mod provider;
pub mod resolver;
pub mod rfc2136;
pub mod secret;
pub mod sending;
pub mod spf;
pub mod tlsa;

#[cfg(test)]
mod real;
