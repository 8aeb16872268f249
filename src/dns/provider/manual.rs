//! Records written by a person: what to publish is told, and waited for.
//!
//! Nothing is written by us. Who waits asks every authoritative server, so a record that the operator has not published in
//! time is "not yet" (exit 4); the next run goes on from there.

use super::{Capabilities, Listing, Provider, Reply, Swap, Writer, list_from_servers};
use crate::{
    dns::resolver::Resolver,
    env::progress::Progress,
    model::{
        name::DomainName,
        plan::RrsetChange,
        rdata::{Rdata, RecordType},
        rrset::Rrset,
    },
};

/// Tells a person what to publish.
#[derive(Clone)]
pub struct Manual {
    /// Finds the zones' servers.
    pub resolver: Resolver,
    /// Where it is told.
    pub progress: Progress,
}

impl Manual {
    fn tell(&self, verb: &str, name: &DomainName, ttl: Option<u32>, values: &[Rdata]) {
        for value in values {
            self.progress.done(&instruction(verb, name, ttl, value));
        }
    }
}

/// Returns what a person is told, as a line of a zone.
fn instruction(verb: &str, name: &DomainName, ttl: Option<u32>, value: &Rdata) -> String {
    let ttl = ttl.map(|ttl| format!("{ttl} ")).unwrap_or_default();
    format!("{verb}: {name}. {ttl}IN {} {value}", value.kind())
}

impl Provider for Manual {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            types: &RecordType::ALL,
            list: Listing::Dns,
            swap: Swap::Compared,
            writer: Writer::Person,
        }
    }

    fn list<'a>(&'a self, zone: &'a DomainName, name: &'a DomainName, kind: RecordType) -> Reply<'a, Rrset> {
        Box::pin(list_from_servers(&self.resolver, zone, name, kind))
    }

    fn add<'a>(
        &'a self,
        _: &'a DomainName,
        name: &'a DomainName,
        values: &'a [Rdata],
        ttl: u32,
    ) -> Reply<'a, ()> {
        self.tell("publish, beside what is there", name, Some(ttl), values);
        Box::pin(async { Ok(()) })
    }

    fn remove<'a>(&'a self, _: &'a DomainName, name: &'a DomainName, values: &'a [Rdata]) -> Reply<'a, ()> {
        self.tell("no longer needed, remove it", name, None, values);
        Box::pin(async { Ok(()) })
    }

    fn change<'a>(&'a self, change: &'a RrsetChange) -> Reply<'a, ()> {
        self.tell(
            "publish, beside what is there",
            &change.name,
            Some(change.ttl),
            &change.add,
        );
        self.tell("remove", &change.name, None, &change.remove);
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_lines_that_a_zone_can_hold() {
        let name = "mail.example.jp".parse().unwrap();
        let check = |ttl, expected: &str| {
            assert_eq!(
                instruction("publish", &name, ttl, &Rdata::text("a \"b\"")),
                expected
            );
        };
        check(Some(60), r#"publish: mail.example.jp. 60 IN TXT "a \"b\"""#);
        check(None, r#"publish: mail.example.jp. IN TXT "a \"b\"""#);
    }
}
