//! Makes an order, or finds again the one that an earlier run left behind (RFC 8555, 7.4).

use instant_acme::{Account, CertificateIdentifier, Error, NewOrder, Order, OrderStatus};

use super::{Run, SaveOrder, shorten, words::convert};
use crate::{
    acme::{error::AcmeError, renewal_info::CertificateId, wire::call},
    model::name::Identifier,
};

impl Run<'_> {
    /// Finds the order to resume, or makes a new one.
    pub(super) async fn begin(&self, orders: &dyn SaveOrder) -> Result<Order, AcmeError> {
        let account = Account::builder_with_http(Box::new(self.wire.clone()))
            .from_credentials(self.session.credentials()?)
            .await
            .map_err(|error| self.wire.explain(&error))?;
        if let Some(url) = self.request.resume {
            return self.resume(&account, url).await;
        }
        self.check_profile()?;
        self.progress.step(&format!(
            "ordering a certificate for {}",
            list(self.request.identifiers)
        ));
        let replaces = self
            .request
            .replaces
            .filter(|_| self.session.directory.has_renewal_info());
        match self.place(&account, replaces, orders).await {
            Err(error) if replaces.is_some() && is_refusal(&error) && orders.may_go_without_replaces() => {
                self.place(&account, None, orders).await?
            }
            result => result?,
        }
    }

    /// Refuses a profile that the CA does not have, before that costs an order.
    fn check_profile(&self) -> Result<(), AcmeError> {
        let profiles = &self.session.directory.meta().profiles;
        match self.request.profile {
            Some(profile) if !profiles.contains_key(profile) => Err(AcmeError::ProfileNotOffered {
                profile: profile.to_owned(),
                offered: profiles.clone().into_iter().collect(),
            }),
            _ => Ok(()),
        }
    }

    /// Makes a new order, and has its URL saved.
    ///
    /// The outer failure is that of making it, the inner one that of an order that was made.
    async fn place(
        &self,
        account: &Account,
        replaces: Option<&CertificateId>,
        orders: &dyn SaveOrder,
    ) -> Result<Result<Order, AcmeError>, AcmeError> {
        let names: Vec<instant_acme::Identifier> = self
            .request
            .identifiers
            .iter()
            .map(|name| instant_acme::Identifier::Dns(name.to_string()))
            .collect();
        let mut new_order = NewOrder::new(&names);
        if let Some(profile) = self.request.profile {
            new_order = new_order.profile(profile);
        }
        if let Some((key_id, serial)) = replaces.and_then(CertificateId::halves) {
            new_order = new_order.replaces(CertificateIdentifier {
                authority_key_identifier: key_id.into(),
                serial: serial.into(),
            });
        }
        let mut saved: Option<Result<String, AcmeError>> = None;
        let placed = call!(self.wire, async {
            let mut placing = std::pin::pin!(account.new_order(&new_order));
            loop {
                tokio::select! {
                    biased;
                    () = self.wire.head_arrived(), if saved.is_none() => saved = self.save_location(orders),
                    result = &mut placing => {
                        saved = saved.take().or_else(|| self.save_location(orders));
                        return result;
                    }
                }
                if matches!(saved, Some(Err(_))) {
                    return Err(Error::Str("the order's URL is not saved"));
                }
            }
        });
        match (placed, saved) {
            (_, Some(Err(error))) => Err(error),
            (Ok(order), _) => Ok(Ok(order)),
            // The order is there, but its first answer is of no use: ask again.
            (Err(_), Some(Ok(url))) => Ok(call!(self.wire, account.order(url.clone()))),
            (Err(error), None) => Err(error),
        }
    }

    /// Has the order's URL saved, once there is one.
    fn save_location(&self, orders: &dyn SaveOrder) -> Option<Result<String, AcmeError>> {
        let url = self.wire.location()?;
        Some(orders.save(&url).map_err(AcmeError::NotSaved).map(|()| url))
    }

    /// Finds an order again.
    async fn resume(&self, account: &Account, url: &str) -> Result<Order, AcmeError> {
        self.progress.step(&format!(
            "resuming the order for {}",
            list(self.request.identifiers)
        ));
        let lost = |reason: String| AcmeError::OrderLost {
            url: url.to_owned(),
            reason,
        };
        let mut order = match call!(self.wire, account.order(url.to_owned())) {
            Ok(order) => order,
            Err(error) if is_gone(&error) => return Err(lost(error.to_string())),
            Err(error) => return Err(error),
        };
        match order.state() {
            state if state.status != OrderStatus::Invalid => Ok(order),
            state => {
                let reason = state.error.as_ref().map(|problem| convert(problem).to_string());
                Err(lost(reason.unwrap_or_else(|| "it is invalid".to_owned())))
            }
        }
    }
}

/// Returns whether the CA refused an order as such; then it may go without `replaces`.
fn is_refusal(error: &AcmeError) -> bool {
    matches!(error, AcmeError::Problem { .. } | AcmeError::Status { .. })
        && !error.is_rate_limit()
        && !error.is_paused()
}

/// Returns whether the CA has no such order for us (any more).
fn is_gone(error: &AcmeError) -> bool {
    match error {
        AcmeError::Problem { status, .. } | AcmeError::Status { status, .. } => {
            matches!(status, 400 | 403 | 404 | 410)
        }
        _ => false,
    }
}

/// Names what an order is for; a long list is cut.
fn list(identifiers: &[Identifier]) -> String {
    shorten(identifiers.iter().map(ToString::to_string))
}
