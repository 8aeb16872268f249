//! What other programs on the host say: hooks, the mail log, the firewall, signers of mail.

use mailcert::{
    dns::{sending::Relay, signing},
    firewall::nftables,
    hook::env_file,
    model::plan::{printable, printable_line},
    postfix::trail::Trail,
    probe::outbound::Protocols,
};

/// The words of others, before they reach a terminal or a log.
pub fn words(data: &[u8]) {
    for limit in [0, 1, 80, 2000] {
        let line = printable_line(data, limit);
        super::assert_harmless(&line);
        assert!(!line.contains(['\u{202e}', '\u{200b}', '\u{feff}', '\u{2066}']));
        assert!(line.chars().count() <= (limit + 1) * 12, "{}", line.len());
    }
    let text = printable(data);
    let bad = text
        .chars()
        .find(|one| one.is_control() && !matches!(one, '\n' | '\t'));
    assert_eq!(bad, None);
    let value = String::from_utf8_lossy(data);
    let _ = (Relay::parse(&value), Protocols::parse(&value));
}

/// The file that a hook's variables come from, and what it printed.
pub fn hook_output(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match env_file::parse(&text) {
        Err(fault) => assert!(fault.len() < 200, "{fault}"),
        Ok(variables) => {
            for (name, value) in variables {
                // What cannot be put into an environment.
                assert!(!name.is_empty() && !name.contains(['=', '\0']), "{name:?}");
                assert!(!value.contains('\0'));
            }
        }
    }
    words(data);
}

/// Lines of the mail log that may be about a message.
pub fn mail_log(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut trail = Trail::new("m1@example.test", "250 2.0.0 Ok: queued as 4ABCDE");
    for line in text.lines() {
        trail.read(line);
    }
    let _ = (trail.status(), trail.is_over(), trail.queue_id());
    let n_lines = text.lines().count();
    assert!(trail.deliveries().len() <= n_lines);
}

/// What `nft --json list ruleset` prints.
pub fn nftables(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = nftables::filters(&text);
    if let Ok(seen) = nftables::look(&text, &[25, 443]) {
        assert_eq!(seen.len(), 2);
    }
    super::assert_harmless(&nftables::line(&text, 25));
}

/// The configuration and the keys of programs that sign mail.
pub fn signing(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let open_dkim = signing::opendkim(&text);
    let rspamd = signing::rspamd(&text);
    for signer in open_dkim
        .signers
        .iter()
        .chain(&signing::key_table(&text))
        .chain(&rspamd.signers)
        .chain(&rspamd.of_maps(&text, &text))
    {
        let _ = signer.file_for("example.test");
    }
    if let Ok(key) = signing::SigningKey::from_file(data) {
        let record = key.record();
        assert!(
            mailcert::model::record::dkim::Record::parse(record.as_bytes()).is_ok(),
            "{record}"
        );
    }
}
