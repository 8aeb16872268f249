//! The DNS: questions to resolvers and to authoritative servers, dynamic updates, SPF judged and planned.

pub mod facts;
pub mod spf;
