//! Which failure holds back what: an order that the CA refused says nothing about putting into service, nor the reverse. Pure.
//!
//! A lineage shows its last failure. One of the other concern is set aside, not forgotten: it goes on holding back what it
//! is about, and counts on.

use super::lineage::{Failure, Lineage, Step};

/// What a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Getting a certificate.
    Order,
    /// Putting one into service, and seeing it served.
    Service,
}

impl Step {
    /// Returns what the step is about.
    pub fn concern(self) -> Concern {
        match self {
            Self::Order => Concern::Order,
            Self::Deploy | Self::Hook | Self::Install | Self::Verify => Concern::Service,
        }
    }
}

impl Lineage {
    /// Returns the last failure of this concern, shown or set aside.
    pub fn failure_of(&self, concern: Concern) -> Option<&Failure> {
        [&self.failure, &self.set_aside]
            .into_iter()
            .flatten()
            .find(|failure| failure.step.concern() == concern)
    }

    /// Keeps a failure and shows it; one of the other concern is set aside.
    pub fn keep_failure(&mut self, failure: Failure) {
        let concern = failure.step.concern();
        if concern == Concern::Order {
            self.held = None;
        }
        let other = [self.failure.take(), self.set_aside.take()]
            .into_iter()
            .flatten()
            .find(|earlier| earlier.step.concern() != concern);
        self.set_aside = other;
        self.failure = Some(failure);
    }

    /// Sets an order's failure aside, so that success in service does not take it for overcome.
    pub fn set_order_failure_aside(&mut self) {
        if self
            .failure
            .as_ref()
            .is_some_and(|failure| failure.step.concern() == Concern::Order)
        {
            std::mem::swap(&mut self.failure, &mut self.set_aside);
        }
    }

    /// Shows what was set aside, when nothing else is wrong.
    pub fn show_what_was_set_aside(&mut self) {
        if self.failure.is_none() {
            self.failure = self.set_aside.take();
        }
    }

    /// Forgets the failure of this concern: what it held back is not wanted any more.
    pub fn forget_failure_of(&mut self, concern: Concern) {
        for kept in [&mut self.failure, &mut self.set_aside] {
            kept.take_if(|failure| failure.step.concern() == concern);
        }
        self.show_what_was_set_aside();
    }

    /// Forgets all failures: there is a new certificate.
    pub fn forget_failures(&mut self) {
        self.failure = None;
        self.set_aside = None;
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn failure(step: Step, count: u32) -> Failure {
        Failure {
            step,
            message: String::new(),
            remedies: Vec::new(),
            count,
            at: datetime!(2026-01-01 0:00 UTC),
            retry_at: datetime!(2026-01-01 0:01 UTC),
            configuration: String::new(),
            not_yet: false,
        }
    }

    #[test]
    fn one_of_each_concern_is_kept() {
        let mut lineage = Lineage::new("a.example");
        let count = |lineage: &Lineage, concern| lineage.failure_of(concern).map(|failure| failure.count);
        lineage.keep_failure(failure(Step::Order, 3));
        lineage.keep_failure(failure(Step::Verify, 1));
        lineage.keep_failure(failure(Step::Deploy, 2));
        assert_eq!(count(&lineage, Concern::Order), Some(3));
        assert_eq!(count(&lineage, Concern::Service), Some(2));
        lineage.keep_failure(failure(Step::Order, 4));
        assert_eq!(lineage.failure.as_ref().map(|failure| failure.count), Some(4));
        assert_eq!(count(&lineage, Concern::Service), Some(2));

        lineage.set_order_failure_aside();
        assert_eq!(lineage.failure.take().map(|failure| failure.count), Some(2));
        lineage.show_what_was_set_aside();
        assert_eq!(lineage.failure.as_ref().map(|failure| failure.count), Some(4));
        assert_eq!(lineage.set_aside, None);
        lineage.keep_failure(failure(Step::Verify, 5));
        lineage.forget_failure_of(Concern::Service);
        assert_eq!(lineage.failure.as_ref().map(|failure| failure.count), Some(4));
        lineage.forget_failure_of(Concern::Order);
        assert_eq!((&lineage.failure, &lineage.set_aside), (&None, &None));
        lineage.forget_failures();
        assert_eq!(count(&lineage, Concern::Order), None);
    }
}
