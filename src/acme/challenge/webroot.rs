//! http-01 by files below a running web server's root (RFC 8555, 8.3).
//!
//! Files are 0644 and directories 0755, so that the web server can read them. What was made is removed again: the
//! files, and the directories that were not there before.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::{BoxFuture, ChallengeResponse, ChallengeType, Present};
use crate::{
    acme::error::AcmeError,
    env::{below::Below, files::FileError},
};

/// Where tokens are, below the root.
const BELOW: [&str; 2] = [".well-known", "acme-challenge"];

/// http-01 by files.
#[derive(Debug)]
pub struct Webroot {
    root: PathBuf,
    /// Those of [`BELOW`] that we made, outer first.
    made: Mutex<Vec<&'static str>>,
}

impl Webroot {
    /// Names the web server's root; nothing is written yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            made: Mutex::default(),
        }
    }

    /// Opens the directory of the tokens; `None` when it is not there.
    fn tokens(&self) -> Result<Option<Below>, FileError> {
        let mut directory = Below::open(&self.root)?;
        for name in BELOW {
            match directory.enter(name)? {
                Some(inner) => directory = inner,
                None => return Ok(None),
            }
        }
        Ok(Some(directory))
    }

    fn write(&self, responses: &[ChallengeResponse]) -> Result<(), FileError> {
        let mut directory = Below::open(&self.root).map_err(|error| match error.reason.kind() {
            std::io::ErrorKind::NotFound => FileError {
                reason: std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such web root"),
                ..error
            },
            _ => error,
        })?;
        for name in BELOW {
            directory = match directory.enter(name)? {
                Some(inner) => inner,
                None => {
                    self.made().push(name);
                    directory.make(name, 0o755)?
                }
            };
        }
        for response in responses {
            // One that a killed run left behind; never written through, since it may be a link by now.
            directory.remove(&response.token)?;
            directory.write_new(&response.token, response.key_authorization.as_bytes())?;
        }
        Ok(())
    }

    fn remove(&self, responses: &[ChallengeResponse]) -> Result<(), FileError> {
        let mut result = Ok(());
        if let Some(directory) = self.tokens()? {
            for response in responses {
                result = directory.remove(&response.token).and(result);
            }
        }
        let [outer, _] = BELOW;
        for name in self.made().drain(..).rev() {
            let root = Below::open(&self.root)?;
            // Not empty: somebody else uses it by now, and it stays.
            if name == outer {
                root.remove_if_empty(name);
            } else if let Some(parent) = root.enter(outer)? {
                parent.remove_if_empty(name);
            }
        }
        result
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Vec<&'static str>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present for Webroot {
    fn challenge_type(&self) -> ChallengeType {
        ChallengeType::Http01
    }

    fn present<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        Box::pin(async move {
            self.write(responses)
                .map_err(|error| AcmeError::Webroot(error.to_string()))
        })
    }

    fn cleanup<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        Box::pin(async move {
            self.remove(responses)
                .map_err(|error| AcmeError::Webroot(error.to_string()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::*;

    fn response(token: &str) -> ChallengeResponse {
        ChallengeResponse {
            name: "a.example.test".parse().unwrap(),
            token: token.into(),
            key_authorization: format!("{token}.thumb"),
            txt: String::new(),
        }
    }

    #[test]
    fn writes_readable_tokens_and_leaves_no_trace() {
        let root = tempfile::tempdir().unwrap();
        let webroot = Webroot::new(root.path());
        let responses = [response("t1"), response("t2")];
        webroot.write(&responses).unwrap();
        webroot.write(&responses).unwrap();
        let directory = root.path().join(".well-known/acme-challenge");
        assert_eq!(fs::read(directory.join("t2")).unwrap(), b"t2.thumb");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&directory), mode(&directory.join("t1"))), (0o755, 0o644));
        webroot.remove(&responses).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        webroot.remove(&responses).unwrap();
    }

    #[test]
    fn keeps_what_others_made() {
        let root = tempfile::tempdir().unwrap();
        let known = root.path().join(".well-known");
        fs::create_dir(&known).unwrap();
        let webroot = Webroot::new(root.path());
        webroot.write(&[response("t1")]).unwrap();
        fs::write(known.join("acme-challenge/other"), "x").unwrap();
        webroot.remove(&[response("t1")]).unwrap();
        assert_eq!(fs::read_dir(known.join("acme-challenge")).unwrap().count(), 1);
    }

    #[test]
    fn never_writes_through_a_link_and_wants_a_root() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join(".well-known/acme-challenge");
        fs::create_dir_all(&directory).unwrap();
        let victim = root.path().join("victim");
        fs::write(&victim, "old").unwrap();
        std::os::unix::fs::symlink(&victim, directory.join("t1")).unwrap();
        Webroot::new(root.path()).write(&[response("t1")]).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"old");
        let none = Webroot::new(root.path().join("none")).write(&[]).unwrap_err();
        assert!(none.to_string().contains("no such web root"), "{none}");
    }

    #[test]
    fn follows_links_of_ours_and_nobody_elses() {
        use std::os::unix::fs::{lchown, symlink};
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, target) = (root.path().join(".well-known"), elsewhere.path());
        symlink(target, &link).unwrap();
        let webroot = Webroot::new(root.path());
        webroot.write(&[response("t1")]).unwrap();
        assert!(target.join("acme-challenge/t1").exists());
        webroot.remove(&[response("t1")]).unwrap();
        assert_eq!(fs::read_dir(target).unwrap().count(), 0);
        // Only root may give a link away.
        if lchown(&link, Some(65534), None).is_ok() {
            let refused = webroot.write(&[response("t1")]).unwrap_err();
            assert!(refused.to_string().contains("link of user 65534"), "{refused}");
            assert!(webroot.remove(&[response("t1")]).is_err());
            assert_eq!(fs::read_dir(target).unwrap().count(), 0);
        }
        fs::remove_file(&link).unwrap();
        fs::write(&link, "x").unwrap();
        let refused = webroot.write(&[response("t1")]).unwrap_err();
        assert!(refused.to_string().contains("not a directory"), "{refused}");
    }
}
