//! Which program puts a challenge response in place, and takes it away, with which arguments and variables. Pure.

use serde_json::json;

use super::{
    call::{Call, argv, document_for},
    event::{Challenge, Fate, Surroundings},
    variables::{self, Variables},
};
use crate::config::hook::{Chain, ChallengeHook, ChallengeStyle, Command};

/// Runs a function of an unmodified acme.sh: its last line runs what it finds as `$1`, and defines everything on the way.
/// `$0` is acme.sh, so that it finds its own directory.
const ACME_SH: &str = r#"mailcert_verb=$1 mailcert_api=$2 mailcert_name=$3 mailcert_value=$4
set -- _exists sh
. "$0" || exit
_initpath || exit
mailcert_file=$(_findHook "" dnsapi "$mailcert_api")
if [ ! -f "$mailcert_file" ]; then
    printf '%s has no dnsapi script %s\n' "$0" "$mailcert_api" >&2
    exit 1
fi
. "$mailcert_file" || exit
"${mailcert_api}_$mailcert_verb" "$mailcert_name" "$mailcert_value"
"#;

/// Something that happens to the challenges of an order.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// The response is to be put in place.
    Present,
    /// It is to be taken away; and what the program printed when it put it in place.
    Cleanup(Fate, &'a str),
}

impl Step<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Cleanup(..) => "cleanup",
        }
    }
}

/// A failure at the CA, for dehydrated's scripts.
#[derive(Clone, Copy, Debug)]
pub enum Refusal<'a> {
    /// The CA could not confirm a name, in its words.
    Challenge(&'a str, &'a str),
    /// It refused a request: status and body.
    Request(u16, &'a str),
}

/// Returns the calls that a step of these challenges of one order means, in their order.
pub fn calls(
    hook: &ChallengeHook,
    challenges: &[Challenge],
    step: Step<'_>,
    around: &Surroundings,
) -> Vec<Call> {
    if let (ChallengeStyle::Dehydrated(Chain::Yes), Some(first)) = (&hook.style, challenges.first()) {
        let mut args = vec![dehydrated_event(step)];
        args.extend(challenges.iter().flat_map(dehydrated_arguments));
        return vec![call(
            hook,
            &hook.command,
            &args,
            dehydrated_variables(first, around),
            step,
        )];
    }
    challenges
        .iter()
        .filter_map(|challenge| one(hook, challenge, step, around))
        .collect()
}

/// Returns the call for one challenge.
fn one(hook: &ChallengeHook, challenge: &Challenge, step: Step<'_>, around: &Surroundings) -> Option<Call> {
    let response = match challenge.kind {
        "http-01" => challenge.key_authorization.as_str(),
        _ => &challenge.digest,
    };
    let record = challenge.record.as_deref().unwrap_or_default();
    let qualified = format!("{record}.");
    let made = match &hook.style {
        ChallengeStyle::Mailcert => native(hook, challenge, step),
        ChallengeStyle::Certbot(cleanup) => {
            let output = match step {
                Step::Present => None,
                Step::Cleanup(_, output) => Some(output),
            };
            let command = match step {
                Step::Present => &hook.command,
                Step::Cleanup(..) => cleanup.as_ref()?,
            };
            let own = variables::certbot_challenge(challenge, output);
            call(hook, command, &[], own, step)
        }
        ChallengeStyle::LegoExec => {
            let args = [step.name(), &qualified, response];
            call(hook, &hook.command, &args, Variables::new(), step)
        }
        ChallengeStyle::LegoExecRaw => {
            let Challenge {
                name,
                token,
                key_authorization,
                ..
            } = challenge;
            let args = [step.name(), "--", name, token, key_authorization];
            call(hook, &hook.command, &args, Variables::new(), step)
        }
        ChallengeStyle::Dehydrated(_) => {
            let mut args = vec![dehydrated_event(step)];
            args.extend(dehydrated_arguments(challenge));
            let own = dehydrated_variables(challenge, around);
            call(hook, &hook.command, &args, own, step)
        }
        ChallengeStyle::Uacme => {
            let method = match step {
                Step::Present => "begin",
                Step::Cleanup(Fate::Confirmed, _) => "done",
                Step::Cleanup(Fate::Open, _) => "failed",
            };
            let args = [
                method,
                challenge.kind,
                &challenge.name,
                &challenge.token,
                response,
            ];
            call(hook, &hook.command, &args, Variables::new(), step)
        }
        ChallengeStyle::AcmeSh(api) => {
            let verb = match step {
                Step::Present => "add",
                Step::Cleanup(..) => "rm",
            };
            let mut argv = ["/bin/sh", "-c", ACME_SH].map(str::to_owned).to_vec();
            if let Command::Run(words) = &hook.command {
                argv.extend(words.first().cloned());
            }
            argv.extend([verb, api, record, response].map(str::to_owned));
            Call {
                argv,
                ..call(hook, &hook.command, &[], Variables::new(), step)
            }
        }
    };
    Some(made)
}

/// Returns the calls that a failure at the CA means: only dehydrated's scripts are told.
pub fn refused(hook: &ChallengeHook, refusal: Refusal<'_>, around: &Surroundings) -> Option<Call> {
    if !matches!(hook.style, ChallengeStyle::Dehydrated(_)) {
        return None;
    }
    let status;
    let args = match refusal {
        Refusal::Challenge(name, reason) => vec!["invalid_challenge", name, reason],
        Refusal::Request(code, body) => {
            status = code.to_string();
            // The headers of the answer are not kept.
            vec!["request_failure", &status, body, "post", ""]
        }
    };
    let own = variables::dehydrated(around);
    Some(call(hook, &hook.command, &args, own, Step::Present))
}

/// Our own kind: `present` or `cleanup` as first argument, a JSON document on stdin, `MAILCERT_*` variables.
fn native(hook: &ChallengeHook, challenge: &Challenge, step: Step<'_>) -> Call {
    let mut facts = json!({
        "type": challenge.kind,
        "identifier": challenge.name,
        "token": challenge.token,
        "key_authorization": challenge.key_authorization,
        "digest": challenge.digest,
        "digest_hex": challenge.digest_hex,
    });
    if let Some(record) = &challenge.record {
        facts["record"] = json!({ "name": record, "type": "TXT", "value": challenge.digest });
    }
    if let Step::Cleanup(fate, _) = step {
        facts["confirmed"] = json!(fate == Fate::Confirmed);
    }
    let document = json!({
        "challenge": facts,
        "identifiers": challenge.all_names,
        "remaining": challenge.remaining,
    });
    Call {
        stdin: document_for(step.name(), document),
        ..call(
            hook,
            &hook.command,
            &[step.name()],
            variables::challenge(challenge),
            step,
        )
    }
}

fn call(hook: &ChallengeHook, command: &Command, args: &[&str], own: Variables, step: Step<'_>) -> Call {
    let mut all = variables::common(step.name());
    if let ChallengeStyle::LegoExec | ChallengeStyle::LegoExecRaw = hook.style {
        // Programs that serve both modes look at what lego itself was started with.
        let mode = match hook.style {
            ChallengeStyle::LegoExecRaw => "RAW",
            _ => "",
        };
        all.push(("EXEC_MODE", mode.to_owned()));
    }
    all.extend(own);
    Call {
        argv: argv(command, args),
        variables: all,
        directory: "/".into(),
        stdin: String::new(),
    }
}

fn dehydrated_event(step: Step<'_>) -> &'static str {
    match step {
        Step::Present => "deploy_challenge",
        Step::Cleanup(..) => "clean_challenge",
    }
}

/// Returns what dehydrated gives for each challenge: for http-01 the whole response, else its digest.
fn dehydrated_arguments(challenge: &Challenge) -> [&str; 3] {
    let response = match challenge.kind {
        "http-01" => &challenge.key_authorization,
        _ => &challenge.digest,
    };
    [&challenge.name, &challenge.token, response]
}

fn dehydrated_variables(challenge: &Challenge, around: &Surroundings) -> Variables {
    let mut own = variables::dehydrated(around);
    own.extend(variables::dehydrated_challenge(challenge));
    own
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::hook::Manner;

    fn challenges(kind: &'static str) -> Vec<Challenge> {
        let all: Vec<String> = ["a.example", "b.example"].map(str::to_owned).to_vec();
        let one = |index: usize, name: &String| Challenge {
            kind,
            name: name.clone(),
            token: format!("token{index}"),
            key_authorization: format!("token{index}.thumb"),
            digest: format!("digest{index}"),
            digest_hex: format!("{index:064x}"),
            record: (kind == "dns-01").then(|| format!("_acme-challenge.{name}")),
            all_names: all.clone(),
            remaining: 1 - index,
        };
        all.iter()
            .enumerate()
            .map(|(index, name)| one(index, name))
            .collect()
    }

    fn hook(style: ChallengeStyle) -> ChallengeHook {
        ChallengeHook {
            style,
            command: Command::Run(vec!["/h".into()]),
            manner: Manner {
                timeout: Duration::from_secs(60),
                retries: 0,
                env_file: None,
            },
        }
    }

    fn around() -> Surroundings {
        Surroundings {
            state_directory: "/state".into(),
            live_directory: "/state/live".into(),
            directory: String::new(),
            email: String::new(),
            challenge: "dns-01",
            now: time::OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn argvs(style: ChallengeStyle, kind: &'static str, step: Step<'_>) -> Vec<String> {
        calls(&hook(style), &challenges(kind), step, &around())
            .iter()
            .map(|call| call.argv.join(" "))
            .collect()
    }

    #[test]
    fn each_style_has_its_arguments() {
        let clean = Step::Cleanup(Fate::Open, "out");
        let done = Step::Cleanup(Fate::Confirmed, "out");
        let check = |style: ChallengeStyle, kind, step, expected: &[&str]| {
            assert_eq!(argvs(style.clone(), kind, step), expected, "{style:?} {kind}");
        };
        check(
            ChallengeStyle::Mailcert,
            "dns-01",
            clean,
            &["/h cleanup", "/h cleanup"],
        );
        check(
            ChallengeStyle::Certbot(None),
            "http-01",
            Step::Present,
            &["/h", "/h"],
        );
        check(ChallengeStyle::Certbot(None), "http-01", clean, &[]);
        check(
            ChallengeStyle::LegoExec,
            "dns-01",
            Step::Present,
            &[
                "/h present _acme-challenge.a.example. digest0",
                "/h present _acme-challenge.b.example. digest1",
            ],
        );
        check(
            ChallengeStyle::LegoExecRaw,
            "dns-01",
            clean,
            &[
                "/h cleanup -- a.example token0 token0.thumb",
                "/h cleanup -- b.example token1 token1.thumb",
            ],
        );
        check(
            ChallengeStyle::Dehydrated(Chain::No),
            "http-01",
            Step::Present,
            &[
                "/h deploy_challenge a.example token0 token0.thumb",
                "/h deploy_challenge b.example token1 token1.thumb",
            ],
        );
        check(
            ChallengeStyle::Dehydrated(Chain::Yes),
            "dns-01",
            clean,
            &["/h clean_challenge a.example token0 digest0 b.example token1 digest1"],
        );
        check(
            ChallengeStyle::Uacme,
            "dns-01",
            Step::Present,
            &[
                "/h begin dns-01 a.example token0 digest0",
                "/h begin dns-01 b.example token1 digest1",
            ],
        );
        check(
            ChallengeStyle::Uacme,
            "http-01",
            done,
            &[
                "/h done http-01 a.example token0 token0.thumb",
                "/h done http-01 b.example token1 token1.thumb",
            ],
        );
        check(
            ChallengeStyle::Uacme,
            "http-01",
            clean,
            &[
                "/h failed http-01 a.example token0 token0.thumb",
                "/h failed http-01 b.example token1 token1.thumb",
            ],
        );
        check(
            ChallengeStyle::Uacme,
            "tls-alpn-01",
            Step::Present,
            &[
                "/h begin tls-alpn-01 a.example token0 digest0",
                "/h begin tls-alpn-01 b.example token1 digest1",
            ],
        );
        let argvs = argvs(ChallengeStyle::AcmeSh("dns_x".into()), "dns-01", Step::Present);
        assert!(
            argvs[0].ends_with("\n /h add dns_x _acme-challenge.a.example digest0"),
            "{}",
            argvs[0]
        );
    }

    #[test]
    fn certbot_has_its_variables_and_the_token_with_http_01_only() {
        let style = ChallengeStyle::Certbot(Some(Command::Run(vec!["/c".into()])));
        let given = |kind, step: Step<'_>, name: &str| {
            let calls = calls(&hook(style.clone()), &challenges(kind), step, &around());
            let value = calls[0].variables.iter().find(|(known, _)| *known == name);
            value.map(|(_, value)| value.clone())
        };
        let clean = Step::Cleanup(Fate::Open, " out\n");
        assert_eq!(
            given("http-01", Step::Present, "CERTBOT_VALIDATION").unwrap(),
            "token0.thumb"
        );
        assert_eq!(
            given("dns-01", Step::Present, "CERTBOT_VALIDATION").unwrap(),
            "digest0"
        );
        assert_eq!(
            given("http-01", Step::Present, "CERTBOT_TOKEN").unwrap(),
            "token0"
        );
        assert_eq!(given("dns-01", Step::Present, "CERTBOT_TOKEN"), None);
        assert_eq!(given("dns-01", Step::Present, "CERTBOT_AUTH_OUTPUT"), None);
        assert_eq!(given("dns-01", clean, "CERTBOT_AUTH_OUTPUT").unwrap(), "out");
        assert_eq!(
            given("dns-01", clean, "CERTBOT_ALL_DOMAINS").unwrap(),
            "a.example,b.example"
        );
        assert_eq!(
            given("dns-01", clean, "CERTBOT_REMAINING_CHALLENGES").unwrap(),
            "1"
        );
        assert_eq!(
            calls(&hook(style.clone()), &challenges("dns-01"), clean, &around())[0].argv,
            ["/c"]
        );
    }

    #[test]
    fn only_dehydrated_is_told_of_refusals() {
        let dehydrated = hook(ChallengeStyle::Dehydrated(Chain::No));
        let call = refused(&dehydrated, Refusal::Challenge("a.example", "{}"), &around()).unwrap();
        assert_eq!(call.argv, ["/h", "invalid_challenge", "a.example", "{}"]);
        let call = refused(&dehydrated, Refusal::Request(429, "{}"), &around()).unwrap();
        assert_eq!(call.argv, ["/h", "request_failure", "429", "{}", "post", ""]);
        assert_eq!(
            refused(&hook(ChallengeStyle::Uacme), Refusal::Request(429, ""), &around()),
            None
        );
    }
}
