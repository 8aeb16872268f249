//! What main.cf does with the SNI map of ours. Pure.
//!
//! Rules: postconf(5), tls_server_sni_maps.

use super::{Desired, DesiredError, SNI_MAPS, Setting, SniRequest, Unwanted, in_main_cf, parameter};
use crate::postfix::{
    sni,
    syntax::MainCf,
    values::{Values, Version},
};

/// Decides about `tls_server_sni_maps`: ours is named after the operator's own, which stay.
pub(super) fn sni_maps(
    request: SniRequest<'_>,
    version: Version,
    main_cf: &MainCf,
    values: &Values,
    desired: &mut Desired,
) -> Result<(), DesiredError> {
    let present = values.get(SNI_MAPS);
    let named = sni::named_type(present, request.source);
    if !request.is_wanted {
        if named.is_some() && sni::is_only(present, request.source) {
            desired.unwanted.push(Unwanted {
                name: SNI_MAPS,
                reason: "no certificate has `sni = true` any more (postconf(5), tls_server_sni_maps)",
            });
        }
        return Ok(());
    }
    let parameter = parameter(SNI_MAPS, 3, 4);
    if version < parameter.since {
        return Err(DesiredError::TooOld {
            parameter,
            installed: version,
        });
    }
    let kind = values.get("default_database_type");
    if sni::compiled(kind, request.source).is_none() {
        return Err(DesiredError::MapType(kind.to_owned()));
    }
    let ours = format!("{kind}:{}", in_main_cf(request.source)?);
    // As it is written, references and all; they may stand for the operator's own maps.
    let written = main_cf.get(SNI_MAPS).unwrap_or_default();
    let written = String::from_utf8_lossy(&written)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let value = match named {
        Some(named) if named == kind => present.to_owned(),
        // The type that new maps are made of has changed: an upgrade of Postfix.
        Some(named) => written.replace(&format!("{named}:{}", request.source.display()), &ours),
        None if present.is_empty() => ours,
        None => {
            desired.notes.push(format!(
                "tls_server_sni_maps: your own {present} stays, and is asked first: a name in it gets your certificate, \
                 not the one that mailcert renews"
            ));
            format!("{written}, {ours}")
        }
    };
    desired.settings.push(Setting {
        name: SNI_MAPS,
        value,
        reason: "a certificate for each name that clients ask for (postconf(5), tls_server_sni_maps)",
    });
    Ok(())
}
