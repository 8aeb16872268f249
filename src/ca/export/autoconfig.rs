//! Mozilla's autoconfiguration, which Thunderbird and others read. Pure.
//!
//! It is found at `https://autoconfig.DOMAIN/mail/config-v1.1.xml`, at
//! `https://DOMAIN/.well-known/autoconfig/mail/config-v1.1.xml`, or by an administrator in Thunderbird's `isp` directory.
//!
//! Rules: <https://www.ietf.org/archive/id/draft-ietf-mailmaint-autoconfig-00.html>.

use std::fmt::Write as _;

use super::{Login, Mail, Security, Service, xml};

/// Returns the file.
pub fn config(mail: &Mail, name: &str) -> String {
    let host = xml(mail.host.as_str());
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n  <emailProvider id=\"{}\">\n",
        xml(mail.domains.first().unwrap_or(&mail.host).as_str())
    );
    for domain in &mail.domains {
        let _ = writeln!(text, "    <domain>{}</domain>", xml(domain.as_str()));
    }
    let _ = writeln!(text, "    <displayName>{}</displayName>", xml(name));
    let _ = writeln!(text, "    <displayShortName>{}</displayShortName>", xml(name));
    server(&mut text, "incomingServer", "imap", &host, mail.imap, mail.login);
    for service in &mail.submission {
        server(&mut text, "outgoingServer", "smtp", &host, *service, mail.login);
    }
    text.push_str("  </emailProvider>\n</clientConfig>\n");
    text
}

fn server(text: &mut String, element: &str, kind: &str, host: &str, service: Service, login: Login) {
    let socket = match service.security {
        Security::Implicit => "SSL",
        Security::StartTls => "STARTTLS",
    };
    let user = match login {
        Login::Address => "%EMAILADDRESS%",
        Login::LocalPart => "%EMAILLOCALPART%",
    };
    let _ = write!(
        text,
        "    <{element} type=\"{kind}\">\n      <hostname>{host}</hostname>\n      <port>{}</port>\n      \
         <socketType>{socket}</socketType>\n      <authentication>password-cleartext</authentication>\n      \
         <username>{user}</username>\n    </{element}>\n",
        service.port
    );
}
