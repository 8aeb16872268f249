//! Wins the authorizations of an order (RFC 8555, 7.5), and finds out why one was lost.

use instant_acme::{AuthorizationHandle, AuthorizationStatus, ChallengeStatus, Error, Order, OrderStatus};

use super::{
    Run,
    placed::Placed,
    shorten,
    words::{convert, crate_type, type_name},
};
use crate::{
    acme::{
        challenge::{ChallengeResponse, ChallengeType, is_token},
        error::{AcmeError, ChallengeFailure},
        problem::Problem,
        wire::call,
    },
    model::name::DomainName,
};

/// One authorization that is still to be won.
struct Pending {
    /// Its place in the order.
    index: usize,
    /// Whether the CA has not been told yet that the response is in place.
    is_unanswered: bool,
    response: ChallengeResponse,
}

/// What one authorization was found to be.
enum Found {
    /// To be won.
    Pending(Pending),
    /// Lost: the CA could not confirm the name.
    Refused(Vec<ChallengeFailure>),
    /// Won before, and still good.
    Valid,
}

impl Run<'_> {
    /// Wins the authorizations that are still pending; when it returns, the order is no longer pending.
    pub(super) async fn authorize(&self, order: &mut Order, placed: &mut Placed) -> Result<(), AcmeError> {
        let challenge = placed.challenge_type();
        let n_authorizations = order.state().authorizations.len();
        if n_authorizations > self.request.identifiers.len() {
            return Err(not_ours("more authorizations than identifiers"));
        }
        let mut pending = Vec::new();
        let mut refused = Vec::new();
        for index in 0..n_authorizations {
            let found = call!(self.wire, async {
                let mut all = skip(order, index).await?;
                let mut handle = all.next().await.ok_or(Error::Str("no such authorization"))??;
                Ok(self.look(index, &mut handle, challenge))
            });
            match found?? {
                Found::Pending(authorization) => pending.push(authorization),
                Found::Refused(failures) => refused.extend(failures),
                Found::Valid => {}
            }
        }
        if !refused.is_empty() {
            return Err(AcmeError::Challenge(refused));
        }
        if !pending.is_empty() {
            self.progress.step(&format!(
                "setting up {} for {}",
                challenge.name(),
                list_pending(&pending)
            ));
            placed
                .place(pending.iter().map(|each| each.response.clone()).collect())
                .await?;
            for authorization in pending.iter().filter(|each| each.is_unanswered) {
                self.answer(order, authorization.index, challenge).await?;
            }
            self.progress.step(&format!(
                "waiting for the CA to confirm {}",
                list_pending(&pending)
            ));
        }
        self.wait(order, "confirm the names", |status| {
            status == OrderStatus::Pending
        })
        .await?;
        if order.state().status == OrderStatus::Invalid {
            return Err(self.why_lost(order).await);
        }
        Ok(())
    }

    /// Reads the failure of a challenge in an order that was resumed: the CA may have looked while nothing was in place.
    pub(super) fn lost_meanwhile(&self, error: AcmeError) -> AcmeError {
        match (self.request.resume, &error) {
            (Some(url), AcmeError::Challenge(_)) => AcmeError::OrderLost {
                url: url.to_owned(),
                reason: error.to_string(),
            },
            _ => error,
        }
    }

    /// Reads one authorization.
    fn look<'h>(
        &self,
        index: usize,
        handle: &'h mut AuthorizationHandle<'h>,
        wanted: ChallengeType,
    ) -> Result<Found, AcmeError> {
        let (name, identifier) = self.own_name(handle)?;
        match handle.status {
            AuthorizationStatus::Valid => return Ok(Found::Valid),
            AuthorizationStatus::Pending => {}
            _ => return Ok(Found::Refused(failures(&identifier, handle))),
        }
        let offered = handle
            .challenges
            .iter()
            .map(|each| type_name(&each.r#type))
            .collect();
        let Some(challenge) = handle.challenge(crate_type(wanted)) else {
            return Err(AcmeError::ChallengeNotOffered {
                identifier,
                wanted: wanted.name(),
                offered,
            });
        };
        if !is_token(&challenge.token) {
            return Err(not_ours(
                "a challenge whose token has characters that RFC 8555, 8.3 does not allow",
            ));
        }
        let key_authorization = challenge.key_authorization();
        Ok(Found::Pending(Pending {
            index,
            is_unanswered: challenge.status == ChallengeStatus::Pending,
            response: ChallengeResponse {
                name,
                token: challenge.token.clone(),
                key_authorization: key_authorization.as_str().to_owned(),
                txt: key_authorization.dns_value(),
            },
        }))
    }

    /// Returns an authorization's name, and how it is shown; refuses names that we did not order.
    fn own_name(&self, handle: &AuthorizationHandle<'_>) -> Result<(DomainName, String), AcmeError> {
        let authorized = handle.identifier();
        let name = match authorized.identifier {
            instant_acme::Identifier::Dns(name) => name.parse::<DomainName>().ok(),
            _ => None,
        };
        let name = name.ok_or_else(|| not_ours("an authorization for something that is no domain name"))?;
        let identifier = if authorized.wildcard {
            format!("*.{name}")
        } else {
            name.to_string()
        };
        if !self
            .request
            .identifiers
            .iter()
            .any(|ordered| ordered.to_string() == identifier)
        {
            return Err(not_ours("an authorization for a name that was not ordered"));
        }
        Ok((name, identifier))
    }

    /// Tells the CA that a response is in place.
    async fn answer(
        &self,
        order: &mut Order,
        index: usize,
        challenge: ChallengeType,
    ) -> Result<(), AcmeError> {
        call!(self.wire, async {
            let mut all = skip(order, index).await?;
            let mut handle = all.next().await.ok_or(Error::Str("no such authorization"))??;
            let mut challenge = handle
                .challenge(crate_type(challenge))
                .ok_or(Error::Str("no such challenge"))?;
            match challenge.set_ready().await {
                // Refused on the spot: the order's own state tells it for all names at once.
                Err(Error::Api(_)) if self.wire.is_success() => Ok(()),
                result => result,
            }
        })
    }

    /// Finds out why an order is invalid: from its authorizations, else from itself.
    pub(super) async fn why_lost(&self, order: &mut Order) -> AcmeError {
        let mut lost = Vec::new();
        for index in 0..order.state().authorizations.len() {
            let found = call!(self.wire, async {
                let mut all = skip(order, index).await?;
                let mut handle = all.next().await.ok_or(Error::Str("no such authorization"))??;
                handle.refresh().await?;
                let identifier = self.own_name(&handle).map(|(_, identifier)| identifier);
                Ok(identifier
                    .map(|identifier| failures(&identifier, &handle))
                    .unwrap_or_default())
            });
            match found {
                Ok(failures) => lost.extend(failures),
                // What is known by now has to do.
                Err(_) => break,
            }
        }
        if !lost.is_empty() {
            return AcmeError::Challenge(lost);
        }
        let state = order.state();
        let reason = match &state.error {
            Some(problem) => convert(problem).to_string(),
            None => format!("its status is {:?}", state.status).to_lowercase(),
        };
        AcmeError::OrderLost {
            url: order.url().to_owned(),
            reason,
        }
    }
}

/// Steps over the first authorizations; those known by now cost no request.
async fn skip(order: &mut Order, n: usize) -> Result<instant_acme::Authorizations<'_>, Error> {
    let mut all = order.authorizations();
    for _ in 0..n {
        all.next().await.ok_or(Error::Str("no such authorization"))??;
    }
    Ok(all)
}

/// Returns what went wrong with an authorization's challenges; nothing for one that is not lost.
fn failures(identifier: &str, handle: &AuthorizationHandle<'_>) -> Vec<ChallengeFailure> {
    let failure = |challenge: &instant_acme::Challenge| {
        let problem = convert(challenge.error.as_ref()?);
        let challenge = type_name(&challenge.r#type);
        Some(ChallengeFailure {
            identifier: identifier.to_owned(),
            challenge,
            problem,
            remark: None,
        })
    };
    let mut failures: Vec<_> = handle.challenges.iter().filter_map(failure).collect();
    let is_lost = !matches!(
        handle.status,
        AuthorizationStatus::Pending | AuthorizationStatus::Valid
    );
    if failures.is_empty() && is_lost {
        let problem = Problem {
            detail: format!("the authorization is {:?}", handle.status).to_lowercase(),
            ..Problem::default()
        };
        let challenge = "an earlier challenge".to_owned();
        failures.push(ChallengeFailure {
            identifier: identifier.to_owned(),
            challenge,
            problem,
            remark: None,
        });
    }
    failures
}

/// Returns the error for an order that is not the one we made.
fn not_ours(what: &str) -> AcmeError {
    AcmeError::Invalid(format!("the CA's order has {what}"))
}

/// Names what is to be won.
fn list_pending(pending: &[Pending]) -> String {
    shorten(pending.iter().map(|each| each.response.name.to_string()))
}
