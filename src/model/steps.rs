//! When each step of a lineage succeeded and failed last. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::lineage::Step;

/// When each step succeeded and failed last; kept in the lineage's record, for `status` and the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    #[serde(default, skip_serializing_if = "Moments::is_never")]
    order: Moments,
    #[serde(default, skip_serializing_if = "Moments::is_never")]
    install: Moments,
    #[serde(default, skip_serializing_if = "Moments::is_never")]
    deploy: Moments,
    #[serde(default, skip_serializing_if = "Moments::is_never")]
    hook: Moments,
    #[serde(default, skip_serializing_if = "Moments::is_never")]
    verify: Moments,
}

/// When a step succeeded and failed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moments {
    /// The last success.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub succeeded: Option<OffsetDateTime>,
    /// The last failure; it stays known after a success.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub failed: Option<OffsetDateTime>,
}

impl Moments {
    /// Returns whether the step was never brought to an end.
    pub fn is_never(&self) -> bool {
        *self == Self::default()
    }
}

impl Steps {
    /// Returns whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns what is known of a step.
    pub fn of(&self, step: Step) -> Moments {
        match step {
            Step::Deploy => self.deploy,
            Step::Hook => self.hook,
            Step::Install => self.install,
            Step::Order => self.order,
            Step::Verify => self.verify,
        }
    }

    /// Notes that a step succeeded.
    pub fn succeeded(&mut self, step: Step, at: OffsetDateTime) {
        self.mutable(step).succeeded = Some(at);
    }

    /// Notes that a step failed.
    pub fn failed(&mut self, step: Step, at: OffsetDateTime) {
        self.mutable(step).failed = Some(at);
    }

    fn mutable(&mut self, step: Step) -> &mut Moments {
        match step {
            Step::Deploy => &mut self.deploy,
            Step::Hook => &mut self.hook,
            Step::Install => &mut self.install,
            Step::Order => &mut self.order,
            Step::Verify => &mut self.verify,
        }
    }
}

impl Step {
    /// Every step, in the order in which they are taken.
    pub const ALL: [Self; 5] = [Self::Order, Self::Install, Self::Deploy, Self::Hook, Self::Verify];

    /// Returns the word for it in records, texts and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Hook => "hook",
            Self::Install => "install",
            Self::Order => "order",
            Self::Verify => "verify",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn knows_every_step_apart_and_reads_back_what_it_wrote() {
        let mut steps = Steps::default();
        assert_eq!(serde_json::to_string(&steps).unwrap(), "{}");
        for (n, step) in (0_i64..).zip(Step::ALL) {
            let at = datetime!(2030-01-01 0:00 UTC) + time::Duration::hours(n);
            steps.succeeded(step, at);
            steps.failed(step, at - time::Duration::minutes(1));
        }
        let text = serde_json::to_string(&steps).unwrap();
        assert_eq!(serde_json::from_str::<Steps>(&text).unwrap(), steps);
        for (n, step) in (0_i64..).zip(Step::ALL) {
            let at = datetime!(2030-01-01 0:00 UTC) + time::Duration::hours(n);
            assert_eq!(steps.of(step).succeeded, Some(at), "{step}");
            assert_eq!(
                steps.of(step).failed,
                Some(at - time::Duration::minutes(1)),
                "{step}"
            );
            assert!(text.contains(&format!("\"{step}\"")), "{text}");
        }
    }
}
