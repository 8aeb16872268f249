//! dovecot.conf with every file that it includes, in the order in which Dovecot reads them: the last assignment counts. Pure.
//!
//! Where files come from is the caller's business ([`Source`]), so that a configuration can be read as it will be. `!include`
//! is relative to the file that it stands in; its pattern is glob(3)'s, sorted by bytes, and braces are expanded.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Component, Path, PathBuf},
};

use super::{
    dialect::Dialect,
    syntax::{Placed, SourceFile, Statement},
};

/// How deep files may include each other.
const DEPTH_LIMIT: usize = 16;
/// How many files are read.
const FILES_LIMIT: usize = 10_000;

/// Where files are read.
pub trait Source {
    /// Returns a file's bytes; `None` when it does not exist or is no file.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, TreeError>;

    /// Returns the names in a directory; none where there is no such.
    fn list(&self, path: &Path) -> Vec<String>;
}

/// Why a configuration could not be read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeError(pub String);

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TreeError {}

/// Files that stand before those of another source.
pub struct Overlay<'a> {
    /// What is below.
    pub under: &'a dyn Source,
    /// The files; their directories exist.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Source for Overlay<'_> {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, TreeError> {
        match self.files.get(path) {
            Some(bytes) => Ok(Some(bytes.clone())),
            None => self.under.read(path),
        }
    }

    fn list(&self, path: &Path) -> Vec<String> {
        let mut names = self.under.list(path);
        let ours = self.files.keys().filter(|file| file.parent() == Some(path));
        names.extend(ours.filter_map(|file| Some(file.file_name()?.to_str()?.to_owned())));
        names
    }
}

/// A block that an assignment stands in: `local_name mail.example.jp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `service`, `protocol`, `local_name`.
    pub kind: String,
    /// What follows it; empty where nothing does.
    pub name: String,
}

/// One assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The setting, with the prefix that its block gives it in 2.4.
    pub name: String,
    /// The value, without quotes.
    pub value: String,
    /// The blocks that it stands in, outermost first.
    pub scope: Vec<Scope>,
    /// The place of its file in [`Tree::files`].
    pub file: usize,
    /// The place of its statement in the file.
    pub statement: usize,
}

/// An include, and the files that it brings in, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// The place of the file that it stands in.
    pub file: usize,
    /// The place of its statement in that file.
    pub statement: usize,
    /// The files that it brings in.
    pub files: Vec<usize>,
    /// Whether it stands outside of every block.
    pub is_outermost: bool,
}

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Each file once, dovecot.conf first.
    pub files: Vec<(PathBuf, SourceFile)>,
    /// Every assignment, in the order in which they count.
    pub assignments: Vec<Assignment>,
    /// Every include.
    pub includes: Vec<Included>,
    /// How many `local_name` blocks there are.
    pub n_names: usize,
}

impl Tree {
    /// Reads a configuration.
    ///
    /// # Errors
    /// When a file cannot be read, or there are too many or too deep.
    pub fn read(main: &Path, dialect: Dialect, source: &dyn Source) -> Result<Self, TreeError> {
        let mut reading = Reading {
            tree: Self::default(),
            source,
            dialect,
            scope: Vec::new(),
        };
        let first = reading
            .file(main)?
            .ok_or_else(|| TreeError(format!("{} does not exist", main.display())))?;
        reading.statements(first, 0)?;
        Ok(reading.tree)
    }

    /// Returns the file of this path.
    pub fn file(&self, path: &Path) -> Option<&SourceFile> {
        let found = self.files.iter().find(|(known, _)| known == path);
        found.map(|(_, file)| file)
    }

    /// Returns the statement of an assignment.
    pub fn placed(&self, assignment: &Assignment) -> Option<&Placed> {
        self.files
            .get(assignment.file)?
            .1
            .statements
            .get(assignment.statement)
    }

    /// Returns the bytes of every file, for a digest.
    pub fn to_bytes(&self) -> Vec<u8> {
        let texts = self.files.iter().map(|(_, file)| file.to_bytes());
        texts.collect::<Vec<_>>().join(&0)
    }
}

struct Reading<'a> {
    tree: Tree,
    source: &'a dyn Source,
    dialect: Dialect,
    scope: Vec<Scope>,
}

impl Reading<'_> {
    /// Reads a file once; returns its place.
    fn file(&mut self, path: &Path) -> Result<Option<usize>, TreeError> {
        if let Some(known) = self.tree.files.iter().position(|(known, _)| known == path) {
            return Ok(Some(known));
        }
        let Some(bytes) = self.source.read(path)? else {
            return Ok(None);
        };
        if self.tree.files.len() >= FILES_LIMIT {
            return Err(TreeError(format!("more than {FILES_LIMIT} files are included")));
        }
        self.tree.files.push((path.to_owned(), SourceFile::parse(&bytes)));
        Ok(Some(self.tree.files.len() - 1))
    }

    fn statements(&mut self, file: usize, depth: usize) -> Result<(), TreeError> {
        let (path, statements) = match self.tree.files.get(file) {
            Some((path, read)) => (path.clone(), read.statements.clone()),
            None => return Ok(()),
        };
        if depth > DEPTH_LIMIT {
            let message = format!("{} is included more than {DEPTH_LIMIT} deep", path.display());
            return Err(TreeError(message));
        }
        for (index, placed) in statements.into_iter().enumerate() {
            match placed.statement {
                Statement::Close => drop(self.scope.pop()),
                Statement::Open(kind, name) => {
                    self.tree.n_names += usize::from(kind == "local_name");
                    self.scope.push(Scope { kind, name });
                }
                Statement::Set(name, value) => self.assignment(file, index, &name, value),
                Statement::Include(pattern) => {
                    let mut files = Vec::new();
                    for path in self.matches(&path, &pattern) {
                        files.extend(self.file(&path)?);
                    }
                    self.tree.includes.push(Included {
                        file,
                        statement: index,
                        files: files.clone(),
                        is_outermost: self.scope.is_empty(),
                    });
                    for file in files {
                        self.statements(file, depth + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn assignment(&mut self, file: usize, statement: usize, name: &str, value: String) {
        let mut scope = self.scope.clone();
        let mut name = name.to_owned();
        // 2.4 takes `ssl_server { cert_file = … }` for `ssl_server_cert_file`.
        while self.dialect == Dialect::V2_4
            && let Some(inner) = scope.pop_if(|inner| inner.name.is_empty() && inner.kind.starts_with("ssl"))
        {
            name = format!("{}_{name}", inner.kind);
        }
        self.tree.assignments.push(Assignment {
            name,
            value,
            scope,
            file,
            statement,
        });
    }

    /// Returns the files that a pattern names, in the order in which they are read.
    fn matches(&self, from: &Path, pattern: &str) -> Vec<PathBuf> {
        let directory = from.parent().unwrap_or(Path::new("/"));
        let mut found = Vec::new();
        for one in braces(pattern) {
            let mut level = vec![PathBuf::from("/")];
            let whole = directory.join(&one);
            let components: Vec<Component<'_>> = whole.components().collect();
            for (index, component) in components.iter().enumerate() {
                let is_last = index + 1 == components.len();
                level = match component {
                    Component::Normal(name) => match name.to_str() {
                        Some(name) if name.contains(['*', '?', '[']) => self.level_below(&level, name),
                        _ => level.iter().map(|path| path.join(name)).collect(),
                    },
                    Component::ParentDir => level.iter().map(|path| path.join("..")).collect(),
                    _ => level,
                };
                if is_last {
                    found.append(&mut level);
                }
            }
        }
        found
    }

    fn level_below(&self, level: &[PathBuf], pattern: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in level {
            let mut names = self.source.list(directory);
            names.retain(|name| matches(pattern, name));
            names.sort();
            names.dedup();
            found.extend(names.into_iter().map(|name| directory.join(name)));
        }
        found
    }
}

/// Expands `{a,b}` as glob(3) does with `GLOB_BRACE`.
fn braces(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return vec![pattern.to_owned()];
    };
    let Some((inner, after)) = rest.split_once('}').filter(|(inner, _)| !inner.contains('{')) else {
        return vec![pattern.to_owned()];
    };
    inner
        .split(',')
        .flat_map(|one| braces(&format!("{before}{one}{after}")))
        .collect()
}

/// Returns whether a name matches a pattern of glob(7); a leading period is matched by a period alone.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    if name.first() == Some(&'.') && pattern.first() != Some(&'.') {
        return false;
    }
    // Where the last star stands, and how much of the name it has taken.
    let (mut at, mut place, mut star) = (0, 0, None);
    while place < name.len() {
        match single(&pattern[at..], name[place]) {
            Some(length) => (at, place) = (at + length, place + 1),
            None if pattern.get(at) == Some(&'*') => {
                star = Some((at, place));
                at += 1;
            }
            None => match star {
                Some((of, taken)) => {
                    star = Some((of, taken + 1));
                    (at, place) = (of + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

/// Returns the length of the pattern's first part, where that stands for one character and this is one.
fn single(pattern: &[char], character: char) -> Option<usize> {
    match pattern.first()? {
        '*' => None,
        '?' => Some(1),
        '\\' if pattern.len() > 1 => (pattern[1] == character).then_some(2),
        '[' => {
            let end = pattern
                .iter()
                .skip(2)
                .position(|one| *one == ']')
                .map(|end| end + 2);
            let Some(end) = end else {
                return (character == '[').then_some(1);
            };
            let (is_negated, set) = match &pattern[1..end] {
                ['!' | '^', set @ ..] => (true, set),
                set => (false, set),
            };
            (in_set(set, character) != is_negated).then_some(end + 1)
        }
        other => (*other == character).then_some(1),
    }
}

fn in_set(mut set: &[char], character: char) -> bool {
    loop {
        match set {
            [] => return false,
            [first, '-', last, rest @ ..] => {
                if (*first..=*last).contains(&character) {
                    return true;
                }
                set = rest;
            }
            [one, rest @ ..] => {
                if *one == character {
                    return true;
                }
                set = rest;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Files by path.
    pub struct Fake(pub BTreeMap<PathBuf, Vec<u8>>);

    impl Fake {
        /// Returns these files.
        pub fn new(files: &[(&str, &str)]) -> Self {
            let file = |(path, text): &(&str, &str)| (PathBuf::from(path), text.as_bytes().to_vec());
            Self(files.iter().map(file).collect())
        }
    }

    impl Source for Fake {
        fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, TreeError> {
            Ok(self.0.get(path).cloned())
        }

        fn list(&self, path: &Path) -> Vec<String> {
            let below = self.0.keys().filter_map(|file| file.strip_prefix(path).ok());
            below
                .filter_map(|rest| Some(rest.components().next()?.as_os_str().to_str()?.to_owned()))
                .collect()
        }
    }

    #[test]
    fn reads_files_in_dovecots_order() {
        let files = Fake::new(&[
            (
                "/d/dovecot.conf",
                "a = 1\n!include conf.d/*.conf\n!include_try local.conf\n!include_try none*\na = 9\n",
            ),
            ("/d/conf.d/b.conf", "a = 4\n"),
            (
                "/d/conf.d/10-x.conf",
                "a = 2\nservice x {\n  a = 3\n!include ../in.inc\n}\n",
            ),
            ("/d/conf.d/.hidden.conf", "a = 0\n"),
            ("/d/conf.d/auth.ext", "a = 0\n"),
            ("/d/in.inc", "b = 1\n"),
            ("/d/conf.d/../in.inc", "b = 1\n"),
            ("/d/local.conf", "a = 5\n"),
        ]);
        let tree = Tree::read(Path::new("/d/dovecot.conf"), Dialect::V2_3, &files).unwrap();
        let found: Vec<String> = tree
            .assignments
            .iter()
            .map(|one| {
                let scope: Vec<String> = one
                    .scope
                    .iter()
                    .map(|one| format!("{} {} ", one.kind, one.name))
                    .collect();
                format!("{}{}={}", scope.concat(), one.name, one.value)
            })
            .collect();
        let expected = [
            "a=1",
            "a=2",
            "service x a=3",
            "service x b=1",
            "a=4",
            "a=5",
            "a=9",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn settings_of_2_4_are_known_by_their_whole_name() {
        let text = "local_name m {\n  ssl_server {\n    cert_file = /c\n  }\n}\n";
        let files = Fake::new(&[("/d/dovecot.conf", text)]);
        let tree = Tree::read(Path::new("/d/dovecot.conf"), Dialect::V2_4, &files).unwrap();
        assert_eq!(tree.assignments[0].name, "ssl_server_cert_file");
        assert_eq!(tree.assignments[0].scope.len(), 1);
        assert_eq!(tree.n_names, 1);
    }

    #[test]
    fn what_includes_itself_ends() {
        let files = Fake::new(&[("/d/dovecot.conf", "!include dovecot.conf\n")]);
        let error = Tree::read(Path::new("/d/dovecot.conf"), Dialect::V2_3, &files).unwrap_err();
        assert!(error.to_string().contains("deep"), "{error}");
        let none = Tree::read(Path::new("/d/none.conf"), Dialect::V2_3, &files);
        assert!(none.unwrap_err().to_string().contains("does not exist"));
    }

    #[test]
    fn patterns_are_those_of_glob() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        };
        check("*.conf", "a.conf", true);
        check("*.conf", ".conf", false);
        check("*.conf", "a.conf.ext", false);
        check("*", "a", true);
        check("?0-*", "10-x", true);
        check("[0-9]*.conf", "9.conf", true);
        check("[!0-9]*.conf", "9.conf", false);
        check("a[", "a[", true);
        check("", "", true);
        check("**a*b", "xxaxxb", true);
        assert_eq!(braces("a{b,c}d{e,f}"), ["abde", "abdf", "acde", "acdf"]);
        assert_eq!(braces("a{b"), ["a{b"]);
    }
}
