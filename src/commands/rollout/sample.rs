//! Which names are asked for on the wire where there are very many. Pure.
//!
//! The SNI map is read back whole whenever it is made, and every port reads the same one: whether a port uses it, and the new one, is
//! seen by a part of the names. Up to a thousand questions everything is asked.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::endpoint::Asked;

/// So many names are asked for at most, each name on each port counted: a minute of handshakes on a small host.
const AT_MOST: usize = 1000;

/// What is asked, and what is not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// What is asked, and the lineage that is to be served.
    pub(super) asked: BTreeMap<Asked, String>,
    /// Lineages of which nothing is asked, each with a question that would be.
    pub(super) unasked: BTreeMap<String, Asked>,
    /// How many questions about names there are in all.
    pub(super) n_names: usize,
}

impl Sample {
    /// Takes everything that is asked without a name, and names spread evenly over all ports.
    pub(super) fn of(all: BTreeMap<Asked, String>) -> Self {
        Self::at_most(all, AT_MOST)
    }

    fn at_most(all: BTreeMap<Asked, String>, limit: usize) -> Self {
        let n_names = all.keys().filter(|asked| asked.server_name.is_some()).count();
        let step = n_names.div_ceil(limit).max(1);
        let mut sample = Self {
            n_names,
            ..Self::default()
        };
        let mut left = Vec::new();
        let mut index = 0;
        for (asked, lineage) in all {
            let is_named = asked.server_name.is_some();
            if is_named {
                index += 1;
            }
            if is_named && index % step != 0 {
                left.push((asked, lineage));
            } else {
                sample.asked.insert(asked, lineage);
            }
        }
        let seen: BTreeSet<&String> = sample.asked.values().collect();
        let unseen: Vec<(Asked, String)> = left
            .into_iter()
            .filter(|(_, lineage)| !seen.contains(lineage))
            .collect();
        for (asked, lineage) in unseen {
            sample.unasked.entry(lineage).or_insert(asked);
        }
        sample
    }

    /// Returns what an operator should know; nothing where everything was asked.
    pub(super) fn note(&self) -> Option<String> {
        let n_asked = self
            .asked
            .keys()
            .filter(|asked| asked.server_name.is_some())
            .count();
        (n_asked < self.n_names).then(|| {
            format!(
                "{n_asked} of {} names were asked for on the wire, spread over all ports; the SNI map was read back whole, and \
                 `mailcert check tls --every-name` asks for every one",
                self.n_names
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(n_names: usize, ports: &[u16]) -> BTreeMap<Asked, String> {
        let mut all = BTreeMap::new();
        for port in ports {
            let endpoint = |name: Option<String>| Asked {
                endpoint: format!("smtp://192.0.2.1:{port}").parse().unwrap(),
                server_name: name.map(|name| name.parse().unwrap()),
            };
            all.insert(endpoint(None), "mail.test".to_owned());
            for i in 0..n_names {
                let name = format!("n{i}.test");
                all.insert(endpoint(Some(name.clone())), name);
            }
        }
        all
    }

    #[test]
    fn few_names_are_all_asked_and_many_on_every_port_a_part() {
        let few = Sample::at_most(all(10, &[25, 465]), 20);
        assert_eq!((few.asked.len(), few.unasked.len(), few.note()), (22, 0, None));
        let many = Sample::at_most(all(100, &[25, 465, 587]), 20);
        for port in [25, 465, 587] {
            let n_asked = many
                .asked
                .keys()
                .filter(|asked| asked.endpoint.port == port)
                .count();
            assert!((6..9).contains(&n_asked), "{n_asked} on {port}");
        }
        // Every lineage is either asked for or known not to be.
        let seen: BTreeSet<&String> = many.asked.values().collect();
        assert_eq!(seen.len() + many.unasked.len(), 101);
        assert!(many.unasked.keys().all(|lineage| !seen.contains(lineage)));
        assert!(many.note().unwrap().starts_with("20 of 300 names"));
    }
}
