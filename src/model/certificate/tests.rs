//! Certificates are read as they are, chains brought into order, digests compared.

use time::macros::datetime;

use super::*;

// Made with openssl for this test; the keys are thrown away.
const LEAF: &str = "\
-----BEGIN CERTIFICATE-----
MIICGDCCAZ2gAwIBAgIDAI8DMAoGCCqGSM49BAMCMCcxETAPBgNVBAMMCFRlc3Qg
aW50MRIwEAYDVQQKDAlUaHJvd2F3YXkwHhcNMjYwMTAxMDAwMDAwWhcNMjYwNDAx
MDAwMDAwWjAoMRIwEAYDVQQDDAlUZXN0IGxlYWYxEjAQBgNVBAoMCVRocm93YXdh
eTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGcHWZRuljzMNj10mrWuDKanWwZj
xCIXhi5OjrNpQBD/pfP0FIy1X0ryrRNGA8aukQQkBI5XMzDAb355au581imjgbYw
gbMwDAYDVR0TAQH/BAIwADAdBgNVHQ4EFgQUx+icrSyTjsRi06x7O3mgpBSBmqMw
HwYDVR0jBBgwFoAUDT4Med63uDt50KfqLtG5f0PvwT8wHQYDVR0lBBYwFAYIKwYB
BQUHAwEGCCsGAQUFBwMCMEQGA1UdEQQ9MDuCEW1haWwuZXhhbXBsZS50ZXN0gg4q
LmV4YW1wbGUudGVzdIcEwAACAYcQIAENuAAAAAAAAAAAAAAAATAKBggqhkjOPQQD
AgNpADBmAjEAxkhylV6UfYVjNOW0/x+NFw9I5rvIz+oNtdKNh6wMWWBP06hkuCr9
Xiitl9qOOe1oAjEAvg9HzHEXLmQWkkRgZCsNczfLZRqnojA9Jz1y7g6ROdk0mdiJ
BaTKXU5rhh19XqFF
-----END CERTIFICATE-----
";
const INTERMEDIATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBwTCCAWagAwIBAgIDAI8CMAoGCCqGSM49BAMCMCgxEjAQBgNVBAMMCVRlc3Qg
cm9vdDESMBAGA1UECgwJVGhyb3dhd2F5MB4XDTI2MDEwMTAwMDAwMFoXDTM2MDEw
MTAwMDAwMFowJzERMA8GA1UEAwwIVGVzdCBpbnQxEjAQBgNVBAoMCVRocm93YXdh
eTB2MBAGByqGSM49AgEGBSuBBAAiA2IABA/L11yxjt4TLQT1Ijl6rcjvNYg7cESF
4yU7xXW+KKAwjMcjAEiHjyv7DkUB5mkLg8d+sLufRoHPZ//cePVX5N5cFiC+9hpY
f6xhs5snRmvKd9yd0p+GNM3AN7Cv4swZmqNjMGEwDwYDVR0TAQH/BAUwAwEB/zAd
BgNVHQ4EFgQUDT4Med63uDt50KfqLtG5f0PvwT8wHwYDVR0jBBgwFoAUQcwpA+2x
zcM142bIxgF9SxfV18UwDgYDVR0PAQH/BAQDAgEGMAoGCCqGSM49BAMCA0kAMEYC
IQCI2/foNuPb8fc4ujfTingii8hZn15z0cAK0pu7vU7zKQIhALZWoFhcSVJ7Vn9d
aTBRz7yB/rWmGuXcsNiRZpcYm0Ob
-----END CERTIFICATE-----
";
const ROOT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBhDCCASmgAwIBAgIDAI8BMAoGCCqGSM49BAMCMCgxEjAQBgNVBAMMCVRlc3Qg
cm9vdDESMBAGA1UECgwJVGhyb3dhd2F5MB4XDTI2MDEwMTAwMDAwMFoXDTM2MDEw
MTAwMDAwMFowKDESMBAGA1UEAwwJVGVzdCByb290MRIwEAYDVQQKDAlUaHJvd2F3
YXkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARuVC9YtOit4hpl017ItA417qyX
K0Jlhj9QJnmxoocon8BBxF+zA4gAt0Neqn1Zgh3jCQS3UIEP+XqFvclJoDEyo0Iw
QDAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBRBzCkD7bHNwzXjZsjGAX1LF9XX
xTAOBgNVHQ8BAf8EBAMCAQYwCgYIKoZIzj0EAwIDSQAwRgIhAIpcCBn3wOQdEB4N
aMBw9LLGcS1InIJ0p5QtRvPHRVmwAiEAofXJaYqs2g308OSh6yjEfNlZwtwu7Qo8
2MxEq4L/Gp0=
-----END CERTIFICATE-----
";

fn leaf() -> Certificate {
    certificates_from_pem(LEAF.as_bytes()).unwrap().remove(0)
}

#[test]
fn reads_what_openssl_reads() {
    let leaf = leaf();
    assert_eq!(
        leaf.sha256.to_string(),
        "b96891074ab013f1b82ef2da4b4aaf87428c975470dbb7571202d4c64f556782"
    );
    assert_eq!(
        leaf.spki_sha256.to_string(),
        "fec3cc11c12ab1bd8919157f74f31fd2209b8cb726a882fb60f8e78b86efbfa5"
    );
    assert_eq!(leaf.serial_hex(), "8f03");
    assert_eq!(leaf.subject, "CN=Test leaf, O=Throwaway");
    assert_eq!(leaf.issuer, "CN=Test int, O=Throwaway");
    assert_eq!(leaf.dns_names, ["mail.example.test", "*.example.test"]);
    let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    assert_eq!(leaf.ip_addresses, addresses);
    assert_eq!(leaf.not_before, datetime!(2026-01-01 00:00 UTC));
    assert_eq!(leaf.not_after, datetime!(2026-04-01 00:00 UTC));
    assert_eq!(leaf.key_kind, "ECDSA P-256");
    assert_eq!(leaf.extended_key_usages, ["serverAuth", "clientAuth"]);
    assert!(!leaf.is_ca && !leaf.self_issued);
    let issuer = certificates_from_pem(INTERMEDIATE.as_bytes()).unwrap().remove(0);
    assert!(issuer.is_ca && leaf.may_be_issued_by(&issuer) && !issuer.may_be_issued_by(&leaf));
    assert_eq!(issuer.key_kind, "ECDSA P-384");
    assert!(
        certificates_from_pem(ROOT.as_bytes())
            .unwrap()
            .remove(0)
            .self_issued
    );
    assert!(leaf.matches_key(&leaf.spki_der) && !leaf.matches_key(&issuer.spki_der));
}

#[test]
fn the_renewal_info_id_keeps_the_leading_zero_of_the_serial() {
    assert_eq!(
        leaf().renewal_info_id().as_deref(),
        Some("DT4Med63uDt50KfqLtG5f0PvwT8.AI8D")
    );
}

#[test]
fn orders_any_bundle_leaf_first_and_leaves_the_root_out() {
    let wanted = format!("{LEAF}{INTERMEDIATE}");
    let key = "-----BEGIN PRIVATE KEY-----\nnot base64!\n-----END PRIVATE KEY-----\n";
    let crlf = LEAF.replace('\n', "\r\n");
    for bundle in [
        wanted.clone(),
        format!("{ROOT}{INTERMEDIATE}{LEAF}"),
        format!("{INTERMEDIATE}{LEAF}{ROOT}"),
        format!("{key}# text\n{LEAF}{LEAF}{INTERMEDIATE}"),
        format!("{INTERMEDIATE}{crlf}"),
    ] {
        assert_eq!(
            Chain::from_pem(bundle.as_bytes()).unwrap().to_pem(),
            wanted,
            "{bundle}"
        );
    }
    let alone = Chain::from_pem(format!("{LEAF}{ROOT}").as_bytes()).unwrap();
    assert_eq!(
        (alone.to_pem().as_str(), alone.intermediates_to_pem().as_str()),
        (LEAF, "")
    );
    assert_eq!(Chain::from_pem(ROOT.as_bytes()).unwrap().to_pem(), ROOT);
}

#[test]
fn refuses_broken_bundles() {
    let check = |pem: &str, expected: &str| {
        let error = Chain::from_pem(pem.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("", "no certificate in PEM");
    check(
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "no certificate in PEM",
    );
    check(&LEAF[..300], "END line is missing");
    check(&format!("{}{LEAF}", &LEAF[..300]), "not valid base64");
    check(&LEAF.replace("MIIC", "MII%"), "certificate 1 is not valid base64");
    check(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "not an X.509 certificate",
    );
    check(
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "not an X.509 certificate",
    );
    check(&LEAF.repeat(CHAIN_LIMIT + 1), "more than 64");
    check(&" ".repeat(BUNDLE_LIMIT + 1), "at most 1048576");
}

#[test]
fn cut_or_changed_der_is_an_error_or_another_certificate_and_never_a_panic() {
    let der = leaf().der;
    for length in 0..der.len() {
        assert!(Certificate::from_der(&der[..length]).is_err(), "{length}");
    }
    for index in 0..der.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = der.clone();
            changed[index] ^= flip;
            if let Ok(certificate) = Certificate::from_der(&changed) {
                assert_ne!(certificate.sha256, leaf().sha256);
            }
        }
    }
    let mut longer = der;
    longer.push(0);
    assert!(Certificate::from_der(&longer).is_err());
}

#[test]
fn names_are_compared_as_clients_do() {
    let check = |name: &str, expected: bool| {
        assert_eq!(leaf().covers(&name.parse().unwrap()), expected, "{name}");
    };
    check("MAIL.example.test", true);
    check("other.example.test", true);
    check("a.other.example.test", false);
    check("example.test", false);
    check("mail.example.jp", false);
}

#[test]
fn validity_includes_both_ends() {
    let check = |now, expected| assert_eq!(leaf().validity_at(now), expected, "{now}");
    check(datetime!(2025-12-31 23:59:59 UTC), Validity::NotYet);
    check(datetime!(2026-01-01 00:00 UTC), Validity::Valid);
    check(datetime!(2026-04-01 00:00 UTC), Validity::Valid);
    check(datetime!(2026-04-01 00:00:01 UTC), Validity::Expired);
    assert_eq!(leaf().lifetime(), Duration::days(90));
    assert_eq!(
        leaf().time_left(datetime!(2026-04-02 00:00 UTC)),
        Duration::days(-1)
    );
}

#[test]
fn digests_are_read_with_and_without_colons() {
    let digest = leaf().sha256;
    assert_eq!(digest.to_string().parse(), Ok(digest));
    let colons =
        "B9:68:91:07:4A:B0:13:F1:B8:2E:F2:DA:4B:4A:AF:87:42:8C:97:54:70:DB:B7:57:12:02:D4:C6:4F:55:67:82";
    assert_eq!(colons.parse(), Ok(digest));
    for bad in ["", "b9", &"g".repeat(64), &"0".repeat(65)] {
        assert_eq!(bad.parse::<Sha256>(), Err(Sha256Error), "{bad}");
    }
    assert_eq!(
        serde_json::from_str::<Sha256>(&serde_json::to_string(&digest).unwrap()).unwrap(),
        digest
    );
}

#[test]
fn counts_the_bits_of_a_modulus() {
    assert_eq!(bit_length(&[0, 0x80, 0]), 16);
    assert_eq!(bit_length(&[0x01, 0xff]), 9);
    assert_eq!(bit_length(&[0, 0]), 0);
}
