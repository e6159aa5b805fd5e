use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair as Key, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::*;

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|at| &text[at..text.len().min(at + 64)])
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A self-signed certificate of a new key.
fn certified(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, Key) {
    let key = Key::generate_for(algorithm).unwrap();
    let params = CertificateParams::new(vec!["operator.example".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key)
}

fn part(assertion: &str, place: usize) -> Value {
    let part = assertion.split('.').nth(place).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The form that a key of PKCS#8 has as PKCS#1: the octet string at its end.
fn pkcs1(key: &Key) -> Vec<u8> {
    unwrap_pkcs8(key.serialized_der()).unwrap().to_vec()
}

#[test]
fn an_assertion_is_what_entra_asks_for_and_its_signature_is_the_certificates() {
    let (certificate, key) = certified(&PKCS_RSA_SHA256);
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, &der));
    let endpoint = "https://login.microsoftonline.com/tenant/oauth2/v2.0/token";
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let both = [key.serialize_pem(), pem("RSA PRIVATE KEY", &pkcs1(&key))];
    let mut ids = Vec::new();
    for key_pem in both {
        let parsed = Certificate::from_pem(certificate.as_bytes(), key_pem.as_bytes()).unwrap();
        let assertion = parsed.assertion(endpoint, "app", now).unwrap();
        assert_eq!(
            part(&assertion, 0),
            json!({"typ": "JWT", "alg": "PS256", "x5t#S256": thumbprint})
        );
        let mut claims = part(&assertion, 1);
        ids.push(claims.as_object_mut().unwrap().remove("jti").unwrap());
        let at = now.as_second();
        let expected =
            json!({"aud": endpoint, "iss": "app", "sub": "app", "iat": at, "nbf": at - 300, "exp": at + 300});
        assert_eq!(claims, expected);
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let (_, x509) = X509Certificate::from_der(&der).unwrap();
        let public = x509.public_key().subject_public_key.data.to_vec();
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public)
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
        let shown = format!("{parsed:?}");
        assert!(!shown.contains(key_pem.lines().nth(1).unwrap()), "{shown}");
    }
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn the_certificate_of_the_key_is_found_wherever_it_stands() {
    let (leaf, key) = certified(&PKCS_RSA_SHA256);
    let (authority, _) = certified(&PKCS_ECDSA_P256_SHA256);
    let (other, other_key) = certified(&PKCS_RSA_SHA256);
    let key = key.serialize_pem();
    let expected = Certificate::from_pem(leaf.as_bytes(), key.as_bytes()).unwrap();
    let attributes = "Bag Attributes\n    friendlyName: operator\nsubject=CN = operator.example\n";
    for chain in [
        format!("{leaf}{authority}{other}"),
        format!("{other}{authority}{leaf}"),
        format!("{authority}\r\n{attributes}{leaf}\n{other}"),
        // One file with all of it, as some tools write.
        format!("{}{authority}{leaf}", other_key.serialize_pem()),
        leaf.replace('\n', "\r\n"),
    ] {
        let found = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(found.thumbprint(), expected.thumbprint());
    }
    let bundle = format!("{leaf}{key}");
    assert!(Certificate::from_pem(bundle.as_bytes(), bundle.as_bytes()).is_ok());
}

#[test]
fn of_two_certificates_of_one_key_the_one_that_holds_longest_counts() {
    let key = Key::generate_for(&PKCS_RSA_SHA256).unwrap();
    let until = |year: i32| {
        let mut params = CertificateParams::new(vec!["operator.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.self_signed(&key).unwrap().pem()
    };
    let (ended, holds) = (until(2021), until(2096));
    let key = key.serialize_pem();
    let expected = Certificate::from_pem(holds.as_bytes(), key.as_bytes()).unwrap();
    for both in [format!("{ended}{holds}"), format!("\u{feff}{holds}{ended}")] {
        let found = Certificate::from_pem(both.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(found.thumbprint(), expected.thumbprint());
    }
}

#[test]
fn what_entra_could_not_take_is_refused_with_its_own_word() {
    let (certificate, key) = certified(&PKCS_RSA_SHA256);
    let (ec_certificate, ec_key) = certified(&PKCS_ECDSA_P256_SHA256);
    let (other, _) = certified(&PKCS_RSA_SHA256);
    let rsa = key.serialize_pem();
    let ec = ec_key.serialize_pem();
    let ed = Key::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
    let headers = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00";
    let old = pem("RSA PRIVATE KEY", &pkcs1(&key)).replace("-----BEGIN RSA PRIVATE KEY-----", headers);
    let encrypted = pem("ENCRYPTED PRIVATE KEY", b"0000000000");
    let cut = pem("PRIVATE KEY", &key.serialized_der()[..200]);
    for (certificates, key, expected) in [
        (certificate.as_str(), "", Unusable::NoKey),
        (&certificate, &certificate, Unusable::NoKey),
        (&certificate, "not PEM at all", Unusable::NoKey),
        (&certificate, &encrypted, Unusable::EncryptedKey),
        (&certificate, &old, Unusable::EncryptedKey),
        (&ec_certificate, &ec, Unusable::NotRsa),
        (&certificate, &pem("EC PRIVATE KEY", b"0000000000"), Unusable::NotRsa),
        (&certificate, &ed, Unusable::NotRsa),
        (&certificate, &cut, Unusable::BadKey),
        (&certificate, &pem("RSA PRIVATE KEY", b"0000000000"), Unusable::BadKey),
        ("", &rsa, Unusable::NoCertificate),
        (&rsa, &rsa, Unusable::NoCertificate),
        (&pem("CERTIFICATE", b"0000000000"), &rsa, Unusable::NoCertificate),
        (&other, &rsa, Unusable::NoMatch),
    ] {
        let refused = Certificate::from_pem(certificates.as_bytes(), key.as_bytes());
        assert_eq!(refused.err(), Some(expected), "{certificates:.60} with {key:.60}");
    }
}
