//! Which endpoints of the configuration no deployment has asked yet.

use crate::{
    commands::Context,
    config::{Certificate, Verify as Listed},
    model::{
        endpoint::Endpoint,
        lineage::{Lineage, State, Verify},
    },
};

/// Returns the endpoints that `postfix.verify` lists and that a deployment of this lineage has not asked yet.
///
/// A list that grew is seen without asking anybody. With `verify = "auto"` there is none.
pub fn unproven<'c>(
    context: &'c Context<'_>,
    certificate: &Certificate,
    lineage: &Lineage,
) -> Vec<&'c Endpoint> {
    let is_default = || {
        let default = context.config.default_certificate();
        default.is_some_and(|default| default.name == certificate.name)
    };
    let Some(deployment) = &lineage.deployment else {
        return Vec::new();
    };
    if context.goal() != State::Verified || deployment.verify == Verify::Off && !is_default() {
        return Vec::new();
    }
    let listed = listed(context).iter();
    listed
        .filter(|endpoint| !deployment.listed.contains(endpoint))
        .collect()
}

/// Returns the endpoints that the configuration lists.
pub(super) fn listed<'c>(context: &'c Context<'_>) -> &'c [Endpoint] {
    match &context.config.postfix.verify {
        Listed::Endpoints(endpoints) => endpoints,
        Listed::Auto => &[],
    }
}
