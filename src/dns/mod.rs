//! The DNS: questions to resolvers and to authoritative servers, dynamic updates, SPF judged and planned.

pub mod error;
pub mod exchange;
pub mod facts;
pub mod resolver;
pub mod spf;
