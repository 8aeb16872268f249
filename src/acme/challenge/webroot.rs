//! http-01 by files below a running web server's root (RFC 8555, 8.3).
//!
//! Files are 0644 and directories 0755, so that the web server can read them. What was made is removed again: the
//! files, and the directories that were not there before.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{BoxFuture, ChallengeResponse, ChallengeType, Present};
use crate::{
    acme::error::AcmeError,
    env::files::{self, Access, FileError},
};

/// Where tokens are, below the root.
const BELOW: [&str; 2] = [".well-known", "acme-challenge"];

/// http-01 by files.
#[derive(Debug)]
pub struct Webroot {
    root: PathBuf,
    /// Directories that we made, outer first.
    made: Mutex<Vec<PathBuf>>,
}

impl Webroot {
    /// Names the web server's root; nothing is written yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            made: Mutex::default(),
        }
    }

    fn token_path(&self, response: &ChallengeResponse) -> PathBuf {
        let [outer, inner] = BELOW;
        self.root.join(outer).join(inner).join(&response.token)
    }

    fn write(&self, responses: &[ChallengeResponse]) -> Result<(), FileError> {
        if !self.root.is_dir() {
            let reason = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such web root");
            return Err(FileError {
                verb: "use",
                path: self.root.clone(),
                reason,
            });
        }
        let mut directory = self.root.clone();
        for name in BELOW {
            directory.push(name);
            if !directory.is_dir() {
                self.made().push(directory.clone());
                files::make_directory(&directory, 0o755)?;
            }
        }
        for response in responses {
            let path = self.token_path(response);
            // One that a killed run left behind; never written through, since it may be a link by now.
            files::remove(&path)?;
            files::write_new(&path, response.key_authorization.as_bytes(), Access::PUBLIC)?;
        }
        Ok(())
    }

    fn remove(&self, responses: &[ChallengeResponse]) -> Result<(), FileError> {
        let mut result = Ok(());
        for response in responses {
            result = remove_if_any(&self.token_path(response)).and(result);
        }
        for directory in self.made().drain(..).rev() {
            // Not empty: somebody else uses it by now, and it stays.
            let _ = fs::remove_dir(directory);
        }
        result
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a file; a missing one, or a missing directory above it, is as good as removed.
fn remove_if_any(path: &Path) -> Result<(), FileError> {
    if fs::symlink_metadata(path).is_ok() {
        files::remove(path)
    } else {
        Ok(())
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
    use std::os::unix::fs::PermissionsExt;

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
        assert!(Webroot::new(root.path().join("none")).write(&[]).is_err());
    }
}
