//! Which program is run for an event, with which arguments, variables, directory and input. Pure.

use std::path::PathBuf;

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::{
    event::{Ended, Event, Subject, Surroundings},
    variables::{self, Variables},
};
use crate::config::hook::{Command, Style};

/// The version of the JSON document that hooks of our own kind read.
pub const FORMAT: u32 = 1;

/// One run of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The program, absolute, and its arguments.
    pub argv: Vec<String>,
    /// Its variables, besides those that every child has.
    pub variables: Variables,
    /// Where it starts.
    pub directory: PathBuf,
    /// What it reads.
    pub stdin: String,
}

/// Returns the calls that an event means for a hook of this style: none when its client has no such event.
pub fn calls(style: Style, command: &Command, event: Event<'_>, around: &Surroundings) -> Vec<Call> {
    match style {
        Style::Mailcert => native(command, event, around),
        Style::Certbot => certbot(command, event, around),
        Style::Dehydrated => dehydrated(command, event, around),
        Style::AcmeSh => acme_sh(command, event, around),
        Style::Lego4 | Style::Lego5 => lego(style, command, event, around),
    }
}

/// Returns what is run: a program, or a shell with a command line. Arguments follow; a command line has them as `$1`, `$2`.
pub fn argv(command: &Command, args: &[&str]) -> Vec<String> {
    let mut argv = match command {
        Command::Run(words) => words.clone(),
        Command::Shell(line) => ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
        Command::Directory(path) => vec![path.to_string_lossy().into_owned()],
    };
    if matches!(command, Command::Shell(_)) && !args.is_empty() {
        argv.push("sh".to_owned());
    }
    argv.extend(args.iter().map(|&arg| arg.to_owned()));
    argv
}

/// Our own kind: the event as first argument, a JSON document on stdin, `MAILCERT_*` variables.
fn native(command: &Command, event: Event<'_>, around: &Surroundings) -> Vec<Call> {
    let (name, own, document) = match event {
        Event::Pre(subjects) => {
            let all: Vec<&Subject> = subjects.iter().collect();
            let lineages: Vec<Value> = subjects.iter().map(describe).collect();
            let own = variables::lineages("MAILCERT_LINEAGES", &all);
            ("pre", own, json!({ "lineages": lineages }))
        }
        Event::Deploy(subject) => {
            let own = variables::deploy(subject, around);
            ("deploy", own, json!({ "lineage": describe(subject) }))
        }
        Event::Failed(subject, reasons) => {
            let mut own = variables::lineage(subject);
            own.push(("MAILCERT_ERROR", reasons.join("\n")));
            let document = json!({ "lineage": describe(subject), "error": reasons });
            ("failed", own, document)
        }
        Event::Post(ended) => {
            let some = |failed: bool| -> Vec<&Subject> {
                let some = ended.iter().filter(|one| one.failure.is_some() == failed);
                some.map(|one| &one.subject).collect()
            };
            let mut own = variables::lineages("MAILCERT_LINEAGES", &some(false));
            own.extend(variables::lineages("MAILCERT_FAILED", &some(true)));
            let one = |one: &Ended| {
                let mut lineage = describe(&one.subject);
                if let Some(failure) = &one.failure {
                    lineage["error"] = json!(failure);
                }
                lineage
            };
            let lineages: Vec<Value> = ended.iter().map(one).collect();
            ("post", own, json!({ "lineages": lineages }))
        }
        Event::Unchanged(_) => return Vec::new(),
    };
    vec![Call {
        argv: argv(command, &[name]),
        variables: [variables::common(name), own].concat(),
        directory: "/".into(),
        stdin: document_for(name, document),
    }]
}

/// Completes a document of our own kind: its version and the event come first in every one.
pub fn document_for(event: &str, document: Value) -> String {
    let mut whole = json!({ "format": FORMAT, "event": event });
    if let (Some(whole), Value::Object(rest)) = (whole.as_object_mut(), document) {
        whole.extend(rest);
    }
    format!("{whole}\n")
}

/// Describes a lineage in a document of our own kind.
fn describe(subject: &Subject) -> Value {
    let file = |name: &str| subject.live.join(name).to_string_lossy().into_owned();
    let mut lineage = json!({
        "name": subject.name,
        "identifiers": subject.identifiers,
        "live": subject.live.to_string_lossy(),
    });
    if let Some(generation) = &subject.generation {
        lineage["generation"] = json!({
            "number": generation.number,
            "directory": generation.directory.to_string_lossy(),
            "names": generation.names,
            "not_before": generation.not_before.format(&Rfc3339).unwrap_or_default(),
            "not_after": generation.not_after.format(&Rfc3339).unwrap_or_default(),
            "leaf_sha256": generation.leaf_sha256,
        });
        lineage["files"] = json!({
            "privkey": file("privkey.pem"),
            "cert": file("cert.pem"),
            "chain": file("chain.pem"),
            "fullchain": file("fullchain.pem"),
            "combined": file("combined.pem"),
        });
    }
    lineage
}

/// certbot's: no arguments; `pre` has no variables of its own.
fn certbot(command: &Command, event: Event<'_>, around: &Surroundings) -> Vec<Call> {
    let (name, own) = match event {
        Event::Pre(_) => ("pre", Variables::new()),
        Event::Deploy(subject) => ("deploy", variables::deploy(subject, around)),
        Event::Post(ended) => ("post", variables::certbot_post(ended)),
        Event::Failed(..) | Event::Unchanged(_) => return Vec::new(),
    };
    vec![plain(command, &[], name, own)]
}

/// dehydrated's: the event as first argument, its facts as further ones.
fn dehydrated(command: &Command, event: Event<'_>, around: &Surroundings) -> Vec<Call> {
    let exported = variables::dehydrated(around);
    let timestamp = around.now.unix_timestamp().to_string();
    match event {
        Event::Pre(_) => vec![plain(command, &["startup_hook"], "pre", exported)],
        Event::Deploy(subject) => {
            let files = dehydrated_files(subject);
            let mut args = vec!["deploy_cert", subject.main()];
            args.extend(files.iter().map(String::as_str));
            args.push(&timestamp);
            let own = [
                exported,
                variables::dehydrated_certificate(subject),
                variables::deploy(subject, around),
            ];
            vec![plain(command, &args, "deploy", own.concat())]
        }
        Event::Unchanged(subject) => {
            let files = dehydrated_files(subject);
            let mut args = vec!["unchanged_cert", subject.main()];
            args.extend(files.iter().map(String::as_str));
            let own = [exported, variables::dehydrated_certificate(subject)];
            vec![plain(command, &args, "unchanged", own.concat())]
        }
        Event::Post(ended) => {
            let failed: Vec<String> = ended
                .iter()
                .filter_map(|one| Some(format!("{}: {}", one.subject.name, one.failure.as_ref()?)))
                .collect();
            let failed = failed.join("; ");
            let mut args = vec!["exit_hook"];
            if !failed.is_empty() {
                args.push(&failed);
            }
            vec![plain(command, &args, "post", exported)]
        }
        Event::Failed(..) => Vec::new(),
    }
}

/// Returns the files that dehydrated names, in its order.
fn dehydrated_files(subject: &Subject) -> [String; 4] {
    let names = ["privkey.pem", "cert.pem", "fullchain.pem", "chain.pem"];
    names.map(|name| subject.live.join(name).to_string_lossy().into_owned())
}

/// acme.sh's: no arguments, in the directory of the certificate, for each certificate.
fn acme_sh(command: &Command, event: Event<'_>, around: &Surroundings) -> Vec<Call> {
    let of = |subject: &Subject, name, own| {
        let directory = match subject.generation {
            Some(_) => subject.live.clone(),
            None => around.state_directory.clone(),
        };
        Call {
            directory,
            ..plain(command, &[], name, own)
        }
    };
    match event {
        Event::Pre(subjects) => subjects
            .iter()
            .map(|subject| of(subject, "pre", variables::acme_sh_pre(subject)))
            .collect(),
        Event::Deploy(subject) => vec![of(subject, "deploy", variables::deploy(subject, around))],
        Event::Post(ended) => ended
            .iter()
            .map(|one| {
                let own = match one.failure {
                    None => variables::acme_sh(&one.subject),
                    Some(_) => Variables::new(),
                };
                of(&one.subject, "post", own)
            })
            .collect(),
        Event::Failed(..) | Event::Unchanged(_) => Vec::new(),
    }
}

/// lego's: no arguments; lego 5 has `pre` and `post`, for each certificate.
fn lego(style: Style, command: &Command, event: Event<'_>, around: &Surroundings) -> Vec<Call> {
    let call = |name, own| plain(command, &[], name, own);
    match event {
        Event::Deploy(subject) => vec![call("deploy", variables::deploy(subject, around))],
        Event::Pre(subjects) if style == Style::Lego5 => subjects
            .iter()
            .map(|subject| call("pre", variables::lego5_pre(subject, around)))
            .collect(),
        Event::Post(ended) if style == Style::Lego5 => ended
            .iter()
            .map(|one| call("post", variables::lego5(&one.subject, around)))
            .collect(),
        _ => Vec::new(),
    }
}

/// A call with empty input, from the root directory, where a service starts too.
fn plain(command: &Command, args: &[&str], event: &'static str, own: Variables) -> Call {
    Call {
        argv: argv(command, args),
        variables: [variables::common(event), own].concat(),
        directory: "/".into(),
        stdin: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use time::macros::datetime;

    use super::*;
    use crate::{hook::event::Generation, model::key::KeyType};

    fn subject() -> Subject {
        Subject {
            name: "_wildcard.a.example".into(),
            identifiers: vec!["*.a.example".into(), "a.example".into()],
            key: KeyType::EcdsaP256,
            live: "/state/live/_wildcard.a.example".into(),
            generation: Some(Generation {
                number: 3,
                directory: "/state/lineages/_wildcard.a.example/3".into(),
                names: vec!["*.a.example".into(), "a.example".into()],
                not_before: datetime!(2026-01-01 0:00 UTC),
                not_after: datetime!(2026-04-01 0:00 UTC),
                leaf_sha256: "00ff".into(),
            }),
        }
    }

    fn around() -> Surroundings {
        Surroundings {
            state_directory: "/state".into(),
            live_directory: "/state/live".into(),
            directory: "https://ca.example/dir".into(),
            email: "a@example".into(),
            challenge: "http-01",
            now: datetime!(2026-02-01 0:00 UTC),
        }
    }

    fn ended() -> Vec<Ended> {
        let failed = Subject {
            name: "b".into(),
            identifiers: vec!["b.example".into()],
            generation: None,
            ..subject()
        };
        vec![
            Ended {
                subject: subject(),
                failure: None,
            },
            Ended {
                subject: failed,
                failure: Some("no".into()),
            },
        ]
    }

    /// The clients' own names; ours may stand beside them.
    fn foreign(call: &Call) -> BTreeMap<&str, &str> {
        let all = call.variables.iter().map(|(name, value)| (*name, value.as_str()));
        all.filter(|(name, _)| !name.starts_with("MAILCERT_")).collect()
    }

    fn one(style: Style, event: Event<'_>) -> Call {
        let run = Command::Run(vec!["/h".into(), "x".into()]);
        let mut calls = calls(style, &run, event, &around());
        assert_eq!(calls.len(), 1, "{style:?}");
        calls.remove(0)
    }

    #[test]
    fn every_deploy_hook_is_given_the_names_of_every_client() {
        let subject = subject();
        let live = "/state/live/_wildcard.a.example";
        for (style, args) in [
            (Style::Mailcert, vec!["/h", "x", "deploy"]),
            (Style::Certbot, vec!["/h", "x"]),
            (Style::Lego4, vec!["/h", "x"]),
            (Style::Lego5, vec!["/h", "x"]),
            (Style::AcmeSh, vec!["/h", "x"]),
        ] {
            let call = one(style, Event::Deploy(&subject));
            assert_eq!(call.argv, args, "{style:?}");
            let given = foreign(&call);
            for (name, value) in [
                ("RENEWED_LINEAGE", live.to_owned()),
                ("RENEWED_DOMAINS", "*.a.example a.example".to_owned()),
                ("LEGO_ACCOUNT_EMAIL", "a@example".to_owned()),
                ("LEGO_CERT_DOMAIN", "*.a.example".to_owned()),
                ("LEGO_CERT_PATH", format!("{live}/fullchain.pem")),
                ("LEGO_CERT_KEY_PATH", format!("{live}/privkey.pem")),
                ("LEGO_ISSUER_CERT_PATH", format!("{live}/chain.pem")),
                ("LEGO_HOOK_CERT_NAME", "_wildcard.a.example".to_owned()),
                ("LEGO_HOOK_CERT_DOMAINS", "*.a.example,a.example".to_owned()),
                ("LEGO_HOOK_CERT_KEY_TYPE", "EC256".to_owned()),
                ("LEGO_HOOK_CERT_PATH", format!("{live}/fullchain.pem")),
                ("CERT_PATH", format!("{live}/cert.pem")),
                ("CA_CERT_PATH", format!("{live}/chain.pem")),
                ("CERT_FULLCHAIN_PATH", format!("{live}/fullchain.pem")),
                ("Le_Domain", "*.a.example".to_owned()),
            ] {
                assert_eq!(given.get(name), Some(&value.as_str()), "{style:?} {name}");
            }
            let names: Vec<&str> = call.variables.iter().map(|(name, _)| *name).collect();
            let mut unique = names.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), names.len(), "{style:?}: a name stands twice");
        }
        let call = one(Style::AcmeSh, Event::Deploy(&subject));
        assert_eq!(call.directory, PathBuf::from(live));
    }

    #[test]
    fn dehydrated_has_the_event_and_its_facts_as_arguments() {
        let subject = subject();
        let live = "/state/live/_wildcard.a.example";
        let files = ["privkey", "cert", "fullchain", "chain"].map(|name| format!("{live}/{name}.pem"));
        let call = one(Style::Dehydrated, Event::Deploy(&subject));
        let expected = [
            vec![
                "/h".into(),
                "x".into(),
                "deploy_cert".into(),
                "*.a.example".into(),
            ],
            files.to_vec(),
            vec!["1769904000".into()],
        ]
        .concat();
        assert_eq!(call.argv, expected);
        assert_eq!(foreign(&call)["CERTDIR"], "/state/live");
        assert_eq!(foreign(&call)["KEY_ALGO"], "prime256v1");
        let call = one(Style::Dehydrated, Event::Unchanged(&subject));
        assert_eq!(call.argv[2..4], ["unchanged_cert", "*.a.example"]);
        assert_eq!(call.argv[4..], files);
        assert_eq!(
            one(Style::Dehydrated, Event::Pre(&[])).argv[2..],
            ["startup_hook"]
        );
        let ended = ended();
        assert_eq!(
            one(Style::Dehydrated, Event::Post(&ended)).argv[2..],
            ["exit_hook", "b: no"]
        );
        assert_eq!(
            one(Style::Dehydrated, Event::Post(&ended[..1])).argv[2..],
            ["exit_hook"]
        );
    }

    #[test]
    fn certbot_is_told_what_was_renewed_and_what_failed() {
        let call = one(Style::Certbot, Event::Pre(&[subject()]));
        assert_eq!(foreign(&call), BTreeMap::new());
        let ended = ended();
        let call = one(Style::Certbot, Event::Post(&ended));
        let expected = [
            ("FAILED_DOMAINS", "b.example"),
            ("RENEWED_DOMAINS", "*.a.example a.example"),
        ];
        assert_eq!(foreign(&call), BTreeMap::from(expected));
    }

    #[test]
    fn acme_sh_and_lego_5_are_called_for_each_certificate() {
        let ended = ended();
        let subjects: Vec<Subject> = ended.iter().map(|one| one.subject.clone()).collect();
        let run = Command::Run(vec!["/h".into()]);
        let pre = calls(Style::AcmeSh, &run, Event::Pre(&subjects), &around());
        let alternatives: Vec<&str> = pre.iter().map(|call| foreign(call)["Le_Alt"]).collect();
        assert_eq!(alternatives, ["a.example", "no"]);
        assert_eq!(pre[1].directory, PathBuf::from("/state"), "nothing is live yet");
        let post = calls(Style::AcmeSh, &run, Event::Post(&ended), &around());
        assert!(foreign(&post[0]).contains_key("CERT_KEY_PATH") && foreign(&post[1]).is_empty());
        let post = calls(Style::Lego5, &run, Event::Post(&ended), &around());
        assert!(!foreign(&post[1]).contains_key("LEGO_HOOK_CERT_PATH"));
        assert_eq!(
            calls(Style::Lego4, &run, Event::Pre(&subjects), &around()),
            vec![]
        );
    }

    #[test]
    fn a_shell_has_arguments_as_its_parameters() {
        let line = Command::Shell("echo $1".into());
        assert_eq!(argv(&line, &[]), ["/bin/sh", "-c", "echo $1"]);
        assert_eq!(argv(&line, &["a b"]), ["/bin/sh", "-c", "echo $1", "sh", "a b"]);
    }

    #[test]
    fn our_own_hooks_read_one_document() {
        let subject = subject();
        let call = one(Style::Mailcert, Event::Deploy(&subject));
        let document: Value = serde_json::from_str(&call.stdin).unwrap();
        assert_eq!(document["format"], 1);
        assert_eq!(document["event"], "deploy");
        assert_eq!(document["lineage"]["generation"]["number"], 3);
        assert_eq!(
            document["lineage"]["files"]["privkey"],
            "/state/live/_wildcard.a.example/privkey.pem"
        );
        let reasons = ["a".to_owned(), "b".to_owned()];
        let call = one(Style::Mailcert, Event::Failed(&subject, &reasons));
        let document: Value = serde_json::from_str(&call.stdin).unwrap();
        assert_eq!(document["error"], json!(["a", "b"]));
        let ended = ended();
        let call = one(Style::Mailcert, Event::Post(&ended));
        let document: Value = serde_json::from_str(&call.stdin).unwrap();
        assert_eq!(document["lineages"][1]["error"], "no");
        assert!(call.variables.contains(&("MAILCERT_FAILED", "b".into())));
        assert_eq!(
            calls(
                Style::Mailcert,
                &Command::Run(vec!["/h".into()]),
                Event::Unchanged(&subject),
                &around()
            ),
            vec![]
        );
    }
}
