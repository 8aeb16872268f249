//! Runs one call of a hook: a clean environment, a process group of its own, a time limit, retries, bounded output.

use std::{os::unix::process::ExitStatusExt, path::Path, process::ExitStatus, time::Duration};

use super::{call::Call, program};
use crate::{
    config::hook::Manner,
    env::{
        leash::Leash,
        process::{Output, Program, RunError, pause},
    },
    model::plan::printable,
};

/// What a hook may print before the rest is dropped, in bytes, for each stream.
const OUTPUT_LIMIT: u64 = 64 << 10;
/// How much of what it said is told, in characters; the end of it.
const TOLD: usize = 2000;
/// sysexits.h: the hook asks to be tried again later.
const EX_TEMPFAIL: i32 = 75;
/// The first wait between two tries; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How a hook ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With 0; and what it printed on stdout, for certbot's cleanup, and on both streams, for people.
    Done {
        /// Its stdout.
        stdout: String,
        /// What people are told that it said; empty when it said nothing.
        said: String,
    },
    /// It did not do its work, for this reason.
    Failed(String),
    /// It asked to be tried again later (75), for this reason.
    Later(String),
}

/// Runs a call to its end, several times if it fails and may be tried again.
///
/// The child is ended, and not tried again, when the leash is pulled. It is given `PATH`, `LC_ALL=C`, `HOME`, the variables of the call, and those of the hook's own file, which win.
pub fn run(call: &Call, manner: &Manner, home: &Path, leash: &Leash) -> Ended {
    // Looked at once more: between the first look and now an order may have taken minutes.
    let own = match program::read_env_file(manner) {
        Ok(own) => own,
        Err(distrust) => return Ended::Failed(distrust.to_string()),
    };
    let Some((program, args)) = call.argv.split_first() else {
        return Ended::Failed("there is nothing to run".to_owned());
    };
    let mut child = Program::new(program)
        .args(args)
        .stdin(call.stdin.as_bytes())
        .timeout(manner.timeout)
        .directory(&call.directory)
        .output_limit(OUTPUT_LIMIT)
        .on_leash(leash)
        .var("HOME", home);
    for (name, value) in &call.variables {
        child = child.var(name, value);
    }
    for (name, value) in own {
        child = child.var(name, value);
    }
    let mut wait = FIRST_PAUSE;
    for _ in 0..manner.retries {
        match ended(child.run()) {
            Ended::Failed(_) if !leash.is_pulled() => {}
            other => return other,
        }
        pause(wait);
        wait = (wait * 2).min(LONGEST_PAUSE);
    }
    ended(child.run())
}

fn ended(result: Result<Output, RunError>) -> Ended {
    match result {
        Ok(output) if output.success() => Ended::Done {
            stdout: output.stdout_text(),
            said: told(&output.complaint()),
        },
        Ok(output) => {
            let reason = with_words(how(output.status), &output.complaint());
            match output.status.code() {
                Some(EX_TEMPFAIL) => Ended::Later(reason),
                _ => Ended::Failed(reason),
            }
        }
        Err(RunError::Timeout(_, limit, said)) => {
            let reason = format!(
                "it did not end within {} s and was killed, with its process group",
                limit.as_secs()
            );
            Ended::Failed(with_words(reason, &said))
        }
        Err(RunError::Stopped(_, said)) => {
            Ended::Failed(with_words("it was ended, because the run ends".to_owned(), &said))
        }
        Err(error @ RunError::Unending(..)) => Ended::Failed(error.to_string()),
        Err(RunError::Io(_, error)) => Ended::Failed(format!("it could not be started: {error}")),
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(EX_TEMPFAIL), _) => "it ended with 75: try again later".to_owned(),
        (Some(code), _) => format!("it ended with {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        (None, None) => "it ended in an unknown way".to_owned(),
    }
}

fn with_words(reason: String, said: &str) -> String {
    match told(said) {
        said if said.is_empty() => reason,
        said => format!("{reason}: {said}"),
    }
}

/// Makes what a hook said fit for a terminal, and keeps the end of it.
fn told(said: &str) -> String {
    let text = printable(said.trim().as_bytes());
    let surplus = text.chars().count().saturating_sub(TOLD);
    match text.char_indices().nth(surplus) {
        Some((start, _)) if surplus > 0 => format!("…{}", text.get(start..).unwrap_or_default()),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_it(script: &str, seconds: u64, retries: u32) -> Ended {
        let call = Call {
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            variables: vec![("NAME", "value".into())],
            directory: "/usr".into(),
            stdin: "input".into(),
        };
        let manner = Manner {
            timeout: Duration::from_secs(seconds),
            retries,
            env_file: None,
        };
        run(&call, &manner, Path::new("/home"), &Leash::default())
    }

    #[test]
    fn gives_variables_directory_and_input_and_nothing_else() {
        let Ended::Done { stdout, .. } = try_it("env | sort; pwd; cat", 60, 0) else {
            panic!("it failed")
        };
        let expected = "HOME=/home\nLC_ALL=C\nNAME=value\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/usr\n/usr\ninput";
        assert_eq!(stdout, expected);
    }

    #[test]
    fn tells_apart_how_it_ended() {
        let check = |script: &str, expected: &str| match try_it(script, 60, 0) {
            Ended::Failed(reason) => assert_eq!(reason, expected, "{script}"),
            other => panic!("{script}: {other:?}"),
        };
        check("echo no >&2; echo yes; exit 3", "it ended with 3: no");
        check("echo yes; exit 3", "it ended with 3: yes");
        check("exit 3", "it ended with 3");
        check("kill -9 $$", "signal 9 ended it");
        check(
            "printf 'a\\033[2J\\nb' >&2; exit 1",
            "it ended with 1: a\\u{1b}[2J\nb",
        );
        assert!(matches!(try_it("exit 75", 60, 5), Ended::Later(_)));
        let Ended::Failed(reason) = try_it("echo before; sleep 60", 1, 0) else {
            panic!("it did not fail")
        };
        assert!(
            reason.contains("within 1 s") && reason.ends_with(": before"),
            "{reason}"
        );
    }

    #[test]
    fn is_tried_again_as_often_as_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count");
        let script = format!("echo x >>{0}; test $(wc -l <{0}) -ge 2", count.display());
        assert!(matches!(try_it(&script, 60, 1), Ended::Done { .. }));
        std::fs::remove_file(&count).unwrap();
        assert!(matches!(try_it(&script, 60, 0), Ended::Failed(_)));
    }

    #[test]
    fn keeps_the_end_of_what_was_said() {
        let Ended::Failed(reason) = try_it("head -c 60000 /dev/zero | tr '\\0' x; echo end; exit 1", 60, 0)
        else {
            panic!("it did not fail")
        };
        assert!(
            reason.ends_with("xend") && reason.chars().count() < TOLD + 50,
            "{reason}"
        );
    }
}
