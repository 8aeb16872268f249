//! Rules of nft(8), as `nft -j list ruleset` prints them: what becomes of a new TCP connection to a port. Pure.
//!
//! A rule is followed as far as it is understood: ports, sets, verdict maps, jumps. Where a rule matches on something else (an
//! address, an interface, an extension of iptables) it may or may not fit, and what hangs on that is told as "partly".
//!
//! libnftables-json(5).

use std::collections::HashMap;

use serde_json::Value;

use super::{FirewallError, Seen, Treatment};

/// How deep jumps are followed; the kernel allows 16.
const DEPTH: u8 = 16;
/// How many rules are looked at for one port.
const MAX_STEPS: usize = 100_000;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Accept,
    Drop,
    /// The end of a chain: the one before goes on.
    Continue,
}

/// Whether a rule fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fits {
    No,
    Perhaps,
    Yes,
}

struct Ruleset {
    objects: Vec<Value>,
    /// Where the rules of each chain stand, by family, table and name.
    rules: HashMap<[String; 3], Vec<usize>>,
}

/// Returns whether anything filters what comes in: a chain with the hook `input` that drops by policy or by a rule.
pub fn filters(text: &str) -> Result<bool, FirewallError> {
    let ruleset = Ruleset::parse(text)?;
    let is_closing = |chain: &&Value| {
        chain["policy"] == "drop" || ruleset.rules(chain).any(|rule| is_there(&rule["expr"]))
    };
    Ok(ruleset.input_chains().any(|chain| is_closing(&chain)))
}

/// Finds the rules of each chain once: a ruleset may have many thousand.
fn indexed(objects: &[Value]) -> HashMap<[String; 3], Vec<usize>> {
    let mut rules: HashMap<[String; 3], Vec<usize>> = HashMap::new();
    for (index, object) in objects.iter().enumerate() {
        if let Some(rule) = object.get("rule") {
            rules.entry(place(rule, "chain")).or_default().push(index);
        }
    }
    rules
}

/// Returns family, table and chain of a rule, or of the chain itself.
fn place(value: &Value, chain: &str) -> [String; 3] {
    ["family", "table", chain].map(|key| value[key].as_str().unwrap_or_default().to_owned())
}

/// Returns whether a rule can drop, reject, or lead elsewhere.
fn is_there(expressions: &Value) -> bool {
    let closes = |expression: &Value| {
        ["drop", "reject", "jump", "goto", "vmap"]
            .iter()
            .any(|word| expression.get(word).is_some())
    };
    expressions.as_array().into_iter().flatten().any(closes)
}

/// Looks how it treats the ports.
pub fn look(text: &str, ports: &[u16]) -> Result<Vec<Seen>, FirewallError> {
    let ruleset = Ruleset::parse(text)?;
    Ok(ports
        .iter()
        .map(|port| Seen {
            port: *port,
            zone: None,
            service: None,
            treatment: ruleset.treatment(*port),
        })
        .collect())
}

/// Returns the line that opens a port: before the rules of the chain that closes it.
pub fn line(text: &str, port: u16) -> String {
    let Ok(ruleset) = Ruleset::parse(text) else {
        return String::new();
    };
    // It is shown to a person who types it.
    let word = |value: &Value| value.as_str().unwrap_or_default().escape_debug().to_string();
    let lines: Vec<String> = ruleset
        .input_chains()
        .filter(|chain| ruleset.chain_treatment(chain, port) != Treatment::Open)
        .map(|chain| {
            let (family, table, name) = (
                word(&chain["family"]),
                word(&chain["table"]),
                word(&chain["name"]),
            );
            match (family.as_str(), name.as_str()) {
                // These chains are iptables-nft(8)'s, which nft must not write to.
                ("ip", "INPUT") => format!("`iptables -I INPUT -p tcp --dport {port} -j ACCEPT`"),
                ("ip6", "INPUT") => format!("`ip6tables -I INPUT -p tcp --dport {port} -j ACCEPT`"),
                _ => format!("`nft insert rule {family} {table} {name} tcp dport {port} accept`"),
            }
        })
        .collect();
    format!(
        "{}; and the same rule in the file that is loaded at the next start (/etc/nftables.conf, /etc/sysconfig/nftables.conf)",
        lines.join(" and ")
    )
}

impl Ruleset {
    fn parse(text: &str) -> Result<Self, FirewallError> {
        let unread =
            |what: String| FirewallError::Unread(format!("`nft -j list ruleset` is not understood: {what}"));
        let value: Value = serde_json::from_str(text).map_err(|error| unread(error.to_string()))?;
        match value.get("nftables").and_then(Value::as_array) {
            Some(objects) => Ok(Self {
                objects: objects.clone(),
                rules: indexed(objects),
            }),
            None => Err(unread("it has no list of objects".to_owned())),
        }
    }

    fn input_chains(&self) -> impl Iterator<Item = &Value> {
        self.objects
            .iter()
            .filter_map(|object| object.get("chain"))
            .filter(|chain| {
                chain["hook"] == "input" && matches!(chain["family"].as_str(), Some("inet" | "ip" | "ip6"))
            })
    }

    /// Returns the rules of a chain, in order.
    fn rules(&self, chain: &Value) -> impl Iterator<Item = &Value> {
        let found = self.rules.get(&place(chain, "name")).into_iter().flatten();
        found.filter_map(|index| self.objects.get(*index)?.get("rule"))
    }

    /// Every input chain has to let it through.
    fn treatment(&self, port: u16) -> Treatment {
        let mut treatment = Treatment::Open;
        for chain in self.input_chains() {
            match self.chain_treatment(chain, port) {
                Treatment::Closed => return Treatment::Closed,
                Treatment::Open => {}
                partly => treatment = partly,
            }
        }
        treatment
    }

    fn chain_treatment(&self, chain: &Value, port: u16) -> Treatment {
        let mut walk = Walk {
            ruleset: self,
            port,
            steps: 0,
            perhaps: None,
        };
        let fate = match walk.chain(chain, 0) {
            Fate::Continue if chain["policy"] == "drop" => Fate::Drop,
            Fate::Continue => Fate::Accept,
            fate => fate,
        };
        match (fate, walk.perhaps) {
            (Fate::Drop, Some(Fate::Accept)) => Treatment::Partly(
                "a rule accepts it under a condition that mailcert does not judge".to_owned(),
            ),
            (Fate::Drop, _) => Treatment::Closed,
            (_, Some(Fate::Drop)) => {
                Treatment::Partly("a rule drops it under a condition that mailcert does not judge".to_owned())
            }
            _ => Treatment::Open,
        }
    }
}

/// A connection on its way through the chains.
struct Walk<'a> {
    ruleset: &'a Ruleset,
    port: u16,
    steps: usize,
    /// The first fate that hangs on a condition which was not judged.
    perhaps: Option<Fate>,
}

impl Walk<'_> {
    fn chain(&mut self, chain: &Value, depth: u8) -> Fate {
        if depth > DEPTH {
            return Fate::Continue;
        }
        let rules: Vec<&Value> = self.ruleset.rules(chain).collect();
        for rule in rules {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Fate::Continue;
            }
            match self.rule(chain, &rule["expr"], depth) {
                Some(fate) => return fate,
                None => continue,
            }
        }
        Fate::Continue
    }

    /// Returns how a rule ends the chain, if it does.
    fn rule(&mut self, chain: &Value, expressions: &Value, depth: u8) -> Option<Fate> {
        let mut fits = Fits::Yes;
        for expression in expressions.as_array().into_iter().flatten() {
            let (word, value) = expression.as_object()?.iter().next()?;
            let fate = match word.as_str() {
                "match" => {
                    fits = fits.min_with(self.matches(chain, value));
                    if fits == Fits::No {
                        return None;
                    }
                    continue;
                }
                "accept" => Some(Fate::Accept),
                "drop" | "reject" => Some(Fate::Drop),
                "return" => Some(Fate::Continue),
                "jump" | "goto" => self.jump(chain, &value["target"], word == "goto", depth),
                "vmap" => {
                    let (found, verdict) = self.verdict(chain, value);
                    fits = fits.min_with(found);
                    match verdict {
                        Some(verdict) => self.verdict_fate(chain, &verdict, depth),
                        None => return None,
                    }
                }
                // They count, log or mark, and the rule goes on.
                "counter" | "log" | "limit" | "mangle" | "comment" | "ct count" | "quota" => {
                    if word == "limit" || word == "ct count" || word == "quota" {
                        fits = fits.min_with(Fits::Perhaps);
                    }
                    continue;
                }
                _ => {
                    fits = fits.min_with(Fits::Perhaps);
                    continue;
                }
            };
            return match (fits, fate) {
                (_, None) => None,
                (Fits::Yes, fate) => fate,
                (_, Some(fate)) => {
                    if fate != Fate::Continue {
                        self.perhaps.get_or_insert(fate);
                    }
                    None
                }
            };
        }
        None
    }

    fn jump(&mut self, chain: &Value, target: &Value, is_goto: bool, depth: u8) -> Option<Fate> {
        let found = self
            .ruleset
            .objects
            .iter()
            .filter_map(|object| object.get("chain"))
            .find(|other| {
                other["family"] == chain["family"]
                    && other["table"] == chain["table"]
                    && other["name"] == *target
            })?;
        match self.chain(found, depth + 1) {
            Fate::Continue if !is_goto => None,
            fate => Some(fate),
        }
    }

    fn verdict_fate(&mut self, chain: &Value, verdict: &Value, depth: u8) -> Option<Fate> {
        let (word, value) = verdict.as_object()?.iter().next()?;
        match word.as_str() {
            "accept" => Some(Fate::Accept),
            "drop" | "reject" => Some(Fate::Drop),
            "return" => Some(Fate::Continue),
            "jump" | "goto" => self.jump(chain, &value["target"], word == "goto", depth),
            _ => None,
        }
    }

    /// Judges a condition for a new TCP connection to the port, from outside.
    fn matches(&self, chain: &Value, condition: &Value) -> Fits {
        let right = &condition["right"];
        let is_found = match key_of(&condition["left"]) {
            Key::Dport => self.has_port(chain, right),
            Key::L4Proto => has_word(right, &["tcp", "6"]),
            Key::CtState => has_word(right, &["new"]),
            // Nothing comes from outside on the loopback; another name may be the one that leads out.
            Key::Interface if has_word(right, &["lo"]) == Some(true) => Some(false),
            Key::Family => match chain["family"].as_str() {
                Some("inet") => None,
                _ => Some(true),
            },
            Key::OtherPort => Some(false),
            Key::Flags => None,
            Key::Interface | Key::Other => None,
        };
        match (is_found, condition["op"].as_str()) {
            (None, _) => Fits::Perhaps,
            (Some(found), Some("!=")) => {
                if found {
                    Fits::No
                } else {
                    Fits::Yes
                }
            }
            (Some(found), _) => {
                if found {
                    Fits::Yes
                } else {
                    Fits::No
                }
            }
        }
    }

    /// Returns the verdict that a map has for the connection, and whether the map is asked for something that is known.
    fn verdict(&self, chain: &Value, map: &Value) -> (Fits, Option<Value>) {
        let elements = self.elements(chain, &map["data"]);
        let key = key_of(&map["key"]);
        for element in elements {
            let Some([found, verdict]) = element.as_array().map(Vec::as_slice) else {
                continue;
            };
            let is_it = match key {
                Key::Dport => self.has_port(chain, found),
                Key::CtState => has_word(found, &["new"]),
                Key::L4Proto => has_word(found, &["tcp", "6"]),
                // The interface that leads out, most likely, and no other verdict is known for it.
                Key::Interface => has_word(found, &["lo"]).map(|is_lo| !is_lo),
                _ => None,
            };
            match (is_it, &key) {
                (Some(true), Key::Interface) => return (Fits::Perhaps, Some(verdict.clone())),
                (Some(true), _) => return (Fits::Yes, Some(verdict.clone())),
                (Some(false), _) => {}
                (None, _) => return (Fits::Perhaps, Some(verdict.clone())),
            }
        }
        (Fits::No, None)
    }

    /// Returns the elements of a set that is written out, or named as `@name`.
    fn elements(&self, chain: &Value, set: &Value) -> Vec<Value> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        if let Some(set) = set.get("set") {
            return list(set);
        }
        let Some(name) = set.as_str().and_then(|text| text.strip_prefix('@')) else {
            return Vec::new();
        };
        let sets = self
            .ruleset
            .objects
            .iter()
            .filter_map(|object| object.get("set").or(object.get("map")));
        let found = sets.into_iter().find(|set| {
            set["family"] == chain["family"] && set["table"] == chain["table"] && set["name"] == name
        });
        found.map(|set| list(&set["elem"])).unwrap_or_default()
    }

    fn has_port(&self, chain: &Value, value: &Value) -> Option<bool> {
        if let Some(number) = value.as_u64() {
            return Some(number == u64::from(self.port));
        }
        if let Some([first, last]) = value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
            let port = u64::from(self.port);
            return Some(first.as_u64()? <= port && port <= last.as_u64()?);
        }
        // An element with a counter or a timeout.
        if let Some(element) = value.get("elem") {
            return self.has_port(chain, &element["val"]);
        }
        if value.get("set").is_some() || value.as_str().is_some_and(|text| text.starts_with('@')) {
            let elements = self.elements(chain, value);
            let found: Vec<Option<bool>> = elements.iter().map(|one| self.has_port(chain, one)).collect();
            return if found.contains(&Some(true)) {
                Some(true)
            } else {
                found.iter().all(Option::is_some).then_some(false)
            };
        }
        None
    }
}

impl Fits {
    fn min_with(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Perhaps, _) | (_, Self::Perhaps) => Self::Perhaps,
            _ => Self::Yes,
        }
    }
}

/// What a condition is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    CtState,
    Dport,
    Family,
    Flags,
    Interface,
    L4Proto,
    Other,
    /// A port of another protocol: a TCP connection has none.
    OtherPort,
}

fn key_of(left: &Value) -> Key {
    if let Some(payload) = left.get("payload") {
        return match (payload["protocol"].as_str(), payload["field"].as_str()) {
            (Some("tcp" | "th"), Some("dport")) => Key::Dport,
            (Some("udp" | "sctp" | "dccp" | "udplite" | "icmp" | "icmpv6"), _) => Key::OtherPort,
            (Some("tcp"), Some("flags")) => Key::Flags,
            _ => Key::Other,
        };
    }
    match (left["meta"]["key"].as_str(), left["ct"]["key"].as_str()) {
        (Some("l4proto"), _) => Key::L4Proto,
        (Some("nfproto" | "protocol"), _) => Key::Family,
        (Some("iif" | "iifname"), _) => Key::Interface,
        (_, Some("state")) => Key::CtState,
        _ => Key::Other,
    }
}

/// Returns whether a value, or a list of such, has one of the words.
fn has_word(value: &Value, words: &[&str]) -> Option<bool> {
    match value {
        Value::String(text) if text.starts_with('@') => None,
        Value::String(text) => Some(words.contains(&text.as_str())),
        Value::Number(number) => Some(words.contains(&number.to_string().as_str())),
        Value::Array(list) => Some(list.iter().any(|one| has_word(one, words) == Some(true))),
        Value::Object(object) => match object.get("set") {
            Some(set) => has_word(set, words),
            None => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ruleset with one input chain of these rules, as nft prints them.
    fn ruleset(policy: &str, rules: &[&str]) -> String {
        let chain = |rest: &str| format!(r#"{{"chain": {{"family": "inet", "table": "filter", {rest}}}}}"#);
        let mut objects = vec![
            r#"{"metainfo": {"version": "1.0.6"}}"#.to_owned(),
            r#"{"set": {"family": "inet", "name": "mail", "table": "filter", "elem": [25, 465, {"range": [900, 910]}]}}"#.to_owned(),
            chain(&format!(r#""name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": "{policy}""#)),
            chain(r#""name": "more""#),
        ];
        objects.extend(rules.iter().map(|rule| {
            let (name, rule) = rule.split_once('>').unwrap_or(("input", rule));
            format!(
                r#"{{"rule": {{"family": "inet", "table": "filter", "chain": "{name}", "expr": [{rule}]}}}}"#
            )
        }));
        format!(r#"{{"nftables": [{}]}}"#, objects.join(", "))
    }

    fn dport(right: &str) -> String {
        format!(
            r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "tcp", "field": "dport"}}}}, "right": {right}}}}}"#
        )
    }

    const ESTABLISHED: &str = r#"{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["invalid", {"drop": null}], ["established", {"accept": null}]]}}}"#;
    const LOOPBACK: &str =
        r#"{"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": "lo"}}, {"accept": null}"#;
    const REJECT: &str = r#"{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}"#;
    const SOME: &str = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"prefix": {"addr": "192.0.2.0", "len": 24}}}}"#;

    #[test]
    fn follows_a_connection_through_the_rules() {
        let accept = |right: &str| {
            format!(
                r#"{}, {{"counter": {{"packets": 0}}}}, {{"accept": null}}"#,
                dport(right)
            )
        };
        let check = |policy: &str, rules: &[String], port: u16, expected: &str| {
            let mut all = vec![ESTABLISHED, LOOPBACK];
            all.extend(rules.iter().map(String::as_str));
            let seen = look(&ruleset(policy, &all), &[port]).unwrap().remove(0);
            let told = match seen.treatment {
                Treatment::Partly(_) => "partly".to_owned(),
                other => format!("{other:?}").to_lowercase(),
            };
            assert_eq!(told, expected, "{policy} {rules:?} {port}");
        };
        check("accept", &[], 25, "open");
        check("drop", &[], 25, "closed");
        check("drop", &[accept("25")], 25, "open");
        check("drop", &[accept("25")], 587, "closed");
        check(
            "drop",
            &[accept(r#"{"set": [22, {"range": [20, 30]}]}"#)],
            25,
            "open",
        );
        check("drop", &[accept(r#""@mail""#)], 465, "open");
        check("drop", &[accept(r#""@mail""#)], 905, "open");
        check("drop", &[accept(r#""@mail""#)], 587, "closed");
        // What comes after a rule that ends everything is never reached.
        check("accept", &[REJECT.to_owned(), accept("25")], 25, "closed");
        check("accept", &[accept("25"), REJECT.to_owned()], 25, "open");
        // A jump comes back where its chain ends.
        let jump = r#"{"jump": {"target": "more"}}"#.to_owned();
        check(
            "drop",
            &[jump.clone(), format!("more>{}", accept("25"))],
            25,
            "open",
        );
        check(
            "drop",
            &[jump, accept("587"), format!("more>{}", accept("25"))],
            587,
            "open",
        );
        // Maps of verdicts.
        let map = r#"{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[993, {"accept": null}], [995, {"drop": null}]]}}}"#;
        check("drop", &[map.to_owned()], 993, "open");
        check("accept", &[map.to_owned()], 995, "closed");
        check("drop", &[map.to_owned()], 25, "closed");
        // Under a condition that is not judged.
        check("drop", &[format!("{SOME}, {}", accept("25"))], 25, "partly");
        check(
            "accept",
            &[format!(r#"{SOME}, {}, {{"drop": null}}"#, dport("25"))],
            25,
            "partly",
        );
        check(
            "drop",
            &[format!("{SOME}, {}", accept("25")), accept("25")],
            25,
            "open",
        );
        let xt = r#"{"xt": {"type": "match", "name": "multiport"}}, {"accept": null}"#.to_owned();
        check("drop", &[xt], 25, "partly");
        let udp = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 25}}, {"accept": null}"#;
        check("drop", &[udp.to_owned()], 25, "closed");
    }

    #[test]
    fn tells_what_filters_and_how_to_open_it() {
        assert!(!filters(r#"{"nftables": []}"#).unwrap());
        assert!(!filters(&ruleset("accept", &[LOOPBACK])).unwrap());
        assert!(filters(&ruleset("drop", &[])).unwrap());
        assert!(filters(&ruleset("accept", &[REJECT])).unwrap());
        assert!(
            line(&ruleset("drop", &[]), 587)
                .starts_with("`nft insert rule inet filter input tcp dport 587 accept`;")
        );
        let iptables = r#"{"nftables": [{"chain": {"family": "ip", "table": "filter", "name": "INPUT", "hook": "input", "policy": "drop"}}]}"#;
        assert!(line(iptables, 25).starts_with("`iptables -I INPUT -p tcp --dport 25 -j ACCEPT`;"));
        for wrong in ["", "{}", "[]", r#"{"nftables": 1}"#] {
            assert!(filters(wrong).is_err(), "{wrong}");
        }
        // Shapes that nobody prints.
        let odd = r#"{"nftables": [1, {"rule": 1}, {"chain": {"family": "inet", "hook": "input", "policy": "drop"}}]}"#;
        assert_eq!(look(odd, &[25]).unwrap()[0].treatment, Treatment::Closed);
    }
}
