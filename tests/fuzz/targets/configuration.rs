//! `mailcert.toml`.

use std::path::Path;

use mailcert::config::{
    Issuer,
    template::{answers_from, answers_in, complete, edit, names_host},
    v1,
};

/// What can be read stays as it is when its own answers are put into it; what cannot tells where, fit for a terminal.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let file = Path::new("/etc/mailcert/mailcert.toml");
    match v1::parse(file, &text) {
        Err(errors) => {
            for line in errors.to_string().lines() {
                super::assert_harmless(&line.replace('\t', " "));
            }
        }
        Ok(config) => {
            let first = answers_from(&config);
            match answers_in(file, &text, &config) {
                Ok(answers) => assert_eq!(edit(file, &text, &answers).unwrap(), text),
                Err(_) if first.issuer != Issuer::Acme => {
                    assert_eq!(edit(file, &text, &first).unwrap(), text);
                }
                // Certificates are to come by a CA that cannot be used: that is told.
                Err(_) => assert!(edit(file, &text, &first).is_err()),
            }
        }
    }
    let _ = names_host(&text);
    let host = "mail.example.test".parse().unwrap();
    let domains = ["example.test".parse().unwrap()];
    if let Some(completed) = complete(&text, &host, &domains, true) {
        assert!(complete(&completed, &host, &domains, true).is_some());
    }
}
