//! One service of master.cf that is given the overrides it lacks. Pure.
//!
//! Rules: master(5), -o; RFC 6409; RFC 8314.

use super::{Completed, SENDER_CHECKS, effective, is_alias_map, is_same, words};
use crate::postfix::{
    desired::submission::{Manner, Override, Service as Wanted},
    syntax::{MasterCf, Service},
    values::Values,
};

/// One service that is completed.
pub(super) struct Completion<'a> {
    pub(super) file: &'a mut MasterCf,
    pub(super) values: &'a Values,
    pub(super) index: usize,
    pub(super) is_new: bool,
    pub(super) completed: &'a mut Completed,
}

impl Completion<'_> {
    /// Gives the service what it lacks.
    pub(super) fn run(mut self, wanted: &Wanted) {
        let Some(service) = self.service() else { return };
        if self.is_new {
            self.completed.reasons.push(format!(
                "{}: port {} is opened to users who log in (RFC 6409; RFC 8314, 3.3)",
                service.label(),
                wanted.port.number()
            ));
        }
        let authenticated = effective(&service, "smtpd_sasl_auth_enable", self.values)
            .eq_ignore_ascii_case("yes")
            || self.values.get("smtpd_sasl_type") == "dovecot";
        for one in &wanted.overrides {
            let Some(service) = self.service() else { return };
            match self.missing(&service, one, authenticated) {
                Some(value) => self.put(&service, one, &value),
                // It came with the distribution's template.
                None if self.is_new && service.overridden(&one.name).is_some() => {
                    self.tell(&service, one, &one.value);
                }
                None => {}
            }
        }
    }

    fn service(&self) -> Option<Service> {
        self.file.services().into_iter().nth(self.index)
    }

    /// Returns the value that the service lacks; `None` where it is as it should be, or the operator's to keep.
    fn missing(&mut self, service: &Service, one: &Override, authenticated: bool) -> Option<String> {
        let own = service.overridden(&one.name).is_some();
        let present = effective(service, &one.name, self.values);
        let value = self.values.expand(&one.value);
        if own && is_same(&present, &value) {
            return None;
        }
        let inherits = !own && is_same(&present, &value);
        let wanted = Some(one.value.clone());
        match one.manner {
            Manner::Always if inherits && !self.is_new => None,
            Manner::Always => wanted,
            // What main.cf says of the authentication is the operator's, unless nobody ever logged in.
            Manner::Authentication => wanted.filter(|_| !authenticated),
            Manner::Filters if self.is_new => wanted.filter(|_| !own),
            Manner::Filters => {
                let filters = effective(service, "smtpd_milters", self.values);
                wanted.filter(|_| !own && words(&filters).next().is_some())
            }
            Manner::IfAbsent if self.is_new => wanted.filter(|_| !own),
            Manner::IfAbsent | Manner::IfLeaks => wanted.filter(|_| !own && !inherits && !present.is_empty()),
            Manner::LoginMaps => {
                // The same tables by another type are ours, from before an upgrade of Postfix.
                let is_ours = names_of(&present).eq(names_of(&value));
                if present.is_empty() || is_alias_map(&present, self.values) || (is_ours && present != value)
                {
                    return wanted;
                }
                if present != value {
                    self.completed.notes.push(format!(
                        "{}: smtpd_sender_login_maps = {present} stays; `sender_login_maps` names it, or takes its place",
                        service.label()
                    ));
                }
                None
            }
            Manner::NewOnly => wanted.filter(|_| self.is_new && !own),
            Manner::SenderCheck => {
                let checks = words(&present).any(|word| SENDER_CHECKS.contains(&word));
                match service.overridden(&one.name) {
                    Some(_) if checks => None,
                    Some(raw) if !present.trim().is_empty() => {
                        Some(format!("{},{}", one.value, String::from_utf8_lossy(raw)))
                    }
                    _ if checks && !self.is_new => None,
                    _ => wanted,
                }
            }
            Manner::Strangers if self.is_new => wanted.filter(|_| !own),
            Manner::Strangers if !self.demands_a_login(service) => wanted,
            Manner::Strangers => wanted.filter(|_| !own && !inherits && !present.is_empty()),
            Manner::UsersRelay if self.is_new => wanted.filter(|_| !own),
            Manner::UsersRelay => {
                let lists = ["smtpd_relay_restrictions", "smtpd_recipient_restrictions"];
                let lets = |name: &str| {
                    let list = effective(service, name, self.values);
                    words(&list).any(|word| word == "permit_sasl_authenticated")
                };
                // An empty relay list leaves it to the other one (postconf(5)).
                let is_empty = words(&present).next().is_none();
                let good = lets(lists[0]) || (is_empty && lets(lists[1]));
                wanted.filter(|_| !good)
            }
        }
    }

    /// Returns whether some list of the service ends with `reject`: only those it permits before come that far.
    fn demands_a_login(&self, service: &Service) -> bool {
        ["client", "helo", "sender", "relay", "recipient"]
            .iter()
            .any(|stage| {
                let list = effective(service, &format!("smtpd_{stage}_restrictions"), self.values);
                words(&list).last() == Some("reject")
            })
    }

    /// Gives the service the override; one in its place is kept as a comment.
    fn put(&mut self, service: &Service, one: &Override, value: &str) {
        self.file.comment_out_in(self.index, &one.name, one.reason);
        self.file.add_override(self.index, &one.name, value);
        self.tell(service, one, value);
    }

    fn tell(&mut self, service: &Service, one: &Override, value: &str) {
        let reason = format!("{}: -o {}={value}: {}", service.label(), one.name, one.reason);
        self.completed.reasons.push(reason);
    }
}

/// Returns the names of tables without their types.
fn names_of(tables: &str) -> impl Iterator<Item = &str> {
    words(tables).map(|word| word.split_once(':').map_or(word, |(_, name)| name))
}
