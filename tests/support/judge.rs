//! Judges that we did not write: openssl(1) and posttls-finger(1) look at what a port serves.

use std::{
    io::Write,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

/// How TLS begins on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// With the connection (RFC 8314, 3).
    Implicit,
    /// After STARTTLS (RFC 3207).
    StartTls,
}

/// Returns the SHA-256 of the leaf that the port serves, in lower-case hex, as openssl sees it.
///
/// # Errors
/// What openssl printed, when the handshake gave no certificate.
pub fn leaf_sha256(port: SocketAddr, tls: Tls, name: &str) -> Result<String, String> {
    let said = s_client(port, tls, name, &[])?;
    let begin = said
        .find("-----BEGIN CERTIFICATE-----")
        .ok_or_else(|| said.clone())?;
    certificate_sha256(&said[begin..])
}

/// Returns the SHA-256 of the first certificate of a PEM text, in lower-case hex, as openssl sees it.
///
/// # Errors
/// What openssl complained about.
pub fn certificate_sha256(pem: &str) -> Result<String, String> {
    let said = openssl(&["x509", "-noout", "-fingerprint", "-sha256"], pem)?;
    let (_, digest) = said.trim().split_once('=').ok_or_else(|| said.clone())?;
    Ok(digest.replace(':', "").to_lowercase())
}

/// Returns the DNS names of the first certificate of a PEM text, sorted, as openssl sees them.
pub fn dns_names(pem: &str) -> Vec<String> {
    let said = openssl(&["x509", "-noout", "-ext", "subjectAltName"], pem).unwrap();
    let names = said
        .split([',', ' ', '\n'])
        .filter_map(|word| word.strip_prefix("DNS:"));
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

/// Returns the public key of a private key or certificate, as openssl sees it.
pub fn public_key_of(pem: &str) -> String {
    let said = if pem.contains("PRIVATE KEY") {
        openssl(&["pkey", "-pubout"], pem)
    } else {
        openssl(&["x509", "-noout", "-pubkey"], pem)
    };
    said.unwrap()
}

/// Lets openssl verify chain and name against a root, as a strict client does.
///
/// # Errors
/// What openssl printed.
pub fn verify(port: SocketAddr, tls: Tls, name: &str, root: &Path) -> Result<(), String> {
    let root = root.display().to_string();
    let strict = [
        "-verify_return_error",
        "-verify_hostname",
        name,
        "-CAfile",
        root.as_str(),
        "-no-CApath",
    ];
    let said = s_client(port, tls, name, &strict)?;
    if said.contains("Verify return code: 0 (ok)") {
        Ok(())
    } else {
        Err(said)
    }
}

/// Lets Postfix's own client judge port and name against a root; returns its log, which says
/// `Verified TLS connection established` when it is content.
pub fn posttls_finger(config_directory: &Path, port: SocketAddr, name: &str, root: &Path) -> String {
    let output = Command::new("posttls-finger")
        .env("MAIL_CONFIG", config_directory)
        .args(["-c", "-l", "secure", "-F"])
        .arg(root)
        .arg(format!("[{}]:{}", port.ip(), port.port()))
        .arg(name)
        .output()
        .expect("posttls-finger is missing: run tests/lab/install");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Connects with openssl s_client and returns what it printed.
fn s_client(port: SocketAddr, tls: Tls, name: &str, more: &[&str]) -> Result<String, String> {
    let port = port.to_string();
    let mut args = vec!["s_client", "-connect", port.as_str(), "-servername", name];
    if tls == Tls::StartTls {
        args.extend(["-starttls", "smtp"]);
    }
    args.extend(more);
    openssl(&args, "")
}

/// Runs openssl for at most 20 s.
fn openssl(args: &[&str], stdin: &str) -> Result<String, String> {
    let mut child = Command::new("timeout")
        .args(["20", "openssl"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout(1) is part of coreutils");
    // It may have ended without reading; then its status tells why.
    let _ = child
        .stdin
        .take()
        .map(|mut pipe| pipe.write_all(stdin.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(stdout)
    } else {
        Err(format!(
            "openssl {args:?}: {}\n{stdout}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// Returns the serial number of the first certificate of a PEM text, hex, as openssl sees it.
pub fn serial(pem: &str) -> String {
    let said = openssl(&["x509", "-noout", "-serial"], pem).unwrap();
    said.trim().trim_start_matches("serial=").to_lowercase()
}

/// Returns everything that openssl says of the first certificate of a PEM text.
pub fn certificate_text(pem: &str) -> String {
    openssl(&["x509", "-noout", "-text"], pem).unwrap()
}

/// Returns the common name of the subject of the first certificate of a PEM text.
pub fn common_name(pem: &str) -> String {
    let said = openssl(&["x509", "-noout", "-subject", "-nameopt", "multiline"], pem).unwrap();
    let line = said.lines().find(|line| line.trim().starts_with("commonName"));
    line.unwrap().split_once('=').unwrap().1.trim().to_owned()
}

/// Checks that the first certificate of a PEM text is signed by its own key.
pub fn verify_self_signed(pem: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("self.pem");
    let end = pem.find("-----END CERTIFICATE-----").unwrap();
    std::fs::write(&file, format!("{}-----END CERTIFICATE-----\n", &pem[..end])).unwrap();
    let said = Command::new("openssl")
        .args(["verify", "-ignore_critical", "-check_ss_sig", "-CAfile"])
        .args([&file, &file])
        .output()
        .unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

/// Returns whether openssl finds a path from the certificate over this chain to this root.
pub fn chain_leads_to(leaf: &str, chain: &str, root: &Path) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let (leaf_file, chain_file) = (
        directory.path().join("leaf.pem"),
        directory.path().join("chain.pem"),
    );
    std::fs::write(&leaf_file, leaf).unwrap();
    std::fs::write(&chain_file, chain).unwrap();
    let said = Command::new("openssl")
        .args(["verify", "-no-CApath", "-no-CAstore", "-CAfile"])
        .arg(root)
        .arg("-untrusted")
        .args([&chain_file, &leaf_file])
        .output()
        .unwrap();
    said.status.success()
}
