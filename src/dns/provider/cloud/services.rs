//! The cloud services that dns-update speaks to: what each wants to know, and the client made of it.
//!
//! Names of credentials are dns-update's own, in small letters.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use dns_update::{
    DnsUpdater,
    providers::{
        azuredns::{AzureDnsConfig, AzureEnvironment},
        bluecatv2::BluecatV2Config,
        edgedns::EdgeDnsConfig,
        google_cloud_dns::GoogleCloudDnsConfig,
        infoblox::InfobloxConfig,
        joker::JokerAuth,
        lightsail::LightsailConfig,
        oraclecloud::OracleCloudConfig,
        route53::Route53Config,
        volcengine::VolcengineConfig,
        yandexcloud::YandexCloudConfig,
    },
};

/// How long one request may take.
const REQUEST: Option<Duration> = Some(Duration::from_secs(30));

/// Names of credentials that say where a service is, and are told when it cannot be reached.
const PLACES: [&str; 8] = [
    "base_url",
    "endpoint",
    "environment",
    "host",
    "region",
    "scheme",
    "server_name",
    "server_url",
];

/// What an operator has at a service: names and values; and which of them were asked for.
pub struct Credentials {
    values: BTreeMap<String, String>,
    asked: RefCell<Vec<&'static str>>,
}

/// Why there is no client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoClient {
    /// A credential is not there.
    Missing(&'static str),
    /// dns-update refuses them.
    Refused,
    /// There are names that the service does not know; those that it does.
    Unknown(Vec<&'static str>),
    /// Nobody knows such a service.
    NoSuchService,
}

impl From<dns_update::Error> for NoClient {
    fn from(_: dns_update::Error) -> Self {
        Self::Refused
    }
}

impl Credentials {
    /// Reads `name = value` lines, or one line that is the only credential itself; empty lines and `#` lines are none.
    pub fn parse(text: &str) -> Self {
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        let pair = |line: &str| {
            let (name, value) = line.split_once('=')?;
            let name = name.trim();
            let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            let is_name = !name.is_empty() && name.bytes().all(legal);
            is_name.then(|| (name.to_owned(), value.trim().to_owned()))
        };
        let pairs: Option<BTreeMap<String, String>> = lines.iter().map(|line| pair(line)).collect();
        let values = pairs.unwrap_or_else(|| BTreeMap::from([(String::new(), lines.join("\n"))]));
        Self {
            values,
            asked: RefCell::default(),
        }
    }

    /// Returns every value that nobody may see, as far as it can be told from other text. A URL with a password in it is one.
    pub fn secrets(&self) -> Vec<String> {
        let is_secret = |(name, value): &(&String, &String)| {
            value.len() >= 6 && (!PLACES.contains(&name.as_str()) || value.contains('@'))
        };
        let secret = self.values.iter().filter(is_secret);
        secret.map(|(_, value)| value.clone()).collect()
    }

    /// Returns a credential that must be there; the only one may stand without its name.
    fn get(&self, name: &'static str) -> Result<&str, NoClient> {
        let value = self.may_get(name);
        let alone = || self.values.get("").filter(|_| self.asked.borrow().len() == 1);
        value
            .or_else(|| alone().map(String::as_str))
            .ok_or(NoClient::Missing(name))
    }

    /// Returns a credential that may be there.
    fn may_get(&self, name: &'static str) -> Option<&str> {
        self.asked.borrow_mut().push(name);
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn owned(&self, name: &'static str) -> Result<String, NoClient> {
        self.get(name).map(str::to_owned)
    }

    fn may_own(&self, name: &'static str) -> Option<String> {
        self.may_get(name).map(str::to_owned)
    }
}

/// Every service, in the order of the alphabet.
pub const SERVICES: &[&str] = &[
    "alidns",
    "arvancloud",
    "autodns",
    "azuredns",
    "baiducloud",
    "bluecatv2",
    "bunny",
    "cloudflare",
    "cloudns",
    "constellix",
    "cpanel",
    "ddnss",
    "desec",
    "digitalocean",
    "dnsimple",
    "dnsmadeeasy",
    "domeneshop",
    "dreamhost",
    "duckdns",
    "dynu",
    "easydns",
    "edgedns",
    "exoscale",
    "freemyip",
    "gandiv5",
    "gcore",
    "glesys",
    "godaddy",
    "googleclouddns",
    "hetzner",
    "hostingde",
    "hostinger",
    "huaweicloud",
    "ibmcloud",
    "infoblox",
    "infomaniak",
    "inwx",
    "ionos",
    "ipv64",
    "joker",
    "lightsail",
    "linode",
    "luadns",
    "mythicbeasts",
    "namecheap",
    "namedotcom",
    "namesilo",
    "netcup",
    "netlify",
    "nifcloud",
    "ns1",
    "oraclecloud",
    "ovh",
    "pdns",
    "plesk",
    "porkbun",
    "route53",
    "safedns",
    "scaleway",
    "selectel",
    "simplycom",
    "spaceship",
    "tencentcloud",
    "transip",
    "ultradns",
    "vercel",
    "volcengine",
    "vultr",
    "websupport",
    "yandexcloud",
    "zoneeu",
];

/// Makes the client of a service.
///
/// # Errors
/// When a credential is missing, unknown or refused; its value is never told.
pub fn connect(service: &str, credentials: &Credentials) -> Result<DnsUpdater, NoClient> {
    let client = client(service, credentials)?;
    let asked = credentials.asked.borrow();
    let is_known = |name: &&String| name.is_empty() || asked.contains(&name.as_str());
    match credentials.values.keys().all(|name| is_known(&name)) {
        true => Ok(client),
        false => Err(NoClient::Unknown(asked.clone())),
    }
}

/// A table: the services, and what each is made of.
#[rustfmt::skip]
fn client(service: &str, c: &Credentials) -> Result<DnsUpdater, NoClient> {
    Ok(match service {
        "alidns" => DnsUpdater::new_alidns(c.get("access_key")?, c.get("secret_key")?, c.may_get("region"), c.may_get("security_token"), c.may_get("line"), REQUEST)?,
        "arvancloud" => DnsUpdater::new_arvancloud(c.get("api_key")?, REQUEST)?,
        "autodns" => DnsUpdater::new_autodns(c.get("username")?, c.get("password")?, c.may_get("context").and_then(|text| text.parse().ok()), REQUEST)?,
        "azuredns" => DnsUpdater::new_azuredns(AzureDnsConfig {
            tenant_id: c.owned("tenant_id")?,
            client_id: c.owned("client_id")?,
            client_secret: c.owned("client_secret")?,
            subscription_id: c.owned("subscription_id")?,
            resource_group: c.owned("resource_group")?,
            environment: AzureEnvironment::from_str_lossy(c.may_get("environment").unwrap_or_default()),
            request_timeout: REQUEST,
        })?,
        "baiducloud" => DnsUpdater::new_baiducloud(c.get("access_key")?, c.get("secret_key")?, REQUEST)?,
        "bluecatv2" => DnsUpdater::new_bluecatv2(BluecatV2Config {
            server_url: c.owned("server_url")?,
            username: c.owned("username")?,
            password: c.owned("password")?,
            config_name: c.owned("config_name")?,
            view_name: c.owned("view_name")?,
            skip_deploy: c.may_get("skip_deploy") == Some("true"),
            request_timeout: REQUEST,
        })?,
        "bunny" => DnsUpdater::new_bunny(c.get("api_key")?, REQUEST)?,
        "cloudflare" => DnsUpdater::new_cloudflare(c.get("api_token")?, REQUEST)?,
        "cloudns" => DnsUpdater::new_cloudns(c.may_get("auth_id"), c.may_get("sub_auth_id"), c.get("auth_password")?, REQUEST)?,
        "constellix" => DnsUpdater::new_constellix(c.get("api_key")?, c.get("secret_key")?, REQUEST)?,
        "cpanel" => DnsUpdater::new_cpanel(c.get("base_url")?, c.get("username")?, c.get("token")?, REQUEST)?,
        "ddnss" => DnsUpdater::new_ddnss(c.get("key")?, REQUEST)?,
        "desec" => DnsUpdater::new_desec(c.get("auth_token")?, REQUEST)?,
        "digitalocean" => DnsUpdater::new_digitalocean(c.get("auth_token")?, REQUEST)?,
        "dnsimple" => DnsUpdater::new_dnsimple(c.get("auth_token")?, c.get("account_id")?, REQUEST)?,
        "dnsmadeeasy" => DnsUpdater::new_dnsmadeeasy(c.get("api_key")?, c.get("api_secret")?, REQUEST)?,
        "domeneshop" => DnsUpdater::new_domeneshop(c.get("api_token")?, c.get("api_secret")?, REQUEST)?,
        "dreamhost" => DnsUpdater::new_dreamhost(c.get("api_key")?, REQUEST)?,
        "duckdns" => DnsUpdater::new_duckdns(c.get("token")?, REQUEST)?,
        "dynu" => DnsUpdater::new_dynu(c.get("api_key")?, REQUEST)?,
        "easydns" => DnsUpdater::new_easydns(c.get("token")?, c.get("key")?, REQUEST)?,
        "edgedns" => DnsUpdater::new_edgedns(EdgeDnsConfig {
            host: c.owned("host")?,
            client_token: c.owned("client_token")?,
            client_secret: c.owned("client_secret")?,
            access_token: c.owned("access_token")?,
            account_switch_key: c.may_own("account_switch_key"),
            request_timeout: REQUEST,
        })?,
        "exoscale" => DnsUpdater::new_exoscale(c.get("api_key")?, c.get("api_secret")?, REQUEST)?,
        "freemyip" => DnsUpdater::new_freemyip(c.get("token")?, REQUEST)?,
        "gandiv5" => DnsUpdater::new_gandiv5(c.get("personal_access_token")?, REQUEST)?,
        "gcore" => DnsUpdater::new_gcore(c.get("api_token")?, REQUEST)?,
        "glesys" => DnsUpdater::new_glesys(c.get("api_user")?, c.get("api_key")?, REQUEST)?,
        "godaddy" => DnsUpdater::new_godaddy(c.get("api_key")?, c.get("api_secret")?, REQUEST)?,
        "googleclouddns" => DnsUpdater::new_google_cloud_dns(GoogleCloudDnsConfig {
            service_account_json: c.owned("service_account_json")?,
            project_id: c.owned("project_id")?,
            managed_zone: c.may_own("managed_zone"),
            private_zone: c.may_get("private_zone") == Some("true"),
            impersonate_service_account: c.may_own("impersonate_service_account"),
            request_timeout: REQUEST,
        })?,
        "hetzner" => DnsUpdater::new_hetzner(c.get("api_token")?, REQUEST)?,
        "hostingde" => DnsUpdater::new_hostingde(c.get("api_key")?, REQUEST)?,
        "hostinger" => DnsUpdater::new_hostinger(c.get("api_token")?, REQUEST)?,
        "huaweicloud" => DnsUpdater::new_huaweicloud(c.get("access_key")?, c.get("secret_key")?, c.get("region")?, REQUEST)?,
        "ibmcloud" => DnsUpdater::new_ibmcloud(c.get("username")?, c.get("api_key")?, REQUEST)?,
        "infoblox" => DnsUpdater::new_infoblox(InfobloxConfig {
            host: c.owned("host")?,
            port: c.may_own("port"),
            username: c.owned("username")?,
            password: c.owned("password")?,
            wapi_version: c.may_own("wapi_version"),
            dns_view: c.may_own("dns_view"),
            request_timeout: REQUEST,
        })?,
        "infomaniak" => DnsUpdater::new_infomaniak(c.get("access_token")?, REQUEST)?,
        "inwx" => DnsUpdater::new_inwx(c.get("username")?, c.get("password")?, c.may_get("sandbox") == Some("true"), REQUEST)?,
        "ionos" => DnsUpdater::new_ionos(c.get("api_key")?, REQUEST)?,
        "ipv64" => DnsUpdater::new_ipv64(c.get("api_key")?, REQUEST)?,
        "joker" => DnsUpdater::new_joker(JokerAuth::api_key(c.get("api_key")?), REQUEST)?,
        "lightsail" => DnsUpdater::new_lightsail(LightsailConfig {
            access_key_id: c.owned("access_key_id")?,
            secret_access_key: c.owned("secret_access_key")?,
            session_token: c.may_own("session_token"),
            region: c.may_own("region"),
            domain: c.may_own("domain"),
            request_timeout: REQUEST,
        })?,
        "linode" => DnsUpdater::new_linode(c.get("auth_token")?, REQUEST)?,
        "luadns" => DnsUpdater::new_luadns(c.get("api_username")?, c.get("api_token")?, REQUEST)?,
        "mythicbeasts" => DnsUpdater::new_mythicbeasts(c.get("username")?, c.get("password")?, REQUEST)?,
        "namecheap" => DnsUpdater::new_namecheap(c.get("api_user")?, c.get("api_key")?, c.get("client_ip")?, c.may_get("username"), REQUEST)?,
        "namedotcom" => DnsUpdater::new_namedotcom(c.get("username")?, c.get("api_token")?, REQUEST)?,
        "namesilo" => DnsUpdater::new_namesilo(c.get("api_key")?, REQUEST)?,
        "netcup" => DnsUpdater::new_netcup(c.get("customer_number")?, c.get("api_key")?, c.get("api_password")?, REQUEST)?,
        "netlify" => DnsUpdater::new_netlify(c.get("access_token")?, REQUEST)?,
        "nifcloud" => DnsUpdater::new_nifcloud(c.get("access_key")?, c.get("secret_key")?, REQUEST)?,
        "ns1" => DnsUpdater::new_ns1(c.get("api_key")?, REQUEST)?,
        "oraclecloud" => DnsUpdater::new_oraclecloud(OracleCloudConfig {
            tenancy_ocid: c.owned("tenancy_ocid")?,
            user_ocid: c.owned("user_ocid")?,
            fingerprint: c.owned("fingerprint")?,
            private_key_pem: pem(c.get("private_key_pem")?),
            private_key_password: c.may_own("private_key_password"),
            region: c.owned("region")?,
            compartment_ocid: c.owned("compartment_ocid")?,
            request_timeout: REQUEST,
        })?,
        "ovh" => DnsUpdater::new_ovh(c.get("application_key")?, c.get("application_secret")?, c.get("consumer_key")?, c.may_get("endpoint").unwrap_or("ovh-eu").parse()?, REQUEST)?,
        "pdns" => DnsUpdater::new_pdns(c.get("api_key")?, c.may_get("endpoint"), c.may_get("server_name"), REQUEST)?,
        "plesk" => DnsUpdater::new_plesk(c.get("base_url")?, c.get("api_key")?, REQUEST)?,
        "porkbun" => DnsUpdater::new_porkbun(c.get("api_key")?, c.get("secret_api_key")?, REQUEST)?,
        "route53" => DnsUpdater::new_route53(Route53Config {
            access_key_id: c.owned("access_key_id")?,
            secret_access_key: c.owned("secret_access_key")?,
            session_token: c.may_own("session_token"),
            region: c.may_own("region"),
            hosted_zone_id: c.may_own("hosted_zone_id"),
            private_zone_only: c.may_get("private_zone_only").map(|text| text == "true"),
            endpoint: c.may_own("endpoint"),
        })?,
        "safedns" => DnsUpdater::new_safedns(c.get("auth_token")?, REQUEST)?,
        "scaleway" => DnsUpdater::new_scaleway(c.get("api_token")?, REQUEST)?,
        "selectel" => DnsUpdater::new_selectel(c.get("username")?, c.get("password")?, c.get("account_id")?, c.get("project_id")?, REQUEST)?,
        "simplycom" => DnsUpdater::new_simplycom(c.get("account_name")?, c.get("api_key")?, REQUEST)?,
        "spaceship" => DnsUpdater::new_spaceship(c.get("api_key")?, c.get("api_secret")?, REQUEST)?,
        "tencentcloud" => DnsUpdater::new_tencentcloud(c.get("secret_id")?, c.get("secret_key")?, c.may_get("region"), c.may_get("session_token"), REQUEST)?,
        "transip" => DnsUpdater::new_transip(c.get("login")?, pem(c.get("private_key_pem")?), c.may_get("global_key") == Some("true"), REQUEST)?,
        "ultradns" => DnsUpdater::new_ultradns(c.get("username")?, c.get("password")?, c.may_own("endpoint"), REQUEST)?,
        "vercel" => DnsUpdater::new_vercel(c.get("auth_token")?, c.may_get("team_id"), REQUEST)?,
        "volcengine" => DnsUpdater::new_volcengine(VolcengineConfig {
            access_key: c.owned("access_key")?,
            secret_key: c.owned("secret_key")?,
            region: c.may_own("region"),
            host: c.may_own("host"),
            scheme: c.may_own("scheme"),
            request_timeout: REQUEST,
        })?,
        "vultr" => DnsUpdater::new_vultr(c.get("api_key")?, REQUEST)?,
        "websupport" => DnsUpdater::new_websupport(c.get("api_key")?, c.get("secret")?, REQUEST)?,
        "yandexcloud" => DnsUpdater::new_yandexcloud(YandexCloudConfig {
            iam_token_b64: c.owned("iam_token_b64")?,
            folder_id: c.owned("folder_id")?,
            request_timeout: REQUEST,
        })?,
        "zoneeu" => DnsUpdater::new_zoneeu(c.get("username")?, c.get("api_key")?, REQUEST)?,
        _ => return Err(NoClient::NoSuchService),
    })
}

/// Returns a key that was written on one line, its line feeds as `\n`.
fn pem(text: &str) -> String {
    text.replace("\\n", "\n")
}
