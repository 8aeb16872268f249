//! What other clients leave on disk: certbot's live directory with its links, lego's flat files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Scratch, issuance::Issued};

/// Returns a file that `tests/lab/install --tests` has fetched of another client.
pub fn fetched(path: &str) -> PathBuf {
    let cache = std::env::var_os("MAILCERT_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache"),
        PathBuf::from,
    );
    let file = cache.join(path);
    assert!(
        file.exists(),
        "{} is missing: run tests/lab/install --tests",
        file.display()
    );
    file
}

/// Writes a lineage as certbot does: `archive/NAME/*N.pem`, and links in `live/NAME`; returns the latter.
pub fn certbot(scratch: &Scratch, name: &str, n: u32, issued: &Issued) -> PathBuf {
    let end = "-----END CERTIFICATE-----\n";
    let (leaf, chain) = issued.fullchain.split_once(end).expect("a chain of certificates");
    let live = scratch.dir(&format!("letsencrypt/live/{name}"));
    let archive = scratch.dir(&format!("letsencrypt/archive/{name}"));
    for (file, content) in [
        ("cert", format!("{leaf}{end}")),
        ("chain", chain.trim_start().to_owned()),
        ("fullchain", issued.fullchain.clone()),
        ("privkey", issued.private_key.clone()),
    ] {
        let path = format!("letsencrypt/archive/{name}/{file}{n}.pem");
        let path = scratch.secret_file(&path, content);
        let link = live.join(format!("{file}.pem"));
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(archive.join(path.file_name().unwrap()), link).unwrap();
    }
    live
}

/// Writes a certificate as lego does: `NAME.crt` with the whole chain, `NAME.key`, and its own record; returns the directory.
pub fn lego(scratch: &Scratch, name: &str, issued: &Issued) -> PathBuf {
    let file = |end: &str, content: &str| {
        scratch.secret_file(&format!("lego/certificates/{name}.{end}"), content);
    };
    file("crt", &issued.fullchain);
    file("key", &issued.private_key);
    file("json", "{}");
    scratch.path().join("lego/certificates")
}

/// Makes a certificate below an intermediate: the leaf alone, and the intermediate.
pub fn without_its_chain(now: time::OffsetDateTime, names: &[&str]) -> (Issued, String) {
    let ca = |name: &str| {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params
    };
    let key = || rcgen::KeyPair::generate().unwrap();
    let root = rcgen::Issuer::new(ca("a root of the tests"), key());
    let (params, ca_key) = (ca("an intermediate of the tests"), key());
    let pem = params.signed_by(&ca_key, &root).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, ca_key);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_before = now - time::Duration::days(30);
    params.not_after = now + time::Duration::days(60);
    let key = key();
    let leaf = params.signed_by(&key, &issuer).unwrap().pem();
    let issued = Issued {
        fullchain: leaf,
        private_key: key.serialize_pem(),
    };
    (issued, pem)
}

/// Makes a self-signed certificate that is valid from so many days to so many days from now.
pub fn self_signed(names: &[&str], from_days: i64, to_days: i64) -> Issued {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now + time::Duration::days(from_days);
    params.not_after = now + time::Duration::days(to_days);
    let key = rcgen::KeyPair::generate().unwrap();
    Issued {
        fullchain: params.self_signed(&key).unwrap().pem(),
        private_key: key.serialize_pem(),
    }
}

/// Returns every file below a directory with its content, links followed.
pub fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = entries
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    all.sort();
    all
}

/// What a directory is, down to the last bit: every path in it with its kind, mode, owner, time of change, and content or target.
pub fn snapshot(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut all = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let what = if meta.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            "directory".to_owned()
        } else if meta.len() > 1 << 22 {
            format!("{} bytes", meta.len())
        } else {
            format!("{:?}", fs::read(&path).unwrap())
        };
        all.push(format!(
            "{} {:o} {}:{} {}.{} {what}",
            path.display(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        ));
    }
    all.sort();
    all
}

/// Makes a certificate of a CA of its own that is valid from so many days to so many days from a moment: leaf and issuer.
pub fn issued_at(now: time::OffsetDateTime, names: &[&str], from_days: i64, to_days: i64) -> Issued {
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(rcgen::DnType::CommonName, "a CA of the tests");
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_before = now + time::Duration::days(from_days);
    params.not_after = now + time::Duration::days(to_days);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap().pem();
    Issued {
        fullchain: leaf + &ca_pem,
        private_key: key.serialize_pem(),
    }
}
