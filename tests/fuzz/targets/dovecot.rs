//! Dovecot's configuration, and what doveconf prints.

use std::path::{Path, PathBuf};

use mailcert::dovecot::{
    dialect::{Dialect, Version},
    effective::Effective,
    syntax::SourceFile,
    tree::{Source, Tree, TreeError},
};

/// Files that are nowhere on disk, all in one directory.
struct Memory(Vec<(PathBuf, Vec<u8>)>);

impl Source for Memory {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, TreeError> {
        let found = self.0.iter().find(|(known, _)| known == path);
        Ok(found.map(|(_, bytes)| bytes.clone()))
    }

    fn list(&self, path: &Path) -> Vec<String> {
        let names = self.0.iter().filter(|(file, _)| file.parent() == Some(path));
        names
            .filter_map(|(file, _)| Some(file.file_name()?.to_str()?.to_owned()))
            .collect()
    }
}

/// Files that include each other: each prints as it was read, and what is commented out is gone.
pub fn tree(data: &[u8]) {
    let mut files: Vec<(PathBuf, Vec<u8>)> = super::files(data)
        .into_iter()
        .map(|(name, bytes)| (Path::new("/d").join(name.trim_start_matches('/')), bytes))
        .collect();
    if files.is_empty() {
        files.push(("/d/dovecot.conf".into(), data.to_vec()));
    }
    for (_, bytes) in &files {
        let file = SourceFile::parse(bytes);
        assert_eq!(file.to_bytes(), *bytes);
        assert_eq!(SourceFile::parse(bytes), file);
        assert_eq!(file.replaced(|_| None), *bytes);
        assert_eq!(file.commented_out(&[]), *bytes);
        let all: Vec<_> = file.statements.iter().map(|placed| (placed, "why")).collect();
        let out = SourceFile::parse(&file.commented_out(&all));
        assert_eq!(out.statements, Vec::new());
        let appended = SourceFile::parse(&file.appended("zzz = 1\n"));
        assert!(appended.to_bytes().starts_with(bytes));
    }
    let main = files[0].0.clone();
    let source = Memory(files);
    for dialect in [Dialect::V2_3, Dialect::V2_4] {
        let Ok(tree) = Tree::read(&main, dialect, &source) else {
            continue;
        };
        assert!(tree.files.len() <= source.0.len());
        for assignment in &tree.assignments {
            assert!(tree.placed(assignment).is_some());
        }
        let _ = tree.to_bytes();
    }
}

/// What `doveconf -n` prints.
pub fn doveconf(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let effective = Effective::parse(&text);
    let _ = (
        effective.dialect(),
        effective.certificates(),
        effective.protocols(),
    );
    let _ = Version::parse(&text);
}
