//! What tests stand on: a scratch directory, addresses of their own, real servers that die on drop, and mailcert itself.
//!
//! [`World`] is all of it together. Everything listens on loopback addresses that no other test has, so ports 25, 53
//! and 80 are free there and tests run side by side, also in several processes. Nothing sleeps for a fixed time:
//! servers are waited for by connecting. A missing program is a failure that names it; `tests/lab/install` installs
//! them all.

pub mod address;
pub mod auth;
pub mod authority;
pub mod between;
pub mod bind;
pub mod client_ca;
pub mod disk;
pub mod dovecot;
pub mod faulty_ca;
pub mod filtered;
pub mod foreign;
pub mod golden;
pub mod hooks;
#[cfg(target_arch = "x86_64")]
pub mod inject;
pub mod issuance;
pub mod judge;
pub mod mailcert;
pub mod moto;
pub mod netns;
pub mod page;
pub mod pebble;
pub mod port;
pub mod postfix;
pub mod powerdns;
#[cfg(target_arch = "x86_64")]
pub mod recorder;
pub mod release;
pub mod scratch;
pub mod server;
pub mod signed;
pub mod site;
pub mod terminal;
pub mod web;
pub mod world;

pub use address::LoopbackAddress;
pub use authority::{Authority, Identity};
pub use between::Between;
pub use bind::{Bind, Manner, Zone};
pub use client_ca::ClientCa;
pub use faulty_ca::{Fault, FaultyCa};
pub use filtered::{Filtered, Overlay};
pub use judge::Tls;
pub use mailcert::{Mailcert, Outcome};
pub use moto::{Broken, Moto};
pub use netns::Namespaces;
pub use pebble::{Pebble, PebbleOptions};
pub use port::{Answer, Port};
pub use postfix::{Postfix, PostfixOptions};
pub use powerdns::PowerDns;
pub use release::Release;
pub use scratch::Scratch;
pub use site::Site;
pub use terminal::Terminal;
pub use world::{World, WorldOptions};
