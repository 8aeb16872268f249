//! `import`.

use std::path::Path;

use super::{Show, challenge_type, listen_addresses, yes_needed};
use crate::{
    cli::{args, ask::Asker},
    commands::{
        import,
        init::{self, Ask},
    },
    env::Env,
    error::{Error, ExitCode, Result},
};

pub(super) fn run(env: &mut Env, args: &args::import::Import, path: &Path, shown: &Show) -> Result<ExitCode> {
    let request = request(args)?;
    let mut asker = Asker::at_terminal(env);
    let ask = asker.as_mut().map(|asker| asker as &mut (dyn Ask + 'static));
    let prepared = import::prepare(env, path, &request, ask)?;
    if args.dry_run {
        return Ok(shown.outcome(env, &prepared));
    }
    shown.preview(env, &prepared);
    if !args.yes {
        let agreed = match asker.as_mut() {
            Some(asker) => asker.yes("Take this over?")?,
            None => return Err(yes_needed("import")),
        };
        if !agreed {
            return Err(Error::usage("nothing was done: the answer was no"));
        }
    }
    let done = import::carry_out(env, &shown.progress, prepared)?;
    Ok(shown.outcome(env, &done))
}

fn request(args: &args::import::Import) -> Result<import::Request> {
    let challenge = args.challenge.map(challenge_type);
    Ok(import::Request {
        client: args.client.into(),
        place: args.directory_of_client.clone(),
        lineages: args.lineages.clone(),
        answers: init::Request {
            host: args.host.clone(),
            domains: args.domains.clone(),
            identifiers: Vec::new(),
            issuer: None,
            directory: args.directory.clone(),
            root_ca_file: args.root_ca_file.clone(),
            contact: Vec::new(),
            agree_to_terms: args.agree_to_terms,
            external_account: None,
            challenge,
            listen: listen_addresses(&args.listen, challenge)?,
            postfix_config_directory: args.postfix_config_directory.clone(),
            state_directory: args.state_directory.clone(),
            dovecot_config_directory: args.dovecot_config_directory.clone(),
            no_dovecot: args.no_dovecot,
            publish: Vec::new(),
            timer: None,
        },
    })
}
