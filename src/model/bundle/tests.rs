//! Files as openssl 3 writes them, whole, damaged, and made of nothing.

use super::*;
use crate::model::certificate::Chain;
use crate::model::der::Reader;

/// A throwaway certificate, made by `openssl x509 -req` like everything here.
const LEAF: &str = "\
-----BEGIN CERTIFICATE-----
MIIBkzCCATigAwIBAgIUIw4PjBzlixi8pMcrhUEdHbRKg5EwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJVGVzdCByb290MB4XDTI2MTEyNjA4MDM1OVoXDTM1MDIxMjA4
MDM1OVowHDEaMBgGA1UEAwwRbWFpbC5leGFtcGxlLnRlc3QwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAAQl3KG479mbMfXM7C3ze6+H7F4MjVkvcJyq8B3LoWMzako4
t0qXPAeEuMlHSI/Tql1oGO1LPRrKdpF8I2i8XTlFo2AwXjAcBgNVHREEFTATghFt
YWlsLmV4YW1wbGUudGVzdDAdBgNVHQ4EFgQUlBq5wYkr5pG5TTkP0O63yriwH8Aw
HwYDVR0jBBgwFoAUgqcyEmSZT34PlLpcaDKlcdCZYmEwCgYIKoZIzj0EAwIDSQAw
RgIhAO2G11c8Mg0I181Uj+AuPiaa3nPHJR7NkEhsLGSHypmXAiEA6bkOaeoHkrGp
eYDTgwm83U82t52V4gbP+kvNc8PLrkw=
-----END CERTIFICATE-----
";
/// Its key.
const KEY: &str = "\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIN6Yng2e7L2dqVM9aTOTAM54TQWVxIDMIg176wOujv90oAoGCCqGSM49
AwEHoUQDQgAEJdyhuO/ZmzH1zOwt83uvh+xeDI1ZL3CcqvAdy6FjM2pKOLdKlzwH
hLjJR0iP06pdaBjtSz0aynaRfCNovF05RQ==
-----END EC PRIVATE KEY-----
";
/// Its request.
const REQUEST_PEM: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIIBBjCBrQIBADAcMRowGAYDVQQDDBFtYWlsLmV4YW1wbGUudGVzdDBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABCXcobjv2Zsx9czsLfN7r4fsXgyNWS9wnKrwHcuh
YzNqSji3Spc8B4S4yUdIj9OqXWgY7Us9Gsp2kXwjaLxdOUWgLzAtBgkqhkiG9w0B
CQ4xIDAeMBwGA1UdEQQVMBOCEW1haWwuZXhhbXBsZS50ZXN0MAoGCCqGSM49BAMC
A0gAMEUCIQDt1JwxH0DQur/LIZjFEBU8ZLA05/K5iPSomTMVwGaMuwIgYD8Aq3yK
sQdp891n9a9+nKHS1MQyV9CDmFZKojdYakY=
-----END CERTIFICATE REQUEST-----
";
/// `openssl crl2pkcs7 -nocrl`: the leaf and its root.
const PKCS7: &str = "\
MIIDQwYJKoZIhvcNAQcCoIIDNDCCAzACAQExADALBgkqhkiG9w0BBwGgggMYMIIBkzCCATigAwIBAgIUIw4PjBzlixi8pMcrhUEd
HbRKg5EwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJVGVzdCByb290MB4XDTI2MTEyNjA4MDM1OVoXDTM1MDIxMjA4MDM1OVowHDEa
MBgGA1UEAwwRbWFpbC5leGFtcGxlLnRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQl3KG479mbMfXM7C3ze6+H7F4MjVkv
cJyq8B3LoWMzako4t0qXPAeEuMlHSI/Tql1oGO1LPRrKdpF8I2i8XTlFo2AwXjAcBgNVHREEFTATghFtYWlsLmV4YW1wbGUudGVz
dDAdBgNVHQ4EFgQUlBq5wYkr5pG5TTkP0O63yriwH8AwHwYDVR0jBBgwFoAUgqcyEmSZT34PlLpcaDKlcdCZYmEwCgYIKoZIzj0E
AwIDSQAwRgIhAO2G11c8Mg0I181Uj+AuPiaa3nPHJR7NkEhsLGSHypmXAiEA6bkOaeoHkrGpeYDTgwm83U82t52V4gbP+kvNc8PL
rkwwggF9MIIBI6ADAgECAhQ/iDFec0B3nAh4yCY7ZEplVxQ58TAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlUZXN0IHJvb3QwHhcN
MjYxMTI2MDgwMzU5WhcNMzYxMTIzMDgwMzU5WjAUMRIwEAYDVQQDDAlUZXN0IHJvb3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAQ3W2ds74Z4IUDz4c2qFgUJG+cbcPMO9BFbshK9Vnb5vgqEBbuWhSn2YaKgSjHbYSbYmdLPku0sIbYTifBVJFdso1MwUTAdBgNV
HQ4EFgQUgqcyEmSZT34PlLpcaDKlcdCZYmEwHwYDVR0jBBgwFoAUgqcyEmSZT34PlLpcaDKlcdCZYmEwDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNIADBFAiAe7zI5NBAjJRXRePBMTOWNlaKaWKMNzC3jCoEETYRzRgIhAPfROoNRVwalYsj8OsW+PmUtF3lV
DgMCWPA0vn0X8pcbMQA=
";
/// `openssl pkcs12 -export`: key, leaf and root; the passphrase is `geheim`.
const PKCS12: &str = "\
MIIFzAIBAzCCBYIGCSqGSIb3DQEHAaCCBXMEggVvMIIFazCCBCIGCSqGSIb3DQEHBqCCBBMwggQPAgEAMIIECAYJKoZIhvcNAQcB
MFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAg2lgGalgZdYgICCAAwDAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEENU3
2zA2+I5TUeZmwXUWXceAggOgbYxOImA0soFWzJINVe4xKiAW9vtm2bSd/oYcwDrO370yEepHkGyy4vwBpJdQLQ+nl4nkWnI0ZMP9
XimjrVGpqbwGK4Kuq2Zr73cUHQXrAVCHuzFfz3uHAKUs6SU5ZG1htuZXIcD3tdh2sCr6ycF/QChKfc//oAJTLBZpxORcvPJ3p/n4
guhiohcS2pC6hNDQMM655/BV24DqLUbvTTwja1jJSif+Wpwx+24MYF+wzzkgJz1PDt0LRjvq04hguvK2TqZiWS9WCjdl08Ho1ArI
S4txbfuy4uFdwKR1Za/+KfMjHsf4fY+kV+bwT4nQb5F9E/adiw9hR8Ky8jTMWR94LsquZqehjEF26w+0jKiFkSaLhiA0OVvN30F0
LG8dgebgEKipXljqU3haIs91OJH2ySdayMdpLqFrNrzEH2leDmb2mWjQY8XBse6vpkm3md5URwdXXjJfSs0zMyHmIXwjFvrCALRy
uD66U58re/UQhopd7iJ9Zwx91HyB9nAmPDPm2+RTOKmk6xYyDI5uQ3mRZD9ebpDB4qr/UW7/J7tUCSyDDbzxnPwP8zQ6H0zxlvsL
SHHOM8Ai+faWkGUbM+zC0kA+TChjS4W9W3Q6Ti2e7D9LT+cs+PYNHViy+/xSmgQUmMAXFwrtEjewM6JdevL+/lPaHFlVRN/WNn72
sc55W7D7y7yq2bWYAQ3sI1QAwvh6q5/RDSyvJ6p2rGUWGxCdAO9j+TP5DV4DkXoBK178amUtKHZlosyZGrp9o52ez0AW1sFGY8ic
8hes1Ow6vCUSKgMmnoYzMFL+6ZbLFYKzfDM5n85wBjml7P4OX+/87AojoIzjLxQFXjxdRTYmG+AF6eBJ1RTTNqt1wp8+eIu8ZFcW
lQb3SbXcZJfEGfoRzExX0FgzzVn+pVq8DYdJl1wFPsqM0aNVJ2rtRsgKQRO/NDC6Rb4FM1BJ/bYxoBqNCHxExkJaXgdaZxCBk1hU
WwAfiQGxOpr68kKBuCre2I70JCgEaYk+s3h141oeUjqR3f/2BHj6DLinpcEGfbdLyuEwiTZZ7XunXFocMnO7fJD/OlZ6lqOdpRFO
Uq4K2n7UsuwT8ZKz9OoxHiXxyit0txO+l1xlbDxV6RFJQbXd3t7uIiRC9OCTgbTzJKOWVB+u6/LPL+xGp2Op4ppxliu4rllwUGJy
S0RldSZ4y7xaVxf9HTph686eF6hH2WYd/nwB3uMy5iAxSwh1djRlLcIr/NPEBzCCAUEGCSqGSIb3DQEHAaCCATIEggEuMIIBKjCC
ASYGCyqGSIb3DQEMCgECoIHvMIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhOKoN66r/MtQICCAAwDAYIKoZIhvcN
AgkFADAdBglghkgBZQMEASoEEIUVNuSLTc0xhBlx0+MhXLsEgZDvR9EtDZcxtAA5afgkQ+R/1bYc5lzF1/dhsEmMa/dcsHIwkq//
kA1uKABtl0Irb/lGNDYRj0srmfnhvTF2kmTTiL/LaBJ/NfZpl5k7Rer0R4hFBY8fB7V+kR4mgR8b8ssyc3YjzKnaWkOGBcolQVw4
cw9PVbQD7kLwESUmICp5JqIAnBaUZCZrAX9oHaWtatsxJTAjBgkqhkiG9w0BCRUxFgQUY3pjqEpAIfd5pH92olKsZBd38agwQTAx
MA0GCWCGSAFlAwQCAQUABCDErCo1QfQGyQrbZHSagSuHnzRgTE+jORG0oRoDmL1/TAQIdqQF8cjvseACAggA
";
/// `openssl pkcs12 -export -legacy`.
const OLD: &str = "\
MIIDkgIBAzCCA1gGCSqGSIb3DQEHAaCCA0kEggNFMIIDQTCCAjcGCSqGSIb3DQEHBqCCAigwggIkAgEAMIICHQYJKoZIhvcNAQcB
MBwGCiqGSIb3DQEMAQYwDgQICSRspHLjFesCAggAgIIB8MGZk6O/TfHcoI76hCJLGefqP0U1qfIfHrfxnR4C9Bj3az1ttm9iSbGG
dcXwJUxDd7opaKaNDOkiyJgnv2FL4ZmCmmfXDP/LmDtVQAFmrEZXsytDyyIJTEFhRD6bXWkqxMLfb1gEaNskFoAoNWY4qVpMV+Qq
Z/c0MJYHpeJzJOJ/TLt4dq+0mjL5hhn4S42Lj5ZeO7co2vqKsZfm3OOpplbl93HjDdbnMwKn0AJWQDdLlGiMam8Rgw0ZmxeIotzI
Inb3YKuqC9wOpMVqsZwE3HYOM+NkdVMDupdsELh5uJxsM9TiVqzReA3/Ogl2whPLzqtkvOFGYDGVeHFdt8PAh0Fg4I2a+G7G+wRb
GVGkm+uzBkcTz324zH85zzPuymh49pdsQWjoSW2JrZCBC+fH4OZS8hdOKrVqXNI5qqXaE/XHjpAMrRYaxMlf0GA/wagSB9Z8ecQu
cWHnx9giy5x583IavC/VY2vZpHtCGGrtCGre7HcF0uQecejQJeVfhaksl6dc0T51swDG3mZZ0o0xVrvDS0VBiNOqBJBkIC8ljCZe
D3n63WGD/mu0bAjbd4Zc/EZiEcpHNpoP5nH+ojcHAnAaNqBmPaoeNlQkDYMZO89oDP8xgJKFi5wfo1A2YPPJ2yR18PfTSDrFpIpz
Yt0gMKQwggECBgkqhkiG9w0BBwGggfQEgfEwge4wgesGCyqGSIb3DQEMCgECoIG0MIGxMBwGCiqGSIb3DQEMAQMwDgQI8rj73dSA
eNICAggABIGQVr+bpovTYF1lL69Nw3DDap8kfq/6Zn8pXJz7bI1DvrtDEgMor+gecxWpkHksdKcJAyjWTuWQ3wc5ws3WVcNOcpeE
1DSvGr67xReRfzDxNS9nJ5KjbcMvodvMgSgnlFAgRzAnfCyKjNZCqp0VpiFQYwCLXoyEUae8GJHaPJ5nRJQsmiTckChBgjtCYbBS
aJ6xMSUwIwYJKoZIhvcNAQkVMRYEFGN6Y6hKQCH3eaR/dqJSrGQXd/GoMDEwITAJBgUrDgMCGgUABBT8KoJaUHoF8Zh7M/KrJaqR
TQJI0wQIpk0h0sgEtqECAggA
";
/// `openssl pkcs12 -export -passout pass:`.
const EMPTY_PASSPHRASE: &str = "\
MIIEHAIBAzCCA9IGCSqGSIb3DQEHAaCCA8MEggO/MIIDuzCCAnIGCSqGSIb3DQEHBqCCAmMwggJfAgEAMIICWAYJKoZIhvcNAQcB
MFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgZZanRR4/lvwICCAAwDAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEEqQ
i/7c43TB2WM7i0nZ9ACAggHwRQcU06NF7g8vin+ZX5oikvGxmJh9vDbJWyg/5xso8r2ZGK13ZEA7uZuixiIP8tfWkWjQvuNOLFLI
GojpgWv/pL6kx8tcqG6+94ZaSzh6ngT5kU7AY5pi5GdtSUYD5/iVa32fKtaDxYskIsW8NbhR+KCBv3mGy5fP33jibr10CRtH+in3
HH8NjAh5MVfVdzNUWeMuq/kjWwAUHGhYbWA9dIm7hVOQ0kfL8qBve4zwtltJcO05dciUuzk/qddS7VwitUsZ7/ia97hv4WouX7VE
YFHq8jfOfdh1EJQ/LKIyZr2Hi1MskQsdNA5HTvpATUoEeo8kwekfKQcQwlxbitOb61Jd4KrdtvMakZRqFRMJviIZd4utH+g2dKzY
jRrlS/pg9ALsDLE0CcxKEl2cXSro663StIpgOA00m6FV906m6vxqm8KPYghmjDiCIuDlZVlIp/M3LRg/NozWk2oekcisxdsQA0qt
Z0HkAB/c5eM62sLZ2jHKEbkRelbpSaL2lv9Hmza+BRzg6Mov+q17pcG6Dk0fKX3aNMri/e0cWSjDLaNA2ARruOc+pLJwS+oaa/YC
Kn+2+pCc+4qUVqEBdresVnYfQnUaoATrgC6Ka7U5+y93pl6KQbPd/F7vMjp7aEy1DxU5CqzvRGj4vGXgB3soszCCAUEGCSqGSIb3
DQEHAaCCATIEggEuMIIBKjCCASYGCyqGSIb3DQEMCgECoIHvMIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgevWHu
YBWw5gICCAAwDAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEMqBLTzd+CrhKt9d66H/UAYEgZBvD+2OOKweHj29WMH576tVmp4f
W78Tv66S0sqc955h3szFY3v8rmq+ZWEDo88IOQ2rEg9Bono/aa6XdwTBsgkQ5BHnFOKdfnFdJwg3NHnGY3DKbEQLJziDUxAKadpD
0Ym0FQ4njSlx3/qxt+1HaWbnOGT1wry+Dy97bSs/qpOcgDN2neP0iZRWlZ50Vfl8qw4xJTAjBgkqhkiG9w0BCRUxFgQUY3pjqEpA
Ifd5pH92olKsZBd38agwQTAxMA0GCWCGSAFlAwQCAQUABCCDp/Ed1kwAVIa2hXo9brOhm/VUEwOkqSTwNdGXogBBkQQIOhrlKyGH
gAkCAggA
";
/// `openssl pkcs12 -export -nomac -keypbe NONE -certpbe NONE`.
const IN_THE_CLEAR: &str = "\
MIIC/wIBAzCCAvgGCSqGSIb3DQEHAaCCAukEggLlMIIC4TCCAgIGCSqGSIb3DQEHAaCCAfMEggHvMIIB6zCCAecGCyqGSIb3DQEM
CgEDoIIBrzCCAasGCiqGSIb3DQEJFgGgggGbBIIBlzCCAZMwggE4oAMCAQICFCMOD4wc5YsYvKTHK4VBHR20SoORMAoGCCqGSM49
BAMCMBQxEjAQBgNVBAMMCVRlc3Qgcm9vdDAeFw0yNjExMjYwODAzNTlaFw0zNTAyMTIwODAzNTlaMBwxGjAYBgNVBAMMEW1haWwu
ZXhhbXBsZS50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEJdyhuO/ZmzH1zOwt83uvh+xeDI1ZL3CcqvAdy6FjM2pKOLdK
lzwHhLjJR0iP06pdaBjtSz0aynaRfCNovF05RaNgMF4wHAYDVR0RBBUwE4IRbWFpbC5leGFtcGxlLnRlc3QwHQYDVR0OBBYEFJQa
ucGJK+aRuU05D9Dut8q4sB/AMB8GA1UdIwQYMBaAFIKnMhJkmU9+D5S6XGgypXHQmWJhMAoGCCqGSM49BAMCA0kAMEYCIQDthtdX
PDINCNfNVI/gLj4mmt5zxyUezZBIbCxkh8qZlwIhAOm5DmnqB5KxqXmA04MJvN1PNredleIGz/pLzXPDy65MMSUwIwYJKoZIhvcN
AQkVMRYEFGN6Y6hKQCH3eaR/dqJSrGQXd/GoMIHYBgkqhkiG9w0BBwGggcoEgccwgcQwgcEGCyqGSIb3DQEMCgEBoIGKMIGHAgEA
MBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg3pieDZ7svZ2pUz1pM5MAznhNBZXEgMwiDXvrA66O/3ShRANCAAQl3KG479mb
MfXM7C3ze6+H7F4MjVkvcJyq8B3LoWMzako4t0qXPAeEuMlHSI/Tql1oGO1LPRrKdpF8I2i8XTlFMSUwIwYJKoZIhvcNAQkVMRYE
FGN6Y6hKQCH3eaR/dqJSrGQXd/Go
";

fn bytes(base64: &str) -> Vec<u8> {
    bare_base64(base64.as_bytes()).unwrap()
}

fn geheim() -> Passphrase {
    Passphrase::from_line(b"geheim").unwrap()
}

fn read(bytes: &[u8]) -> Result<Bundle, BundleError> {
    Bundle::read(bytes, Some(&geheim()))
}

/// Writes every constructed value without its length, and every string in two pieces.
fn without_lengths(der: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(der);
    let mut out = Vec::new();
    while let Some((tag, content)) = reader.any() {
        if tag & 0x20 != 0 && pkcs12_or_7_depth(content) {
            out.extend([tag, 0x80]);
            out.extend(without_lengths(content));
            out.extend([0, 0]);
        } else if tag == der::OCTET_STRING && content.len() > 1 {
            let (one, two) = content.split_at(content.len() / 2);
            out.extend([0x24, 0x80]);
            der::push(&mut out, tag, one);
            der::push(&mut out, tag, two);
            out.extend([0, 0]);
        } else {
            der::push(&mut out, tag, content);
        }
    }
    out
}

/// A certificate stays as it is: its signature is over its DER.
fn pkcs12_or_7_depth(content: &[u8]) -> bool {
    Certificate::from_der(&der::value(der::SEQUENCE, content)).is_err()
}

#[test]
fn every_form_gives_the_same_certificates() {
    let leaf = bytes(
        &LEAF
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect::<String>(),
    );
    let (pkcs7, pkcs12) = (bytes(PKCS7), bytes(PKCS12));
    let pem = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}-----END {label}-----\n");
    let check = |what: &str, file: &[u8], certificates: usize, keys: usize| {
        let bundle = read(file).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(bundle.certificates.len(), certificates, "{what}");
        assert_eq!(bundle.keys.len(), keys, "{what}");
        let found = &bundle.certificates[0];
        assert_eq!(found.dns_names, ["mail.example.test"], "{what}");
        assert_eq!(found.der, leaf, "{what}");
        if let Some(key) = bundle.keys.first() {
            assert!(found.matches_key(&key.public_key_der()), "{what}");
        }
        let chain = Chain::from_certificates(bundle.certificates).unwrap();
        assert_eq!(chain.leaf.der, leaf, "{what}");
    };
    check("PEM", LEAF.as_bytes(), 1, 0);
    check(
        "PEM with CRLF and BOM",
        format!("\u{feff}{}", LEAF.replace('\n', "\r\n")).as_bytes(),
        1,
        0,
    );
    check("PEM twice", format!("{LEAF}{LEAF}").as_bytes(), 1, 0);
    check(
        "PEM with words",
        format!("Dear customer,\n\n{LEAF}\nYours\n").as_bytes(),
        1,
        0,
    );
    check(
        "PEM with key and request",
        format!("{KEY}{REQUEST_PEM}{LEAF}").as_bytes(),
        1,
        1,
    );
    check(
        "base64 alone",
        LEAF.lines()
            .filter(|line| !line.starts_with('-'))
            .collect::<Vec<_>>()
            .join("\n")
            .as_bytes(),
        1,
        0,
    );
    check("DER", &leaf, 1, 0);
    check("DER with a line feed", &[&leaf[..], b"\n"].concat(), 1, 0);
    check("PKCS#7", &pkcs7, 2, 0);
    check("PKCS#7 in base64", PKCS7.as_bytes(), 2, 0);
    check("PKCS#7 in PEM", pem("PKCS7", PKCS7).as_bytes(), 2, 0);
    check(
        "PKCS#7 called a certificate",
        pem("CERTIFICATE", PKCS7).as_bytes(),
        2,
        0,
    );
    check("PKCS#7 in BER", &without_lengths(&pkcs7), 2, 0);
    check("PKCS#12", &pkcs12, 2, 1);
    check("PKCS#12 in BER", &without_lengths(&pkcs12), 2, 1);
    check("PKCS#12 in the clear", &bytes(IN_THE_CLEAR), 1, 1);
    let bundle = Bundle::read(&bytes(EMPTY_PASSPHRASE), None).unwrap();
    assert_eq!((bundle.certificates.len(), bundle.keys.len()), (1, 1));
}

#[test]
fn what_is_no_certificate_is_named() {
    let check = |file: &[u8], words: &str| {
        let error = read(file).err().unwrap_or_else(|| panic!("{words}")).to_string();
        assert!(error.contains(words), "{words}: {error}");
    };
    check(b"", "empty");
    check(b" \n", "empty");
    check(b"hello", "neither PEM, DER");
    check(b"<!DOCTYPE html>", "web page");
    check(b"PK\x03\x04\x00\xff", "ZIP");
    check(KEY.as_bytes(), "a private key is all");
    check(REQUEST_PEM.as_bytes(), "it is the request");
    let request = REQUEST_PEM
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect::<String>();
    check(&bytes(&request), "it is the request");
    check(
        b"-----BEGIN CERTIFICATE-----\nMIIB\n",
        "cut off: BEGIN CERTIFICATE",
    );
    check(
        b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
        "base64",
    );
    check(
        b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n",
        "nothing in it",
    );
    check(&bytes(PKCS7)[..300], "cut off");
    check(&bytes(PKCS12)[..300], "cut off");
    check(&bytes(OLD), "RC2 or Triple DES");
    check(&vec![b'\n'; BUNDLE_LIMIT + 1], "at most");
    let many: String = (0..=CHAIN_LIMIT)
        .map(|n| numbered(u8::try_from(n).unwrap()))
        .collect();
    check(many.as_bytes(), "more than 64 certificates");
    let wrong = Passphrase::from_line(b"Geheim").unwrap();
    let closed = |passphrase: Option<&Passphrase>| Bundle::read(&bytes(PKCS12), passphrase).err();
    assert_eq!(closed(Some(&wrong)), Some(BundleError::Key(KeyError::Passphrase)));
    assert_eq!(closed(None), Some(BundleError::Locked));
}

/// Returns the leaf with another last octet in its signature.
fn numbered(n: u8) -> String {
    let body: String = LEAF.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = bytes(&body);
    if let Some(last) = der.last_mut() {
        *last = n;
    }
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

/// Damages files in every way that chance comes upon: nothing may panic, hang, or be believed.
#[test]
fn damage_is_told_and_never_fatal() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap_or(0) % below.max(1)
    };
    let key_der = PrivateKey::from_pem(KEY.as_bytes()).unwrap().public_key_der();
    let mut check = |name: &str, whole: &[u8], rounds: usize, passphrase: Option<&Passphrase>| {
        for end in 0..whole.len() {
            assert!(
                Bundle::read(&whole[..end], passphrase).is_err(),
                "{name}, the first {end} octets"
            );
        }
        for _ in 0..rounds {
            let mut damaged = whole.to_vec();
            for _ in 0..=random(4) {
                let at = random(damaged.len());
                match random(5) {
                    0 => damaged[at] = u8::try_from(random(256)).unwrap_or(0),
                    1 => damaged[at] ^= 1 << random(8),
                    2 => {
                        damaged.remove(at);
                    }
                    3 => damaged.insert(at, [0x80, 0x00, 0x30, 0xff, 0x24][random(5)]),
                    _ => {
                        let (from, length) = (random(damaged.len()), random(40));
                        let piece = damaged[from..damaged.len().min(from + length)].to_vec();
                        damaged.splice(at..at, piece);
                    }
                }
            }
            if let Ok(bundle) = Bundle::read(&damaged, passphrase) {
                assert!(bundle.certificates.len() <= CHAIN_LIMIT);
                // A key that came out is a key that was put in.
                assert!(
                    bundle.keys.iter().all(|key| key.public_key_der() == key_der),
                    "{name}"
                );
            }
        }
    };
    let geheim = geheim();
    check("PKCS#7", &bytes(PKCS7), 20_000, None);
    check("PKCS#7 in BER", &without_lengths(&bytes(PKCS7)), 20_000, None);
    check("PKCS#12 in the clear", &bytes(IN_THE_CLEAR), 5_000, None);
    // Some milliseconds each: the passphrase is worked on.
    check("PKCS#12", &bytes(PKCS12), 300, Some(&geheim));
}
