//! Keys with self-signed certificates, as somebody makes them to register one with an app.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256};
use x509_parser::asn1_rs::{Any, FromDer as _, OctetString, Sequence};

/// An RSA key of 2,048 bits and its certificate.
#[derive(Clone)]
pub struct Certified {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The key as PKCS#8, PEM (`PRIVATE KEY`).
    pub key_pkcs8_pem: String,
    /// The same key as PKCS#1, PEM (`RSA PRIVATE KEY`).
    pub key_pkcs1_pem: String,
}

impl std::fmt::Debug for Certified {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Certified")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

/// A new key and a certificate of this name that is good for a long time.
pub fn certificate(common_name: &str) -> anyhow::Result<Certified> {
    signed(common_name, |_| {})
}

/// A new key and a certificate of this name that was good in the year 2001.
pub fn expired_certificate(common_name: &str) -> anyhow::Result<Certified> {
    signed(common_name, |parameters| {
        parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
    })
}

fn signed(common_name: &str, change: impl FnOnce(&mut CertificateParams)) -> anyhow::Result<Certified> {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
    let mut parameters = CertificateParams::new(Vec::<String>::new())?;
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    change(&mut parameters);
    Ok(Certified {
        certificate_pem: parameters.self_signed(&key)?.pem(),
        key_pkcs8_pem: key.serialize_pem(),
        key_pkcs1_pem: pem("RSA PRIVATE KEY", &pkcs1(key.serialized_der())?),
    })
}

/// The PKCS#1 key inside of a PKCS#8 one: the octet string after version and algorithm (RFC 5208).
fn pkcs1(pkcs8: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (_, sequence) = Sequence::from_der(pkcs8).context("the key is no sequence")?;
    let (rest, _version) = Any::from_der(&sequence.content).context("the key has no version")?;
    let (rest, _algorithm) = Any::from_der(rest).context("the key has no algorithm")?;
    let (_, key) = OctetString::from_der(rest).context("the key has no octet string")?;
    Ok(key.as_ref().to_vec())
}

/// A PEM block: lines of 64 characters (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut rest = text.as_str();
    let mut block = format!("-----BEGIN {label}-----\n");
    while !rest.is_empty() {
        let (line, next) = rest.split_at_checked(64).unwrap_or((rest, ""));
        block.push_str(line);
        block.push('\n');
        rest = next;
    }
    block + "-----END " + label + "-----\n"
}
