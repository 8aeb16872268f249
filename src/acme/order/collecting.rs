//! Collects the certificate of a valid order, and with it the chain that is preferred (RFC 8555, 7.4.2).

use instant_acme::Order;

use super::Run;
use crate::acme::{
    chain::Chain,
    error::AcmeError,
    jws::{self, Signer},
    wire::call,
};

/// The chain that was picked.
pub(super) struct Picked {
    pub chain: Chain,
    /// All there were, when none is the preferred one.
    pub others: Option<Vec<String>>,
}

impl Run<'_> {
    /// Gets the certificate; alternates are asked for only when the default chain is not the preferred one.
    pub(super) async fn collect(&self, order: &mut Order) -> Result<Picked, AcmeError> {
        let pem = call!(self.wire, order.certificate())?;
        let pem = pem.ok_or(AcmeError::IssuedOther("there is none".to_owned()))?;
        let chain = self.check(pem.as_bytes()).map_err(AcmeError::IssuedOther)?;
        let alternates = self.wire.alternates();
        let Some(preferred) = self.request.preferred_chain else {
            return Ok(Picked { chain, others: None });
        };
        let mut others = vec![chain.topmost_issuer()];
        if others.iter().any(|issuer| issuer == preferred) {
            return Ok(Picked { chain, others: None });
        }
        for url in alternates {
            self.progress.step("asking the CA for another chain");
            // The certificate is here: an alternate that cannot be had is no reason to lose it.
            let Ok(alternate) = self.fetch(&url).await else {
                continue;
            };
            let issuer = alternate.topmost_issuer();
            if issuer == preferred && alternate.certificates.first() == chain.certificates.first() {
                return Ok(Picked {
                    chain: alternate,
                    others: None,
                });
            }
            others.push(issuer);
        }
        Ok(Picked {
            chain,
            others: Some(others),
        })
    }

    fn check(&self, pem: &[u8]) -> Result<Chain, String> {
        Chain::check(pem, self.request.request_der, self.request.identifiers)
    }

    /// Gets an alternate, by a POST-as-GET of our own: the crate knows of none.
    async fn fetch(&self, url: &str) -> Result<Chain, AcmeError> {
        let (http, directory) = (self.session.http(), self.session.directory());
        let signer = Signer::Account(self.session.key(), self.session.account_url());
        let answer = jws::post(http, directory, signer, url, None, self.wire.take_nonce()).await?;
        self.wire.put_nonce(answer.nonce());
        self.check(&answer.body).map_err(AcmeError::IssuedOther)
    }
}
