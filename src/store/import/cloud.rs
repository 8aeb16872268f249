//! Credentials for the APIs of DNS hosts, as certbot's plugins keep them. Pure.

use zeroize::Zeroizing;

use super::ini::Ini;

/// A plugin whose DNS host is one of ours.
#[derive(Debug, PartialEq, Eq)]
pub struct Plugin {
    /// As `authenticator` has it, without `dns-`.
    name: &'static str,
    /// The word for `dns.provider.service`.
    pub service: &'static str,
    /// Names of credentials: in the plugin's file behind `dns_NAME_`, and in ours.
    keys: &'static [(&'static str, &'static str)],
}

/// The plugins of certbot's own repository that keep all that is needed in a file. Not among them: dns-route53 and dns-google, whose
/// credentials are the machine's or another program's; dns-dnsimple, which asks the host for the account; dns-gehirn,
/// dns-sakuracloud and dns-dnsmadeeasy, of which ours wants to know otherwise.
const PLUGINS: &[Plugin] = &[
    Plugin {
        name: "cloudflare",
        service: "cloudflare",
        keys: &[("api_token", "api_token")],
    },
    Plugin {
        name: "digitalocean",
        service: "digitalocean",
        keys: &[("token", "auth_token")],
    },
    Plugin {
        name: "linode",
        service: "linode",
        keys: &[("key", "auth_token")],
    },
    Plugin {
        name: "luadns",
        service: "luadns",
        keys: &[("email", "api_username"), ("token", "api_token")],
    },
    Plugin {
        name: "nsone",
        service: "ns1",
        keys: &[("api_key", "api_key")],
    },
    Plugin {
        name: "ovh",
        service: "ovh",
        keys: &[
            ("endpoint", "endpoint"),
            ("application_key", "application_key"),
            ("application_secret", "application_secret"),
            ("consumer_key", "consumer_key"),
        ],
    },
];

impl Plugin {
    /// Returns the plugin that is called so in `authenticator`.
    pub fn of(authenticator: &str) -> Option<&'static Self> {
        let name = authenticator.strip_prefix("dns-")?;
        PLUGINS.iter().find(|plugin| plugin.name == name)
    }

    /// Returns the parameter that names the file with its credentials.
    pub fn parameter(&self) -> String {
        format!("dns_{}_credentials", self.name)
    }

    /// Returns the credentials of the plugin's file as ours has them: `name = value` lines.
    ///
    /// # Errors
    /// What is missing in it, as a sentence about it.
    pub fn credentials(&self, text: &str) -> Result<Zeroizing<String>, String> {
        let ini = Ini::of(text);
        let mut lines = Zeroizing::new(String::new());
        for (theirs, ours) in self.keys {
            let theirs = format!("dns_{}_{theirs}", self.name);
            let value = ini
                .get("", &theirs)
                .ok_or_else(|| format!("it has no {theirs}"))?;
            lines.push_str(&format!("{ours} = {value}\n"));
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_those_that_our_service_asks_for() {
        let check = |authenticator: &str, text: &str, expected: Result<&str, &str>| {
            let read = Plugin::of(authenticator).unwrap().credentials(text);
            let read = read.as_ref().map(|text| text.as_str()).map_err(String::as_str);
            assert_eq!(read, expected, "{authenticator}");
        };
        check(
            "dns-cloudflare",
            "# token\ndns_cloudflare_api_token = 0123-abc_DEF\n",
            Ok("api_token = 0123-abc_DEF\n"),
        );
        check(
            "dns-cloudflare",
            "dns_cloudflare_email = a@b.test\ndns_cloudflare_api_key = 0123\n",
            Err("it has no dns_cloudflare_api_token"),
        );
        check(
            "dns-luadns",
            "dns_luadns_email = a@b.test\ndns_luadns_token = 'x'\n",
            Ok("api_username = a@b.test\napi_token = x\n"),
        );
        check(
            "dns-ovh",
            "dns_ovh_endpoint = ovh-eu\ndns_ovh_application_key = a\ndns_ovh_application_secret = b\ndns_ovh_consumer_key = c\n",
            Ok("endpoint = ovh-eu\napplication_key = a\napplication_secret = b\nconsumer_key = c\n"),
        );
        for unknown in ["dns-route53", "cloudflare", "dns-", "standalone", ""] {
            assert_eq!(Plugin::of(unknown), None, "{unknown}");
        }
    }
}
