//! ufw(8): one set of rules, in force and kept at once; the first rule that fits decides.

use std::path::Path;

use super::{FirewallError, Seen, Treatment, ask, range, run};
use crate::model::plan::{FirewallAction, FirewallChange};

/// What its rules of ours are marked with, for whoever reads them.
const COMMENT: &str = "mailcert";

/// Returns whether it is active. Without root it cannot say.
pub fn is_active(program: &Path) -> Result<bool, FirewallError> {
    Ok(status(program)?
        .lines()
        .any(|line| line.trim() == "Status: active"))
}

fn status(program: &Path) -> Result<String, FirewallError> {
    Ok(ask(program, &["status", "verbose"])?.stdout_text())
}

/// Looks how it treats the ports.
pub fn look(program: &Path, ports: &[u16]) -> Result<Vec<Seen>, FirewallError> {
    let status = status(program)?;
    Ok(ports
        .iter()
        .map(|port| Seen {
            port: *port,
            zone: None,
            service: None,
            treatment: treatment(&status, *port),
        })
        .collect())
}

/// Reads `ufw status verbose`: `25,465/tcp (Postfix) on eth0   ALLOW IN   Anywhere`.
fn treatment(status: &str, port: u16) -> Treatment {
    let default = status
        .lines()
        .find_map(|line| line.strip_prefix("Default:"))
        .and_then(|rest| {
            rest.split(',')
                .find_map(|word| word.trim().strip_suffix(" (incoming)"))
        })
        .unwrap_or("deny");
    let (mut v4, mut v6) = (None, None);
    let mut for_some = None;
    for rule in status
        .lines()
        .filter_map(Rule::parse)
        .filter(|rule| rule.has(port))
    {
        if rule.is_for_some {
            for_some.get_or_insert(rule.text);
            continue;
        }
        let decided = if rule.is_v6 { &mut v6 } else { &mut v4 };
        decided.get_or_insert(rule.allows);
    }
    // Without IPv6 in its configuration, there are no rules for it.
    match (v4.or(v6), for_some) {
        (Some(true), _) => Treatment::Open,
        (Some(false), _) => Treatment::Denied,
        (None, Some(text)) => Treatment::Partly(format!("`{text}` is for some alone")),
        (None, None) if default == "allow" => Treatment::Open,
        (None, None) => Treatment::Closed,
    }
}

/// One rule for what comes in.
struct Rule<'a> {
    text: &'a str,
    ports: &'a str,
    is_v6: bool,
    /// From some addresses or on one interface alone.
    is_for_some: bool,
    allows: bool,
}

impl<'a> Rule<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        const ACTIONS: [(&str, bool); 4] = [
            (" ALLOW IN ", true),
            (" LIMIT IN ", true),
            (" DENY IN ", false),
            (" REJECT IN ", false),
        ];
        let (to, from, allows) = ACTIONS
            .iter()
            .find_map(|(word, allows)| line.split_once(word).map(|(to, from)| (to, from, *allows)))?;
        let from = from.split('#').next().unwrap_or_default().trim();
        let ports = to.split_whitespace().next()?;
        Some(Self {
            text: line.trim(),
            ports,
            is_v6: from.ends_with("(v6)") || to.contains("(v6)"),
            is_for_some: !from.starts_with("Anywhere") || to.contains(" on "),
            allows,
        })
    }

    fn has(&self, port: u16) -> bool {
        if self.ports == "Anywhere" {
            return true;
        }
        let (ports, protocol) = self.ports.split_once('/').unwrap_or((self.ports, "tcp"));
        protocol == "tcp"
            && ports
                .split(',')
                .filter_map(range)
                .any(|range| range.contains(&port))
    }
}

/// Adds or deletes a rule; one that is there, or not there, is no error.
pub fn carry_out(program: &Path, change: &FirewallChange) -> Result<(), FirewallError> {
    let port = format!("{}/tcp", change.port);
    match change.action {
        FirewallAction::Open | FirewallAction::OpenForNow => {
            ask(program, &["allow", &port, "comment", COMMENT]).map(drop)
        }
        FirewallAction::Close => {
            let output = run(program, &["delete", "allow", &port])?;
            let said = output.complaint();
            if output.success() || said.contains("non-existent") {
                Ok(())
            } else {
                Err(FirewallError::Refused(format!("ufw delete allow {port}"), said))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Status: active\nLogging: on (low)\nDefault: deny (incoming), allow (outgoing), disabled (routed)\n\
        New profiles: skip\n\nTo                         Action      From\n--                         ------      ----\n\
        25/tcp (Postfix)           ALLOW IN    Anywhere                  \n\
        22/tcp                     LIMIT IN    Anywhere                  \n\
        993/tcp                    DENY IN     Anywhere                   # not for the world\n\
        465/tcp                    ALLOW IN    192.0.2.0/24              \n\
        2000:2010/tcp              ALLOW IN    Anywhere                  \n\
        80,443/tcp                 ALLOW IN    Anywhere                  \n\
        26/tcp on eth0             ALLOW IN    Anywhere                  \n\
        53                         ALLOW IN    Anywhere                  \n\
        54/udp                     ALLOW IN    Anywhere                  \n\
        25/tcp (Postfix (v6))      ALLOW IN    Anywhere (v6)             \n\
        993/tcp                    ALLOW IN    Anywhere                  \n\
        70/tcp                     ALLOW OUT   Anywhere                  \n";

    #[test]
    fn the_first_rule_that_fits_decides() {
        let check =
            |port: u16, expected: &Treatment| assert_eq!(treatment(STATUS, port), *expected, "{port}");
        for port in [25, 22, 2005, 443, 53] {
            check(port, &Treatment::Open);
        }
        for port in [587, 54, 70, 2011] {
            check(port, &Treatment::Closed);
        }
        check(993, &Treatment::Denied);
        assert!(matches!(treatment(STATUS, 465), Treatment::Partly(_)));
        assert!(matches!(treatment(STATUS, 26), Treatment::Partly(_)));
        let open = STATUS.replace("deny (incoming)", "allow (incoming)");
        assert_eq!(treatment(&open, 587), Treatment::Open);
        assert_eq!(treatment(&open, 993), Treatment::Denied);
        assert_eq!(treatment("", 25), Treatment::Closed);
    }
}
