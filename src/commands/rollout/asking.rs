//! Asks endpoints, by default and for the names of the SNI map, before a change and after it.

use std::num::NonZeroU32;

use crate::{
    commands::Context,
    env::progress::Tally,
    error::{Error, Result},
    model::{
        endpoint::{Asked, Endpoint},
        lineage::Before,
    },
    probe::{
        Client, Dialogue, Sighting, Target,
        judge::{Expectation, Judgment},
        verify::{self, Goal, Patience},
    },
};

/// How many names are asked for before the answers are condensed: a chain of each is held until then.
const AT_ONCE: usize = 512;

fn client(context: &Context<'_>) -> Result<Client> {
    let client = Client::new(context.config.host.name.clone())
        .map_err(|error| Error::failed("ports cannot be asked").cause(error))?;
    // A transaction shows what recipients' restrictions do only for a domain that is served here.
    Ok(match context.config.host.domains.first() {
        Some(domain) => client.mail_domain(domain.clone()),
        None => client,
    })
}

/// Returns the addresses of what is asked.
async fn targets(context: &Context<'_>, asked: &Asked) -> Vec<Target> {
    let name = asked.server_name.as_ref().unwrap_or(&context.config.host.name);
    Target::resolve(&asked.endpoint, Some(name)).await
}

/// Looks at each once.
pub(super) async fn sight(context: &Context<'_>, all: &[&Asked], tally: &Tally) -> Result<Vec<Before>> {
    let client = client(context)?;
    // Restrictions do not hang on the name: one mail transaction for an endpoint is enough.
    let (named, by_default): (Vec<&Asked>, Vec<&Asked>) =
        all.iter().copied().partition(|asked| asked.server_name.is_some());
    let mut before = Vec::with_capacity(all.len());
    for (part, dialogue) in [(by_default, Dialogue::Transaction), (named, Dialogue::Greet)] {
        for chunk in part.chunks(AT_ONCE) {
            let (mut questions, mut names) = (Vec::new(), Vec::new());
            for asked in chunk {
                let found = targets(context, asked).await;
                names.extend(found.iter().map(|_| asked.server_name.clone()));
                questions.extend(found);
            }
            let sightings = client.ask_many(&questions, dialogue, tally).await;
            before.extend(
                sightings
                    .iter()
                    .map(Sighting::before)
                    .zip(names)
                    .map(|(before, server_name)| Before {
                        server_name,
                        ..before
                    }),
            );
        }
    }
    Ok(before)
}

/// Looks at what endpoints serve by default, once.
pub(super) async fn sight_endpoints(context: &Context<'_>, endpoints: &[Endpoint]) -> Result<Vec<Before>> {
    let asked: Vec<Asked> = endpoints.iter().cloned().map(Asked::from).collect();
    sight(context, &asked.iter().collect::<Vec<_>>(), &Tally::quiet()).await
}

/// Asks until each is proven, or patience is over.
///
/// What an endpoint serves by default, and one name of its, are asked until the processes that served the old are gone.
/// After that, one good answer for each of the other names is proof.
pub(super) async fn ask_until_proven(
    context: &Context<'_>,
    checks: Vec<(Asked, Expectation)>,
    patience: Patience,
    tally: &Tally,
) -> Result<Vec<(Asked, Judgment)>> {
    let client = client(context)?;
    let mut settled: Option<Endpoint> = None;
    // Sorted: the names of an endpoint follow each other.
    let is_first = |(asked, _): &(Asked, Expectation)| {
        let first = asked.server_name.is_none() || settled.as_ref() != Some(&asked.endpoint);
        if asked.server_name.is_some() {
            settled = Some(asked.endpoint.clone());
        }
        first
    };
    let (first, rest): (Vec<_>, Vec<_>) = checks.into_iter().partition(is_first);
    let once = Patience {
        good_in_a_row: NonZeroU32::MIN,
        ..patience
    };
    let mut judged = pursue(context, &client, first, patience, tally).await;
    let mut rest = rest.into_iter().peekable();
    while rest.peek().is_some() {
        let chunk: Vec<_> = rest.by_ref().take(AT_ONCE).collect();
        judged.extend(pursue(context, &client, chunk, once, tally).await);
    }
    Ok(judged)
}

async fn pursue(
    context: &Context<'_>,
    client: &Client,
    checks: Vec<(Asked, Expectation)>,
    patience: Patience,
    tally: &Tally,
) -> Vec<(Asked, Judgment)> {
    let (mut goals, mut names) = (Vec::new(), Vec::new());
    for (asked, expectation) in checks {
        for target in targets(context, &asked).await {
            names.push(asked.server_name.clone());
            goals.push(Goal {
                target,
                expectation: expectation.clone(),
            });
        }
    }
    let verified = verify::verify(client, goals, patience, tally).await;
    let judged = verified.into_iter().zip(names);
    judged
        .map(|(one, server_name)| {
            let endpoint = one.last.asked();
            (
                Asked {
                    endpoint,
                    server_name,
                },
                one.judgment,
            )
        })
        .collect()
}
