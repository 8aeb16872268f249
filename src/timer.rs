//! stub timer
use crate::{
    config::{Config, Timer},
    env::Env,
    model::plan::Plan,
};
use std::path::Path;
use time::OffsetDateTime;
/// s
pub struct Seen {
    /// e
    pub enabled: bool,
    /// k
    pub kind: &'static str,
    /// l
    pub last_run: Option<OffsetDateTime>,
    /// n
    pub next_run: Option<OffsetDateTime>,
}
/// s
pub fn status(_env: &Env, _t: Timer) -> Seen {
    Seen {
        enabled: false,
        kind: "none",
        last_run: None,
        next_run: None,
    }
}
/// p
pub fn plan(_env: &Env, _c: &Config, _p: &Path) -> Plan {
    Plan::default()
}
/// e
pub fn enable(_env: &Env, _u: &str) -> Result<(), String> {
    Ok(())
}
/// d
pub fn disable(_env: &Env, _u: &str) -> Result<(), String> {
    Ok(())
}
