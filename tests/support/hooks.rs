//! Programs that note how they were run, so that tests can say what hooks were given.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::Scratch;

/// One run of a noting program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Its own name, for telling programs apart.
    pub name: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its variables.
    pub vars: BTreeMap<String, String>,
    /// What it read.
    pub stdin: String,
    /// Where it was started.
    pub directory: String,
}

impl Noted {
    /// Returns a variable, or nothing.
    pub fn var(&self, name: &str) -> &str {
        self.vars.get(name).map_or("", String::as_str)
    }
}

/// A directory that programs note their runs in.
pub struct Notes(PathBuf);

impl Notes {
    /// Makes an empty one.
    pub fn new(scratch: &Scratch) -> Self {
        Self(scratch.dir("notes"))
    }

    /// Returns the first lines of a shell script that notes how it is run, as `name`.
    pub fn preamble(&self, name: &str) -> String {
        format!(
            "#!/bin/sh\n\
             note=$(mktemp {dir}/.XXXXXXXX)\n\
             {{ printf '%s\\0' \"$PWD\" {name}; printf '%s\\0' \"$#\" \"$@\"; cat; printf '\\0'; env -0; }} >\"$note\"\n\
             mv \"$note\" {dir}/$(ls {dir} | wc -l | xargs printf %04d)\n",
            dir = self.0.display()
        )
    }

    /// Writes a program into the directory `hooks`, or where the name says, that notes its runs and then does this.
    pub fn program(&self, scratch: &Scratch, name: &str, then: &str) -> PathBuf {
        let path = if name.contains('/') {
            name.to_owned()
        } else {
            format!("hooks/{name}")
        };
        let name = name.rsplit('/').next().unwrap_or_default();
        scratch.program(&path, format!("{}{then}\n", self.preamble(name)))
    }

    /// Returns what was noted so far, in order.
    pub fn read(&self) -> Vec<Noted> {
        let mut files: Vec<PathBuf> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
            .collect();
        files.sort();
        files
            .iter()
            .map(|path| parse(&fs::read_to_string(path).unwrap()))
            .collect()
    }

    /// Returns, of each run, the program's name and its arguments.
    pub fn lines(&self) -> Vec<String> {
        let line = |noted: &Noted| {
            [std::slice::from_ref(&noted.name), &noted.args]
                .concat()
                .join(" ")
        };
        self.read().iter().map(line).collect()
    }

    /// Forgets all.
    pub fn clear(&self) {
        for entry in fs::read_dir(&self.0).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

fn parse(text: &str) -> Noted {
    let mut parts = text.split('\0').map(str::to_owned);
    let mut next = || parts.next().expect("a whole note");
    let (directory, name) = (next(), next());
    let n_args: usize = next().parse().unwrap();
    let args = (0..n_args).map(|_| next()).collect();
    let stdin = next();
    let pair = |text: String| {
        let (name, value) = text.split_once('=')?;
        // The shell's own.
        let ours = !["PWD", "OLDPWD", "SHLVL", "_", "note"].contains(&name);
        ours.then(|| (name.to_owned(), value.to_owned()))
    };
    Noted {
        name,
        args,
        vars: parts.filter_map(pair).collect(),
        stdin,
        directory,
    }
}
