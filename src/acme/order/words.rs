//! The words of `instant-acme` and ours.

use crate::acme::{
    challenge::ChallengeType,
    problem::{Problem, ProblemIdentifier},
};

/// Converts the crate's problem document.
pub(super) fn convert(problem: &instant_acme::Problem) -> Problem {
    let subproblem = |sub: &instant_acme::Subproblem| Problem {
        kind: sub.r#type.clone().unwrap_or_default(),
        detail: sub.detail.clone().unwrap_or_default(),
        identifier: sub.identifier.as_ref().map(|identifier| ProblemIdentifier {
            value: identifier.authorized(false).to_string(),
        }),
        ..Problem::default()
    };
    Problem {
        kind: problem.r#type.clone().unwrap_or_default(),
        detail: problem.detail.clone().unwrap_or_default(),
        instance: None,
        identifier: None,
        subproblems: problem.subproblems.iter().map(subproblem).collect(),
    }
}

/// Returns the crate's word for a challenge.
pub(super) fn crate_type(challenge: ChallengeType) -> instant_acme::ChallengeType {
    match challenge {
        ChallengeType::Dns01 => instant_acme::ChallengeType::Dns01,
        ChallengeType::Http01 => instant_acme::ChallengeType::Http01,
        ChallengeType::TlsAlpn01 => instant_acme::ChallengeType::TlsAlpn01,
    }
}

/// Returns the standard's word for a challenge.
pub(super) fn type_name(challenge: &instant_acme::ChallengeType) -> String {
    match challenge {
        instant_acme::ChallengeType::Dns01 => "dns-01".to_owned(),
        instant_acme::ChallengeType::Http01 => "http-01".to_owned(),
        instant_acme::ChallengeType::TlsAlpn01 => "tls-alpn-01".to_owned(),
        instant_acme::ChallengeType::DeviceAttest01 => "device-attest-01".to_owned(),
        instant_acme::ChallengeType::Unknown(name) => name.clone(),
        other => format!("{other:?}"),
    }
}
