//! Finds what a hook is, and refuses what somebody else could have written (`design`, section 6, rule 6).
//!
//! A program that root runs, and every directory on the way to it, must belong to root or the running user and be
//! writable by nobody else. It is looked at before anything is ordered, and again right before it is run.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::env_file;
use crate::{
    config::hook::{ChallengeHook, ChallengeStyle, Command, Hook, Manner},
    env::files,
};

/// No file with credentials is larger, in bytes.
const ENV_FILE_LIMIT: u64 = 64 << 10;

/// Why a hook is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrust {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: String,
    /// What mends it.
    pub remedy: String,
}

impl std::fmt::Display for Distrust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.path.display(), self.fault)
    }
}

impl std::error::Error for Distrust {}

/// Returns the programs that a hook stands for: itself, or those of its directory, sorted by name; all of them trusted.
///
/// # Errors
/// The first that is missing or not to be trusted.
pub fn find(hook: &Hook) -> Result<Vec<Command>, Distrust> {
    read_env_file(&hook.manner)?;
    match &hook.command {
        Command::Directory(path) => in_directory(path),
        command => {
            trust(command)?;
            Ok(vec![command.clone()])
        }
    }
}

/// Looks at everything that a challenge hook runs.
///
/// # Errors
/// The first that is missing or not to be trusted.
pub fn find_challenge(hook: &ChallengeHook, home: &Path) -> Result<(), Distrust> {
    read_env_file(&hook.manner)?;
    hook.commands().try_for_each(trust)?;
    if let (ChallengeStyle::AcmeSh(api), Command::Run(words)) = (&hook.style, &hook.command) {
        let own = words.first().and_then(|acme| Path::new(acme).parent());
        let home = home.join(".acme.sh");
        let script = format!("dnsapi/{api}.sh");
        let mut read = vec![home.join("account.conf"), home.join(&script)];
        read.extend(own.map(|own| own.join(&script)));
        for path in read.iter().filter(|path| path.exists()) {
            trust_file(path)?;
        }
    }
    Ok(())
}

/// Looks at one command.
fn trust(command: &Command) -> Result<(), Distrust> {
    match command {
        Command::Run(words) => match words.first() {
            Some(program) => trust_program(Path::new(program)),
            None => Ok(()),
        },
        // What a command line runs is known to its shell only; the usual one begins with the path of a program.
        Command::Shell(line) => match line.split_whitespace().next() {
            Some(word) if word.starts_with('/') && word.chars().all(is_plain) => {
                trust_program(Path::new(word))
            }
            _ => Ok(()),
        },
        Command::Directory(path) => in_directory(path).map(drop),
    }
}

fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "/._-+@:,%=~".contains(character)
}

/// Returns the programs of a directory as certbot finds them: executables whose names do not end in `~`, sorted.
fn in_directory(path: &Path) -> Result<Vec<Command>, Distrust> {
    let missing = |error: io::Error| Distrust {
        path: path.to_owned(),
        fault: format!("cannot be looked through for hooks: {error}"),
        remedy: format!(
            "make it (`install -d -m 0755 {}`), or take it out of [hooks]",
            path.display()
        ),
    };
    let real = fs::canonicalize(path).map_err(missing)?;
    trust_directories(&path.join("hook"))?;
    trust_directories(&real.join("hook"))?;
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(missing)? {
        let entry = entry.map_err(missing)?.path();
        let executable =
            fs::metadata(&entry).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
        match entry.to_str() {
            Some(text) if executable && !text.ends_with('~') => found.push(text.to_owned()),
            None if executable => {
                return Err(Distrust {
                    fault: "has a name that is not UTF-8".to_owned(),
                    remedy: "give it another name".to_owned(),
                    path: entry,
                });
            }
            _ => {}
        }
    }
    found.sort();
    for program in &found {
        trust_program(Path::new(program))?;
    }
    Ok(found
        .into_iter()
        .map(|program| Command::Run(vec![program]))
        .collect())
}

fn trust_program(path: &Path) -> Result<(), Distrust> {
    let meta = trust_file(path)?;
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(Distrust {
            path: path.to_owned(),
            fault: "is not executable".to_owned(),
            remedy: format!("`chmod +x {}`", path.display()),
        });
    }
    Ok(())
}

/// Looks at a file, at where it really lies, and at every directory on both ways.
fn trust_file(path: &Path) -> Result<fs::Metadata, Distrust> {
    let failed = |error: io::Error| Distrust {
        path: path.to_owned(),
        fault: format!("cannot be used: {error}"),
        remedy: "write the path of an existing program into [hooks] or acme.challenge.hook".to_owned(),
    };
    let real = fs::canonicalize(path).map_err(failed)?;
    let meta = fs::metadata(&real).map_err(failed)?;
    if !meta.is_file() {
        return Err(Distrust {
            path: path.to_owned(),
            fault: "is no file".to_owned(),
            remedy: "name a program; the programs of a directory are named by `directory`".to_owned(),
        });
    }
    judge(&real, &meta)?;
    trust_directories(path)?;
    if real != path {
        trust_directories(&real)?;
    }
    Ok(meta)
}

/// Looks at every directory that a path leads through.
fn trust_directories(path: &Path) -> Result<(), Distrust> {
    for (depth, directory) in path.ancestors().skip(1).enumerate() {
        let meta = fs::metadata(directory).map_err(|error| Distrust {
            path: directory.to_owned(),
            fault: format!("cannot be used: {error}"),
            remedy: "write the path of an existing program into [hooks] or acme.challenge.hook".to_owned(),
        })?;
        // Where the sticky bit is set nobody can put anything in the place of somebody else's; but the directory of the
        // program itself must not take new files either.
        let sticky = meta.mode() & 0o1000 != 0;
        if depth > 0 && sticky {
            continue;
        }
        judge(directory, &meta)?;
    }
    Ok(())
}

/// Judges owner and mode.
fn judge(path: &Path, meta: &fs::Metadata) -> Result<(), Distrust> {
    let me = rustix::process::geteuid().as_raw();
    let distrust = |fault: String, remedy: String| Distrust {
        path: path.to_owned(),
        fault,
        remedy,
    };
    if meta.uid() != 0 && meta.uid() != me {
        let fault = format!("belongs to user {}, not to root or the running user", meta.uid());
        return Err(distrust(
            fault,
            format!("`chown root {}`, once you have read it", path.display()),
        ));
    }
    if meta.mode() & 0o022 != 0 {
        let fault = format!("can be written by others (mode {:04o})", meta.mode() & 0o7777);
        let remedy = format!("`chmod go-w {}`, or move the hook elsewhere", path.display());
        return Err(distrust(fault, remedy));
    }
    Ok(())
}

/// Reads the variables of a hook's own file.
///
/// # Errors
/// When it is missing, may be read or written by others, or is wrong; nothing of its content is told.
pub fn read_env_file(manner: &Manner) -> Result<Vec<(String, String)>, Distrust> {
    let Some(path) = &manner.env_file else {
        return Ok(Vec::new());
    };
    let distrust = |fault: String, remedy: String| Distrust {
        path: path.clone(),
        fault,
        remedy,
    };
    let private = format!("`chmod 0600 {}`", path.display());
    let bytes = files::read_trusted(path, ENV_FILE_LIMIT)
        .map_err(|error| distrust(format!("cannot be used: {}", error.reason), private.clone()))?;
    let mode = fs::metadata(path).map_or(0, |meta| meta.mode());
    if mode & 0o077 != 0 {
        let fault = format!(
            "holds credentials and can be read by others (mode {:04o})",
            mode & 0o7777
        );
        return Err(distrust(fault, private));
    }
    let lines = "write it as NAME=value lines".to_owned();
    let text =
        String::from_utf8(bytes).map_err(|_| distrust("is not UTF-8 text".to_owned(), lines.clone()))?;
    env_file::parse(&text).map_err(|fault| distrust(format!("is wrong: {fault}"), lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with a program in it.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            place.put("hook", 0o755);
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn put(&self, name: &str, mode: u32) {
            fs::write(self.path(name), "#!/bin/sh\n").unwrap();
            self.chmod(name, mode);
        }

        fn chmod(&self, name: &str, mode: u32) {
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }

        fn run(&self, name: &str) -> Result<(), Distrust> {
            trust(&Command::Run(vec![self.path(name).display().to_string()]))
        }
    }

    #[test]
    fn trusts_what_only_its_owner_writes() {
        let place = Place::new();
        place.run("hook").unwrap();
        for (mode, fault) in [
            (0o775, "written by others"),
            (0o757, "written by others"),
            (0o644, "not executable"),
        ] {
            place.chmod("hook", mode);
            assert!(place.run("hook").unwrap_err().fault.contains(fault), "{mode:o}");
        }
        place.chmod("hook", 0o755);
        for mode in [0o777, 0o1777, 0o775] {
            place.chmod(".", mode);
            let distrust = place.run("hook").unwrap_err();
            assert_eq!(distrust.path, place.0.path(), "{mode:o}");
        }
        place.chmod(".", 0o755);
        assert!(place.run("none").unwrap_err().fault.contains("No such file"));
        assert!(place.run(".").unwrap_err().fault.contains("is no file"));
    }

    #[test]
    fn looks_where_a_link_leads() {
        let (place, elsewhere) = (Place::new(), Place::new());
        std::os::unix::fs::symlink(elsewhere.path("hook"), place.path("link")).unwrap();
        place.run("link").unwrap();
        elsewhere.chmod(".", 0o777);
        assert_eq!(place.run("link").unwrap_err().path, elsewhere.0.path());
    }

    #[test]
    fn a_command_line_is_looked_at_as_far_as_it_is_one_program() {
        let place = Place::new();
        place.chmod("hook", 0o777);
        let line = |line: String| trust(&Command::Shell(line));
        assert!(line(format!("{} --x", place.path("hook").display())).is_err());
        line("cd / && true".into()).unwrap();
    }

    #[test]
    fn finds_the_programs_of_a_directory_as_certbot_does() {
        let place = Place::new();
        place.put("20-b", 0o755);
        place.put("10-a", 0o700);
        place.put("10-a~", 0o755);
        place.put("README", 0o644);
        fs::create_dir(place.path("sub")).unwrap();
        let names = |found: Vec<Command>| -> Vec<String> {
            let name = |command: &Command| match command {
                Command::Run(words) => words[0].rsplit('/').next().unwrap().to_owned(),
                other => panic!("{other:?}"),
            };
            found.iter().map(name).collect()
        };
        assert_eq!(
            names(in_directory(place.0.path()).unwrap()),
            ["10-a", "20-b", "hook"]
        );
        place.chmod("20-b", 0o777);
        assert_eq!(in_directory(place.0.path()).unwrap_err().path, place.path("20-b"));
        assert!(in_directory(&place.path("none")).is_err());
    }

    #[test]
    fn credentials_are_for_nobody_else() {
        let place = Place::new();
        let manner = Manner {
            timeout: std::time::Duration::from_secs(1),
            retries: 0,
            env_file: Some(place.path("env")),
        };
        assert!(read_env_file(&manner).is_err());
        fs::write(place.path("env"), "A=geheim\n").unwrap();
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            place.chmod("env", mode);
            assert_eq!(read_env_file(&manner).is_ok(), good, "{mode:o}");
        }
        place.chmod("env", 0o600);
        fs::write(place.path("env"), "geheim\n").unwrap();
        let distrust = read_env_file(&manner).unwrap_err();
        assert!(!format!("{distrust:?}").contains("geheim"), "{distrust}");
    }
}
