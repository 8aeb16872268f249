//! Tests of what should be, part by part.

use super::*;
use crate::config::{CipherGrade, OutgoingLevel};

const DEBIAN: &[&str] = &["/etc/ssl/certs/ca-certificates.crt"];

fn decide(main_cf: &str, layout: TlsLayout, client_ca: &ClientCa) -> Desired {
    let live = LiveFiles::below(Path::new("/l"));
    let request = Request {
        live: &live,
        layout,
        client_ca,
        system_bundles: DEBIAN,
        sni: SniRequest::unwanted(),
        policy: Policy::default(),
    };
    let values = Values::parse(main_cf.as_bytes());
    desired(
        &request,
        Version::new(3, 7),
        &MainCf::parse(main_cf.as_bytes()),
        &values,
    )
    .unwrap()
}

fn shown(desired: &Desired) -> (Vec<String>, Vec<&'static str>, usize) {
    let settings = desired
        .settings
        .iter()
        .map(|setting| format!("{}={}", setting.name, setting.value));
    let unwanted = desired.unwanted.iter().map(|unwanted| unwanted.name);
    (settings.collect(), unwanted.collect(), desired.notes.len())
}

#[test]
fn wants_the_certificate_and_no_rival() {
    let check = |main_cf: &str, layout: TlsLayout, settings: &[&str], unwanted: &[&str]| {
        let found = decide(main_cf, layout, &ClientCa::Keep);
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        assert_eq!(shown(&found), (settings, unwanted.to_vec(), 0), "{main_cf:?}");
    };
    let cert_and_key = [
        "smtpd_tls_cert_file=/l/fullchain.pem",
        "smtpd_tls_key_file=/l/privkey.pem",
    ];
    let chain = ["smtpd_tls_chain_files=/l/combined.pem"];
    let may = "smtpd_tls_security_level = may\n";
    let both = |text: &str, unwanted_pair: &[&str], unwanted_chain: &[&str]| {
        check(
            &format!("{may}{text}"),
            TlsLayout::CertAndKey,
            &cert_and_key,
            unwanted_pair,
        );
        check(&format!("{may}{text}"), TlsLayout::Chain, &chain, unwanted_chain);
    };
    both("", &[], &[]);
    both(
        "smtpd_tls_cert_file = /o\nsmtpd_tls_key_file = /k\n",
        &[],
        &["smtpd_tls_cert_file", "smtpd_tls_key_file"],
    );
    both("smtpd_tls_chain_files = /o\n", &["smtpd_tls_chain_files"], &[]);
    let ecdsa = ["smtpd_tls_eccert_file", "smtpd_tls_eckey_file"];
    both(
        "smtpd_tls_eccert_file = /o\nsmtpd_tls_eckey_file = /o\n",
        &ecdsa,
        &ecdsa,
    );
    let dsa = ["smtpd_tls_dcert_file", "smtpd_tls_dkey_file"];
    both(
        "smtpd_tls_dcert_file = /o\nsmtpd_tls_dkey_file = /o\n",
        &dsa,
        &dsa,
    );
    both("smtpd_tls_eccert_file =\n", &[], &[]);
    both(
        "tlsproxy_tls_cert_file = /o\n",
        &["tlsproxy_tls_cert_file"],
        &["tlsproxy_tls_cert_file"],
    );
    both("tlsproxy_tls_cert_file = $smtpd_tls_cert_file\n", &[], &[]);
    both("tls_server_sni_maps = hash:/s\n", &[], &[]);
    // Values that nothing in main.cf sets are the program's defaults, and no rivals.
    let live = LiveFiles::below(Path::new("/l"));
    let request = Request {
        live: &live,
        layout: TlsLayout::Chain,
        client_ca: &ClientCa::Keep,
        system_bundles: DEBIAN,
        sni: SniRequest::unwanted(),
        policy: Policy::default(),
    };
    let values = Values::parse(b"smtpd_tls_key_file = /default\nsmtpd_tls_security_level = may\n");
    let found = desired(&request, Version::new(3, 4), &MainCf::parse(b""), &values).unwrap();
    assert!(found.unwanted.is_empty(), "{found:?}");
}

#[test]
fn switches_tls_on_where_it_is_off() {
    let check = |main_cf: &str, expected: Option<&str>| {
        let found = decide(main_cf, TlsLayout::Chain, &ClientCa::Keep);
        assert_eq!(found.value("smtpd_tls_security_level"), expected, "{main_cf:?}");
    };
    check("", Some("may"));
    check("smtpd_tls_security_level =\n", Some("may"));
    check("smtpd_tls_security_level = none\n", Some("may"));
    check("smtpd_use_tls = yes\n", Some("may"));
    check("smtpd_enforce_tls = yes\n", None);
    check("smtpd_tls_security_level = encrypt\n", None);
    check("smtpd_tls_security_level = bogus\n", None);
}

#[test]
fn decides_about_the_clients_roots() {
    let check =
        |main_cf: &str, client_ca: &ClientCa, file: Option<&str>, unwanted: &[&str], n_notes: usize| {
            let found = decide(
                &format!("smtpd_tls_security_level = may\n{main_cf}"),
                TlsLayout::Chain,
                client_ca,
            );
            assert_eq!(found.value("smtp_tls_CAfile"), file, "{main_cf:?} {client_ca:?}");
            assert_eq!(
                (shown(&found).1, found.notes.len()),
                (unwanted.to_vec(), n_notes),
                "{main_cf:?} {client_ca:?}"
            );
        };
    let (system, bundle) = (ClientCa::System, Some("/etc/ssl/certs/ca-certificates.crt"));
    let file = ClientCa::File("/r.pem".into());
    let (own, path) = (
        "smtp_tls_CAfile = /own/cert.pem\n",
        "smtp_tls_CApath = /etc/ssl/certs\n",
    );
    let ca_path = ["smtp_tls_CApath"];
    check("", &system, bundle, &[], 0);
    check(path, &system, bundle, &ca_path, 0);
    check(
        "smtp_tls_CApath = /etc/pki/tls/certs/\n",
        &system,
        bundle,
        &ca_path,
        0,
    );
    check("smtp_tls_CApath =\n", &system, bundle, &[], 0);
    check("smtp_tls_CApath = /etc/postfix/roots\n", &system, bundle, &[], 1);
    check(own, &system, bundle, &[], 1);
    check(
        "smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n",
        &system,
        bundle,
        &[],
        0,
    );
    check(own, &ClientCa::Keep, None, &[], 0);
    check(path, &ClientCa::Keep, None, &[], 0);
    check(path, &file, Some("/r.pem"), &[], 1);
    check(path, &ClientCa::OwnChain, Some("/l/fullchain.pem"), &ca_path, 1);
}

#[test]
fn knows_the_bundle_of_each_distribution() {
    let check = |present: &[&str], expected: Option<&str>| {
        assert_eq!(
            system_bundles(|path| present.contains(&path)).first().copied(),
            expected,
            "{present:?}"
        );
    };
    let rhel = "/etc/pki/tls/certs/ca-bundle.crt";
    check(&[], None);
    check(DEBIAN, Some(DEBIAN[0]));
    check(
        &[rhel, "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"],
        Some(rhel),
    );
    check(&[DEBIAN[0], rhel], Some(rhel));
    check(
        &["/etc/ssl/ca-bundle.pem", "/var/lib/ca-certificates/ca-bundle.pem"],
        Some("/etc/ssl/ca-bundle.pem"),
    );
    check(&["/etc/ssl/cert.pem", DEBIAN[0]], Some(DEBIAN[0]));
    // Without any, the parameter is left alone and the operator is told.
    let live = LiveFiles::below(Path::new("/l"));
    let request = Request {
        live: &live,
        layout: TlsLayout::Chain,
        client_ca: &ClientCa::System,
        system_bundles: &[],
        sni: SniRequest::unwanted(),
        policy: Policy::default(),
    };
    let found = desired(
        &request,
        Version::new(3, 4),
        &MainCf::parse(b""),
        &Values::default(),
    )
    .unwrap();
    assert_eq!((found.value("smtp_tls_CAfile"), found.notes.len()), (None, 1));
}

#[test]
fn refuses_what_the_version_or_main_cf_cannot_hold() {
    let check = |directory: &str, version: Version, layout: TlsLayout, expected: bool| {
        let live = LiveFiles::below(Path::new(directory));
        let request = Request {
            live: &live,
            layout,
            client_ca: &ClientCa::Keep,
            system_bundles: DEBIAN,
            sni: SniRequest::unwanted(),
            policy: Policy::default(),
        };
        let found = desired(&request, version, &MainCf::parse(b""), &Values::default());
        assert_eq!(found.is_ok(), expected, "{found:?}");
    };
    check("/l", Version::new(3, 3), TlsLayout::Chain, false);
    check("/l", Version::new(3, 4), TlsLayout::Chain, true);
    check("/l", Version::new(2, 11), TlsLayout::CertAndKey, true);
    for directory in ["/a b", "/a,b", "/a$b", "/a\nb", "/{a}", "relative"] {
        check(directory, Version::new(3, 7), TlsLayout::CertAndKey, false);
    }
}

#[test]
fn every_certificate_parameter_is_in_the_table_once() {
    for (index, parameter) in PARAMETERS.iter().enumerate() {
        assert!(
            PARAMETERS[..index]
                .iter()
                .all(|other| other.name < parameter.name),
            "{}",
            parameter.name
        );
    }
    for (server, proxy) in CERTIFICATE_PARAMETERS {
        assert!(
            PARAMETERS.iter().any(|parameter| parameter.name == server),
            "{server}"
        );
        assert!(
            PARAMETERS.iter().any(|parameter| parameter.name == proxy),
            "{proxy}"
        );
    }
}

/// Decides for a host with an SNI map, or without one.
fn decide_sni(text: &str, version: Version, is_wanted: bool) -> Result<Desired, DesiredError> {
    let live = LiveFiles::below(Path::new("/l"));
    let source = Path::new("/s/sni");
    let request = Request {
        live: &live,
        layout: TlsLayout::CertAndKey,
        client_ca: &ClientCa::Keep,
        system_bundles: DEBIAN,
        sni: SniRequest { source, is_wanted },
        policy: Policy::default(),
    };
    let raw = Values::parse(text.replace("\n  ", " ").as_bytes());
    let mut values = raw.clone();
    values.insert(SNI_MAPS, raw.expand(raw.get(SNI_MAPS)));
    desired(&request, version, &MainCf::parse(text.as_bytes()), &values)
}

#[test]
fn names_the_sni_map_beside_the_operators_own() {
    let check = |main_cf: &str, is_wanted: bool, value: Option<&str>, unwanted: &[&str], n_notes: usize| {
        let text = format!("default_database_type = hash\nsmtpd_tls_security_level = may\n{main_cf}");
        let found = decide_sni(&text, Version::new(3, 7), is_wanted).unwrap();
        assert_eq!(
            (found.value(SNI_MAPS), shown(&found).1, found.notes.len()),
            (value, unwanted.to_vec(), n_notes),
            "{text:?}"
        );
    };
    let ours = Some("hash:/s/sni");
    check("", true, ours, &[], 0);
    check("", false, None, &[], 0);
    check("tls_server_sni_maps = hash:/s/sni\n", true, ours, &[], 0);
    check("tls_server_sni_maps = hash:/s/sni\n", false, None, &[SNI_MAPS], 0);
    // The type that new maps are made of has changed.
    check("tls_server_sni_maps = lmdb:/s/sni\n", true, ours, &[], 0);
    check("tls_server_sni_maps = hash:/o\n", false, None, &[], 0);
    check(
        "tls_server_sni_maps = hash:/o\n",
        true,
        Some("hash:/o, hash:/s/sni"),
        &[],
        1,
    );
    check(
        "tls_server_sni_maps = hash:/o,\n  hash:/s/sni\n",
        false,
        None,
        &[],
        0,
    );
    check(
        "m = hash:/o\ntls_server_sni_maps = $m\n",
        true,
        Some("$m, hash:/s/sni"),
        &[],
        1,
    );
    // Planned again after that, the effective value is the wanted one.
    let again = "m = hash:/o\ntls_server_sni_maps = $m, hash:/s/sni\n";
    check(again, true, Some("hash:/o, hash:/s/sni"), &[], 0);
}

#[test]
fn refuses_an_sni_map_that_the_installation_cannot_have() {
    let check = |version: Version, kind: &str, expected: &str| {
        let text = format!("default_database_type = {kind}\n");
        let error = decide_sni(&text, version, true).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(
        Version::new(3, 3),
        "hash",
        "came with 3.4; `sni = false` works with it",
    );
    check(Version::new(3, 11), "dbm", "`dbm`");
}

#[test]
fn refuses_overrides_that_serve_another_certificate() {
    let check = |layout: TlsLayout, name: &str, value: &str, expected: bool| {
        let found = decide("", layout, &ClientCa::Keep).refuses_override(name, value);
        assert_eq!(found.is_some(), expected, "{layout:?} {name} {value}");
    };
    check(TlsLayout::CertAndKey, "smtpd_tls_cert_file", "/o", true);
    check(TlsLayout::CertAndKey, "smtpd_tls_cert_file", "", true);
    check(
        TlsLayout::CertAndKey,
        "smtpd_tls_cert_file",
        "/l/fullchain.pem",
        false,
    );
    check(TlsLayout::CertAndKey, "smtpd_tls_chain_files", "/o", true);
    check(TlsLayout::CertAndKey, "smtpd_tls_chain_files", "", false);
    check(TlsLayout::CertAndKey, "tlsproxy_tls_eccert_file", "/o", true);
    check(TlsLayout::Chain, "smtpd_tls_key_file", "/o", true);
    check(TlsLayout::Chain, "smtpd_tls_security_level", "encrypt", false);
    check(TlsLayout::Chain, "smtp_tls_cert_file", "/o", false);
}

/// Everything at once, as each version gets it.
#[test]
fn no_version_gets_a_parameter_or_a_spelling_that_it_does_not_know() {
    let live = LiveFiles::below(Path::new("/l"));
    let old = "default_database_type = hash\nmyhostname = mail.example.test\nsmtpd_tls_protocols = !SSLv2\n";
    for minor in 4..=11 {
        let version = Version::new(3, minor);
        for layout in [TlsLayout::CertAndKey, TlsLayout::Chain] {
            let request = Request {
                live: &live,
                layout,
                client_ca: &ClientCa::System,
                system_bundles: DEBIAN,
                sni: SniRequest {
                    source: Path::new("/s/sni"),
                    is_wanted: true,
                },
                policy: Policy {
                    incoming: Some(TlsVersion::V1_2),
                    outgoing: Some(Outgoing {
                        level: OutgoingLevel::May,
                        validation: Validation::Present,
                        ciphers: CipherGrade::Medium,
                        loglevel: 1,
                        minimum: TlsVersion::V1_2,
                    }),
                    hide_banner: true,
                    submission: submission::Request {
                        ports: vec![submission::Port::Submission, submission::Port::Submissions],
                        login_maps: submission::LoginMaps::Ours("hash:/s/sender-login".to_owned()),
                        overrides: Vec::new(),
                    },
                    ..Policy::default()
                },
            };
            let values = Values::parse(old.as_bytes());
            let found = desired(&request, version, &MainCf::parse(old.as_bytes()), &values).unwrap();
            let overrides = found.services.iter().flat_map(|service| &service.overrides);
            let pairs: Vec<(&str, &str)> = found
                .settings
                .iter()
                .map(|one| (one.name, one.value.as_str()))
                .chain(overrides.map(|one| (one.name.as_str(), one.value.as_str())))
                .collect();
            assert!(pairs.len() > 20, "{pairs:?}");
            for (name, value) in pairs {
                let known = PARAMETERS.iter().find(|parameter| parameter.name == name);
                let known = known.unwrap_or_else(|| panic!("{name} is not in the table"));
                assert!(known.since <= version, "{name} for {version}");
                if name.ends_with("_protocols") {
                    let read = protocols::Allowed::read(value, version);
                    assert!(
                        matches!(read, protocols::Allowed::Known(_)),
                        "{name} = {value} for {version}"
                    );
                }
            }
        }
    }
}
