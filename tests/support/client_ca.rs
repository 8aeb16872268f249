//! A CA for client certificates as an operator makes one by openssl.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{Scratch, server::run};

/// A root below a scratch directory.
pub struct ClientCa {
    directory: PathBuf,
}

/// A certificate of it with its key.
pub struct ClientIdentity {
    /// The leaf, as PEM.
    pub certificate: PathBuf,
    /// The key, as PEM.
    pub key: PathBuf,
}

impl ClientCa {
    /// Makes a root of this name.
    pub fn make(scratch: &Scratch, name: &str) -> Self {
        let ca = Self {
            directory: scratch.dir(name),
        };
        run(
            openssl(&["req", "-x509", "-noenc", "-days", "30", "-newkey", "ec"])
                .args([
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-subj",
                    &format!("/CN={name}"),
                ])
                .arg("-keyout")
                .arg(ca.directory.join("ca.key"))
                .arg("-out")
                .arg(ca.root()),
        );
        ca
    }

    /// Returns the root.
    pub fn root(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Issues a certificate for this name; `usage` is the extended key usage, as openssl spells it.
    pub fn issue(&self, name: &str, usage: &str) -> ClientIdentity {
        self.issue_for(name, usage, "20360101000000Z")
    }

    /// Issues a certificate that has expired.
    pub fn issue_expired(&self, name: &str) -> ClientIdentity {
        self.issue_for(name, "clientAuth", "20260101000000Z")
    }

    fn issue_for(&self, name: &str, usage: &str, end: &str) -> ClientIdentity {
        let file = |ending: &str| self.directory.join(format!("{name}.{ending}"));
        run(openssl(&["req", "-new", "-noenc", "-newkey", "ec"])
            .args([
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-subj",
                &format!("/CN={name}"),
            ])
            .arg("-keyout")
            .arg(file("key"))
            .arg("-out")
            .arg(file("csr")));
        let d = self.directory.display();
        let config = format!(
            "[ca]\ndefault_ca = here\n[here]\ndatabase = {d}/index\nnew_certs_dir = {d}\nrand_serial = yes\n\
             default_md = sha256\npolicy = any\nunique_subject = no\n[any]\ncommonName = supplied\n[leaf]\n\
             extendedKeyUsage = {usage}\nsubjectAltName = DNS:{name}\nbasicConstraints = critical,CA:FALSE\n"
        );
        std::fs::write(file("cnf"), config).unwrap();
        std::fs::write(self.directory.join("index"), "").unwrap();
        run(openssl(&["ca", "-batch", "-notext", "-config"])
            .arg(file("cnf"))
            .args([
                "-extensions",
                "leaf",
                "-startdate",
                "20250101000000Z",
                "-enddate",
                end,
            ])
            .arg("-cert")
            .arg(self.root())
            .arg("-keyfile")
            .arg(self.directory.join("ca.key"))
            .arg("-in")
            .arg(file("csr"))
            .arg("-out")
            .arg(file("pem")));
        ClientIdentity {
            certificate: file("pem"),
            key: file("key"),
        }
    }
}

impl ClientIdentity {
    /// Leaves it as certbot's live directory has it, with the root behind the leaf; returns the directory.
    pub fn leave(&self, scratch: &Scratch, name: &str) -> PathBuf {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        scratch.file(&format!("{name}/fullchain.pem"), read(&self.certificate));
        scratch.file(&format!("{name}/cert.pem"), read(&self.certificate));
        scratch.secret_file(&format!("{name}/privkey.pem"), read(&self.key));
        scratch.path().join(name)
    }

    /// Returns the SHA-256 of its public key as openssl sees it, in the spelling of Postfix.
    pub fn key_fingerprint(&self) -> String {
        let der = self.certificate.with_extension("pub");
        let text = run(openssl(&["x509", "-noout", "-pubkey", "-in"]).arg(&self.certificate));
        std::fs::write(&der, text).unwrap();
        let bytes = self.certificate.with_extension("spki");
        run(openssl(&["pkey", "-pubin", "-outform", "DER", "-in"])
            .arg(&der)
            .arg("-out")
            .arg(&bytes));
        let said = run(openssl(&["dgst", "-sha256", "-c"]).arg(&bytes));
        said.rsplit_once("= ").unwrap().1.trim().to_uppercase()
    }
}

fn openssl(args: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(args);
    command
}
