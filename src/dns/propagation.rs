//! Whether every authoritative server shows a change, and waiting until they do.
//!
//! The servers are asked themselves, never a cache: a CA or a receiver may ask any of them.

use std::time::Duration;

use tokio::{task::JoinSet, time};

use super::{
    error::{DnsError, Lag, ServerFailure},
    resolver::{Server, rrset_at},
};
use crate::model::{
    name::DomainName,
    rdata::{Rdata, RecordType},
    rrset::Rrset,
};

/// The first pause between two rounds of questions; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What every server is to show at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// Values that must be there.
    pub present: &'a [Rdata],
    /// Values that must not be there.
    pub absent: &'a [Rdata],
}

/// What one server's answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sighting {
    /// It shows what is wanted.
    Agrees,
    /// It cannot be asked from this host; others can be.
    Aside(String),
    /// It shows something else, or nothing.
    Lags(String),
}

/// Waits until every server shows what is expected, and at least one could be asked.
///
/// # Errors
/// [`DnsError::NotYet`] with the servers that lag when `limit` is over.
pub async fn wait(
    servers: &[Server],
    name: &DomainName,
    kind: RecordType,
    expected: Expected<'_>,
    limit: Duration,
) -> Result<(), DnsError> {
    let deadline = time::Instant::now() + limit;
    let mut pause = FIRST_PAUSE;
    let mut open = servers.to_vec();
    let mut n_agreed = 0;
    loop {
        let mut lagging = Vec::new();
        let mut aside = Vec::new();
        for (server, answer) in ask_all(&open, name, kind).await {
            match judge(&server, answer, expected) {
                Sighting::Agrees => n_agreed += 1,
                Sighting::Aside(said) => aside.push((server, said)),
                Sighting::Lags(said) => lagging.push((server, said)),
            }
        }
        if lagging.is_empty() && n_agreed > 0 {
            return Ok(());
        }
        lagging.append(&mut aside);
        if time::Instant::now() >= deadline {
            let lag = |(server, said): (Server, String)| Lag {
                server: server.to_string(),
                said,
            };
            let lagging = lagging.into_iter().map(lag).collect();
            return Err(DnsError::NotYet {
                name: name.clone(),
                waited: limit,
                lagging,
            });
        }
        open = lagging.into_iter().map(|(server, _)| server).collect();
        time::sleep_until(deadline.min(time::Instant::now() + pause)).await;
        pause = longer(pause);
    }
}

/// Returns the pause after this one.
fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

/// Asks all servers at once for the RRset that each has itself at exactly this name; sorted by server.
pub async fn ask_all(
    servers: &[Server],
    name: &DomainName,
    kind: RecordType,
) -> Vec<(Server, Result<Rrset, DnsError>)> {
    let mut questions = JoinSet::new();
    for server in servers.iter().cloned() {
        let name = name.clone();
        questions.spawn(async move {
            let answer = rrset_at(server.address, &name, kind).await;
            (server, answer)
        });
    }
    let mut answers = questions.join_all().await;
    answers.sort_by(|(one, _), (other, _)| one.cmp(other));
    answers
}

/// Decides what an answer means.
fn judge(server: &Server, answer: Result<Rrset, DnsError>, expected: Expected<'_>) -> Sighting {
    match answer {
        Ok(rrset) => match difference(&rrset.values, expected) {
            None => Sighting::Agrees,
            Some(said) => Sighting::Lags(said),
        },
        Err(DnsError::Server {
            failure: ServerFailure::Unreachable(said),
            ..
        }) => Sighting::Aside(said),
        // A hidden primary may answer nobody but its secondaries.
        Err(DnsError::Server {
            failure: ServerFailure::ResponseCode(code),
            ..
        }) if !server.is_listed => Sighting::Aside(code),
        Err(DnsError::Server { failure, .. }) => Sighting::Lags(failure.to_string()),
        Err(error) => Sighting::Lags(error.to_string()),
    }
}

/// Returns what differs from the expected, or `None`.
fn difference(values: &[Rdata], expected: Expected<'_>) -> Option<String> {
    if let Some(missing) = expected.present.iter().find(|value| !values.contains(value)) {
        return Some(format!("it answers without {missing}"));
    }
    let old = expected.absent.iter().find(|value| values.contains(value))?;
    Some(format!("it still answers {old}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut pause = FIRST_PAUSE;
        for _ in 0..20 {
            pause = longer(pause);
        }
        assert_eq!(longer(FIRST_PAUSE), Duration::from_millis(40));
        assert_eq!(pause, LONGEST_PAUSE);
    }

    #[test]
    fn judges_answers() {
        let (a, b) = (Rdata::text("a"), Rdata::text("b"));
        let check = |values: &[&Rdata], present: &[&Rdata], absent: &[&Rdata], expected: Option<&str>| {
            let owned = |values: &[&Rdata]| values.iter().map(|&value| value.clone()).collect::<Vec<Rdata>>();
            let (present, absent) = (owned(present), owned(absent));
            let found = difference(
                &owned(values),
                Expected {
                    present: &present,
                    absent: &absent,
                },
            );
            assert_eq!(found.as_deref(), expected);
        };
        check(&[&a, &b], &[&a], &[], None);
        check(&[&b], &[&a], &[], Some("it answers without \"a\""));
        check(&[&a, &b], &[&a], &[&b], Some("it still answers \"b\""));
        check(&[], &[], &[&b], None);

        let server = |is_listed| Server {
            name: "ns".to_owned(),
            address: "192.0.2.1:53".parse().unwrap(),
            is_listed,
        };
        let failed = |failure| {
            Err(DnsError::Server {
                server: "192.0.2.1:53".parse().unwrap(),
                question: String::new(),
                failure,
            })
        };
        let nothing = Expected {
            present: &[],
            absent: &[],
        };
        let refused = || failed(ServerFailure::ResponseCode("REFUSED".to_owned()));
        assert!(matches!(
            judge(&server(true), refused(), nothing),
            Sighting::Lags(_)
        ));
        assert!(matches!(
            judge(&server(false), refused(), nothing),
            Sighting::Aside(_)
        ));
        let unreachable = failed(ServerFailure::Unreachable("no route".to_owned()));
        assert!(matches!(
            judge(&server(true), unreachable, nothing),
            Sighting::Aside(_)
        ));
    }
}
