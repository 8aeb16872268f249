//! What is told of a message that did not arrive: where it ended, what was said, what to do. Pure.

use super::{Fate, Request, Sent};
use crate::{
    error::Error,
    postfix::trail::Delivery,
    probe::submit::{Accepted, Refused, Step},
};

/// Returns the words about the worst delivery.
pub(super) fn last_words(deliveries: &[Delivery]) -> String {
    let worst = deliveries.iter().max_by_key(|one| one.status);
    worst.map_or_else(String::new, |worst| {
        let parts = [worst.dsn.as_str(), worst.text.as_str()];
        let said = parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        match worst.relay.as_str() {
            "" | "none" => said,
            relay => format!("{relay}: {said}"),
        }
    })
}

/// Tells why the server did not take the message.
pub(super) fn refusal(sent: &Sent, refused: &Refused, request: &Request) -> Error {
    let server = &sent.server;
    let what = match refused.step {
        Step::Connect => "cannot be talked to",
        Step::Tls => "speaks no TLS, so nothing was sent",
        Step::Certificate => "has a certificate that mail programs refuse, so nothing was sent",
        Step::NoLogin => "lets nobody log in",
        Step::Login => "refuses the login",
        Step::Sender => "refuses the sender",
        Step::Recipient => "refuses the recipient",
        Step::Message => "refuses the message",
    };
    let place = format!("{}:{}", server.host, server.port);
    let has_login = request.login.is_some();
    let remedy = match refused.step {
        Step::Connect => format!(
            "look whether Postfix listens there (`ss -ltn`, `mailcert check tls`) and no firewall is between; another place is \
             named by --server (now {place})"
        ),
        Step::Tls => format!(
            "`mailcert probe {place}` tells more; port 465 begins with TLS, every other port with STARTTLS"
        ),
        Step::Certificate => format!(
            "`mailcert probe {place}` shows it; a private CA is named by --root-ca-file, another name by --name; --no-verify \
             sends all the same"
        ),
        Step::NoLogin => {
            "set postfix.submission = true in mailcert.toml and `mailcert apply postfix`".to_owned()
        }
        Step::Login => {
            "look in the mail log; `doveadm auth test USER` tries user and password without mail".to_owned()
        }
        Step::Sender | Step::Recipient if !has_login => {
            "log in: --user NAME, and --password-file FILE or the prompt".to_owned()
        }
        Step::Sender => {
            "the login may not use this address: look at smtpd_sender_login_maps, `postmap -q FROM TABLE` \
                         and `mailcert check postfix`"
                .to_owned()
        }
        Step::Recipient => {
            "look at the text, and at smtpd_recipient_restrictions and smtpd_relay_restrictions of the \
                            service; `mailcert check postfix`"
                .to_owned()
        }
        Step::Message => {
            "look at the text and in the mail log: filters and checks of header and body decide here"
                .to_owned()
        }
    };
    Error::failed(format!("{place} {what}"))
        .cause(&refused.reason)
        .remedy(remedy)
}

/// Tells what stands in the way of a message that was taken; nothing when it was delivered.
pub(super) fn trouble(sent: &Sent, accepted: &Accepted, request: &Request) -> Option<Error> {
    let id = sent.queue_id.as_deref().unwrap_or("(no queue id)");
    let seconds = request.within.as_secs();
    let error = match sent.outcome {
        Fate::Delivered | Fate::Refused => return None,
        Fate::Bounced => Error::failed(format!("{id} came back: {} was not reached", sent.to)),
        Fate::Deferred => Error::not_yet(format!("{id} still waits in the queue after {seconds} s")),
        Fate::Unknown => {
            let error = Error::not_yet(format!(
                "{id} was taken, and nothing here tells what became of it"
            ))
            .cause(format!("the server said {}", accepted.reply));
            let looked = match sent.followed.is_empty() {
                true => "no mail log could be read here".to_owned(),
                false => format!("looked for it in {}", sent.followed.join(", ")),
            };
            return Some(error.cause(looked).remedy(
                "run it as root on the mail server itself, where the log is (maillog_file, /var/log/mail.log, the journal)",
            ));
        }
    };
    let worst = sent.deliveries.iter().max_by_key(|one| one.status);
    let error = match worst {
        Some(worst) => error.cause(last_words(&sent.deliveries)).remedy(advice(worst)),
        None => error,
    };
    Some(match sent.outcome {
        Fate::Deferred => error.remedy(format!(
            "it is tried again by itself; `postqueue -i {id}` tries at once, `postsuper -d {id}` takes it away"
        )),
        _ => error,
    })
}

/// Returns what to do about a delivery that failed, by its enhanced status code (RFC 3463) and by what it says.
fn advice(delivery: &Delivery) -> &'static str {
    let text = delivery.text.to_ascii_lowercase();
    let says = |word: &str| text.contains(word);
    // Class 4 or 5 tells whether it is tried again; the rest tells why.
    let code = delivery.dsn.split_once('.').map_or("", |(_, code)| code);
    match code {
        "4.1" | "4.2" if says("timed out") || says("refused") || says("unreachable") || says("no route") => {
            "`mailcert check outbound` tells whether port 25 is blocked"
        }
        "4.4" | "4.3" | "1.2" => {
            "the domain cannot be found: look at it with `dig DOMAIN MX`, and at this host's resolver"
        }
        "1.1" | "1.3" | "1.6" => "the address does not exist there",
        "2.2" => "the mailbox is full",
        "7.23" | "7.24" => "receivers check SPF: `mailcert check dns`",
        "7.20" | "7.21" | "7.22" => "receivers check DKIM: sign outgoing mail",
        "7.26" => "receivers want SPF or DKIM: `mailcert check dns`",
        "7.25" => {
            "receivers check the PTR record of this host's address: ask the provider to set it to the host's name"
        }
        _ if says("spf") => "receivers check SPF: `mailcert check dns`",
        _ if says("greylist") || says("graylist") => {
            "the receiver lets strangers wait: it is tried again by itself"
        }
        _ if says("blocklist") || says("blacklist") || says("spamhaus") || says("listed") => {
            "this host's address is on a blocklist: the text names it and how to get off it"
        }
        _ if says("sasl authentication failed") || says("no mechanism available") => {
            "the relay refuses the login: `mailcert check outbound`, and look at smtp_sasl_password_maps"
        }
        _ => "read what the other side said; the mail log has all of it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::send_test::waiting;

    #[test]
    fn advice_fits_the_reason() {
        let check = |dsn: &str, text: &str, expected: &str| {
            let delivery = Delivery {
                dsn: dsn.to_owned(),
                ..waiting("4ABCDE", "b@y.test", text.to_owned())
            };
            assert!(
                advice(&delivery).contains(expected),
                "{dsn} {text}: {}",
                advice(&delivery)
            );
        };
        check(
            "4.4.1",
            "connect to y.test[192.0.2.7]:25: Connection timed out",
            "check outbound",
        );
        check("5.4.4", "Host or domain name not found", "dig DOMAIN MX");
        check("5.1.1", "host said: 550 5.1.1 nobody", "does not exist");
        check("5.7.1", "550 5.7.1 SPF check failed", "check dns");
        check("4.7.1", "450 4.7.1 Greylisted, try later", "by itself");
        check("5.7.1", "554 blocked by zen.spamhaus.org", "blocklist");
        check("4.7.8", "SASL authentication failed", "login");
        check("", "", "read what");
    }
}
