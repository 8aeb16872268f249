//! The roots that the client trusts: `smtp_tls_CAfile` and `smtp_tls_CApath`. Pure.
//!
//! Rules: postconf(5), smtp_tls_CAfile, smtp_tls_CApath.

use std::path::Path;

use super::{
    Desired, DesiredError, Request, SYSTEM_BUNDLES, SYSTEM_CA_DIRECTORIES, Setting, Unwanted, in_main_cf,
};
use crate::{
    config::ClientCa,
    postfix::{syntax::MainCf, values::Values},
};

/// Decides about `smtp_tls_CAfile`.
pub(super) fn client_ca(
    request: &Request<'_>,
    main_cf: &MainCf,
    values: &Values,
    desired: &mut Desired,
) -> Result<(), DesiredError> {
    let present = values.get("smtp_tls_CAfile");
    let (value, reason) = match request.client_ca {
        ClientCa::Keep => return Ok(()),
        ClientCa::File(path) => (
            in_main_cf(path)?,
            "the roots that `client_ca` names (postconf(5), smtp_tls_CAfile)",
        ),
        ClientCa::OwnChain => {
            desired.notes.push(
                "client_ca = \"own-chain\": smtp_tls_CAfile holds no roots then, and every outgoing session is logged \
                 as Untrusted; `client_ca = \"system\"` mends that"
                    .to_owned(),
            );
            // Not chain.pem: it is empty where the CA signs with its root, and an empty file switches TLS off.
            (
                in_main_cf(&request.live.fullchain)?,
                "our own chain, as `client_ca` says",
            )
        }
        ClientCa::Ca | ClientCa::System => {
            let Some(first) = request.system_bundles.first() else {
                desired.notes.push(format!(
                    "smtp_tls_CAfile is left as it is: this host has none of {}; install the distribution's CA \
                     certificates, or name a file as `client_ca`",
                    SYSTEM_BUNDLES.join(", ")
                ));
                return Ok(());
            };
            if *request.client_ca == ClientCa::Ca {
                let reason = "the roots that the distribution trusts, and that of the private CA (postconf(5), \
                              smtp_tls_CAfile)";
                return set(
                    request,
                    in_main_cf(&request.policy.trust_bundle)?,
                    reason,
                    main_cf,
                    values,
                    desired,
                );
            }
            // Another of its names is as good: RHEL and SUSE have two each.
            let kept = request.system_bundles.iter().find(|bundle| **bundle == present);
            let reason = "the roots that the distribution trusts; with one's own certificate there, every outgoing \
                          session is logged as Untrusted (postconf(5), smtp_tls_CAfile)";
            ((*kept.unwrap_or(first)).to_owned(), reason)
        }
    };
    set(request, value, reason, main_cf, values, desired)
}

fn set(
    request: &Request<'_>,
    value: String,
    reason: &'static str,
    main_cf: &MainCf,
    values: &Values,
    desired: &mut Desired,
) -> Result<(), DesiredError> {
    let present = values.get("smtp_tls_CAfile");
    // The distribution's bundle holds no roots of the operator's, and ours is made by us.
    let is_known = SYSTEM_BUNDLES.contains(&present) || request.policy.trust_bundle == Path::new(present);
    if !present.is_empty() && present != value && !(is_known && *request.client_ca == ClientCa::Ca) {
        desired.notes.push(format!(
            "smtp_tls_CAfile was {present}; if it holds roots of your own, name it as `client_ca` or say \
             `client_ca = \"keep\"`"
        ));
    }
    desired.settings.push(Setting {
        name: "smtp_tls_CAfile",
        value,
        reason,
    });
    ca_path(request, main_cf, values, desired);
    Ok(())
}

/// Decides about `smtp_tls_CApath`, which the guide and most distributions set beside `smtp_tls_CAfile`.
fn ca_path(request: &Request<'_>, main_cf: &MainCf, values: &Values, desired: &mut Desired) {
    let directory = values.get("smtp_tls_CApath").trim_end_matches('/');
    if main_cf.get("smtp_tls_CApath").is_none() || directory.is_empty() {
        return;
    }
    let is_system = SYSTEM_CA_DIRECTORIES.contains(&directory);
    if is_system && !matches!(request.client_ca, ClientCa::File(_)) {
        desired.unwanted.push(Unwanted {
            name: "smtp_tls_CApath",
            reason: "smtp_tls_CAfile takes its place: a file is read before a chroot, a directory is searched inside \
                     it (postconf(5), smtp_tls_CApath)",
        });
    } else {
        desired.notes.push(format!(
            "smtp_tls_CApath = {directory} stays: roots in it are trusted as well"
        ));
    }
}
