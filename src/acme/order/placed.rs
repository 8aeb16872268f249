//! Challenge responses that are in place, and are taken away whatever happens.

use std::sync::Arc;

use crate::acme::{
    challenge::{ChallengeResponse, ChallengeType, Present, Verdict},
    error::AcmeError,
};

/// Challenge responses that are in place, and go away with this value.
pub(super) struct Placed {
    present: Arc<dyn Present>,
    responses: Vec<ChallengeResponse>,
    leftovers: Option<String>,
}

impl Placed {
    /// Returns nothing in place yet, to be put there by this.
    pub fn new(present: Arc<dyn Present>) -> Self {
        Self {
            present,
            responses: Vec::new(),
            leftovers: None,
        }
    }

    /// Returns which challenge is put in place.
    pub fn challenge_type(&self) -> ChallengeType {
        self.present.challenge_type()
    }

    /// Returns why responses could not be taken away, when they could not.
    pub fn leftovers(&mut self) -> Option<String> {
        self.leftovers.take()
    }

    /// Puts responses in place. They count as placed from the first moment, since half of them may be.
    pub async fn place(&mut self, responses: Vec<ChallengeResponse>) -> Result<(), AcmeError> {
        self.responses = responses;
        self.present.present(&self.responses).await
    }

    /// Tells who put them in place what came of it.
    pub async fn tell(&self, verdict: Verdict<'_>) {
        self.present.judged(&self.responses, verdict).await;
    }

    /// Returns what the reader should know when the CA did not see them.
    pub async fn remark(&self) -> Option<String> {
        self.present.remark().await
    }

    /// Takes them away, once.
    pub async fn take_away(&mut self) {
        if self.responses.is_empty() {
            return;
        }
        let limit = self.present.cleanup_limit(self.responses.len());
        self.leftovers = match tokio::time::timeout(limit, self.present.cleanup(&self.responses)).await {
            Ok(result) => result.err().map(|error| error.to_string()),
            Err(_) => Some(format!("taking it away took longer than {} s", limit.as_secs())),
        };
        self.responses.clear();
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // Only after an interruption there is something left. The runtime may be ending: then this is in vain.
        let responses = std::mem::take(&mut self.responses);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if !responses.is_empty() {
            let present = self.present.clone();
            runtime.spawn(async move { present.cleanup(&responses).await });
        }
    }
}
