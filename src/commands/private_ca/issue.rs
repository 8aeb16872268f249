//! `ca issue`: key and certificate in one.

use zeroize::Zeroizing;

use super::{
    Keys, Place,
    sign::{OTHER_NAMES, Signing, Terms},
    tell,
};
use crate::{
    ca::{name::AltName, request::judge},
    commands::{
        csr::Out,
        private_ca::sign::{Action, Done, Signed},
    },
    env::{Env, files, progress::Progress},
    error::{Error, Result},
    model::key::{KeyType, PrivateKey},
    store::{layout, requests},
};

/// What is asked for.
pub struct Request {
    /// The names.
    pub names: Vec<AltName>,
    /// What it is for, and for how long.
    pub terms: Terms,
    /// The kind of key.
    pub key: KeyType,
    /// Where the files go: BASENAME.key and BASENAME.pem.
    pub out: Out,
}

/// Makes a key and its certificate.
///
/// # Errors
/// Exit 2 when the names are not permitted, or files are there; exit 1 when something cannot be written.
pub fn run(
    env: &Env,
    progress: &Progress,
    place: &Place,
    keys: &mut Keys<'_>,
    request: &Request,
) -> Result<Signed> {
    let authority = place.open()?;
    let base = &request.out.basename;
    let refused = || Error::usage("no certificate was issued");
    judge(&request.names, &authority.settings.constraints)
        .map_err(|error| refused().cause(error).remedy(OTHER_NAMES))?;
    if base.is_empty() || base.starts_with('.') || base.contains(['/', '\0']) || base.len() > 200 {
        return Err(refused()
            .cause(format!(
                "`{}` cannot be part of a file's name",
                base.escape_debug()
            ))
            .remedy("name the files: --basename mail-server"));
    }
    let names = [format!("{base}.key"), format!("{base}.pem")];
    let taken = names
        .iter()
        .map(|name| request.out.directory.join(name))
        .find(|path| path.symlink_metadata().is_ok());
    if let Some(path) = taken {
        return Err(
            Error::failed("no certificate was issued: nothing is written over")
                .cause(format!("{} exists", path.display()))
                .remedy("move it away, or choose another --out-dir or --basename"),
        );
    }
    let unlocked = keys.unlock(env, place, &authority, authority.settings.signer)?;
    progress.step(&format!("making a key ({})", request.key.name()));
    let key = PrivateKey::generate(request.key)
        .map_err(|error| Error::failed("no certificate was issued").cause(error))?;
    let now = env.clock.now();
    let signing = Signing::new(&authority, &unlocked, &request.terms, now)?;
    let signed = signing.sign(&key.public_key_der(), &request.names)?;
    files::make_named_directory(&request.out.directory, layout::PRIVATE)
        .map_err(|error| tell("no certificate was issued", &error.into()))?;
    let failed = |error: &_| tell("no certificate was issued", error);
    {
        let mut writer = authority.write(now).map_err(|error| failed(&error))?;
        writer
            .record(std::slice::from_ref(&signed), now)
            .map_err(|error| failed(&error))?;
    }
    let texts = [
        (names[0].clone(), Zeroizing::new(key.to_pem())),
        (
            names[1].clone(),
            Zeroizing::new(format!("{}{}", signed.pem, signing.intermediates())),
        ),
    ];
    requests::write_out(&request.out.directory, &texts).map_err(|error| {
        tell(
            "the certificate was signed, but its files could not be written",
            &error.into(),
        )
    })?;
    progress.clear();
    let mut done = Done::of(&signed, Action::Signed);
    done.file = Some(request.out.directory.join(&names[1]));
    done.key_file = Some(request.out.directory.join(&names[0]));
    Ok(Signed::of(&authority, vec![done], signing.notes()))
}
