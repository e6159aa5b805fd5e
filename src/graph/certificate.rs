//! A client certificate: read from PEM, held against its key, and what it signs: the assertion that Entra takes in the
//! place of a client secret.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use x509_parser::asn1_rs::{FromDer, OctetString, Sequence};
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::nom;
use x509_parser::x509::AlgorithmIdentifier;
use zeroize::{Zeroize, Zeroizing};

/// How long an assertion is valid before and after it is made, in seconds. Microsoft's "certificate credentials" page
/// asks for 5 to 10 minutes in all; this way a clock may be wrong by five minutes in either direction.
const TOLERANCE: i64 = 300;

/// The object identifier of an RSA key (RFC 8017, appendix C).
const RSA: &str = "1.2.840.113549.1.1.1";

/// The most bytes of PEM that are looked at, of certificates and of a key each; a Secret holds 1 MiB in all.
const LARGEST_PEM: usize = 1024 * 1024;

/// A certificate with its RSA key. The key is zeroed when it goes; neither is shown.
pub struct Certificate {
    key: EncodingKey,
    thumbprint: String,
}

/// Why a certificate and a key are of no use. The sentence holds nothing of what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// There is no private key in PEM.
    #[error("there is no private key in PEM")]
    NoKey,
    /// The key has a passphrase.
    #[error("the key is encrypted: store it without a passphrase")]
    EncryptedKey,
    /// A key of another kind.
    #[error("the key is no RSA key, and Entra takes no other: create an RSA key and a certificate for it")]
    NotRsa,
    /// The key cannot be read, or has too few bits.
    #[error("the key cannot be read as an RSA key of 2048 to 8192 bits")]
    BadKey,
    /// There is no certificate in PEM.
    #[error("there is no certificate in PEM")]
    NoCertificate,
    /// None of the certificates has the key.
    #[error("no certificate belongs to the key")]
    NoMatch,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iss: &'a str,
    sub: &'a str,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl Certificate {
    /// The certificate that belongs to the key, wherever it stands among the others of its chain. The key is PKCS#8 or
    /// PKCS#1.
    ///
    /// # Errors
    /// Where either cannot be read, they do not belong together, or Entra could not take them.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, Unusable> {
        let key = private_key(key)?;
        let pair = RsaKeyPair::from_der(&key).map_err(|_| Unusable::BadKey)?;
        let public = pair.public_key().as_ref();
        let mut readable = false;
        // A certificate that was renewed for its key is the one that holds longest.
        let mut found: Option<(i64, String)> = None;
        for certificate in CertificateDer::pem_slice_iter(bounded(certificates)).flatten() {
            let Ok((_, parsed)) = X509Certificate::from_der(&certificate) else {
                continue;
            };
            readable = true;
            let until = parsed.validity().not_after.timestamp();
            let later = found.as_ref().is_none_or(|(other, _)| until > *other);
            if later && parsed.public_key().subject_public_key.data.as_ref() == public {
                found = Some((until, URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate))));
            }
        }
        match found {
            Some((_, thumbprint)) => Ok(Self {
                key: EncodingKey::from_rsa_der(&key),
                thumbprint,
            }),
            None if readable => Err(Unusable::NoMatch),
            None => Err(Unusable::NoCertificate),
        }
    }

    /// The SHA-256 thumbprint of the certificate, base64url, as the assertion's header has it. Not secret.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// An assertion that the holder of the key is `client`, for the token endpoint `audience`, valid from five minutes
    /// before `now` to five minutes after it (Microsoft identity platform, "application authentication certificate credentials": PS256 and `x5t#S256`).
    ///
    /// # Errors
    /// Where the library cannot sign.
    pub fn assertion(&self, audience: &str, client: &str, now: Timestamp) -> Result<Zeroizing<String>, NotSigned> {
        let mut header = Header::new(Algorithm::PS256);
        header.x5t_s256 = Some(self.thumbprint.clone());
        let now = now.as_second();
        let claims = Claims {
            aud: audience,
            iss: client,
            sub: client,
            jti: uuid::Uuid::new_v4().to_string(),
            iat: now,
            nbf: now.saturating_sub(TOLERANCE),
            exp: now.saturating_add(TOLERANCE),
        };
        let signed = jsonwebtoken::encode(&header, &claims, &self.key);
        signed.map(Zeroizing::new).map_err(|_| NotSigned)
    }
}

/// An assertion could not be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key of the client certificate does not sign")]
pub struct NotSigned;

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Certificate({}, …)", self.thumbprint)
    }
}

/// As much of a PEM text as is looked at, less the byte order mark that some editors put before it.
fn bounded(pem: &[u8]) -> &[u8] {
    let pem = pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem);
    pem.get(..LARGEST_PEM).unwrap_or(pem)
}

/// The RSA key of a PEM text, as PKCS#1.
fn private_key(pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    let pem = bounded(pem);
    let encrypted = b"ENCRYPTED";
    let mut key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        // A key with a passphrase is PKCS#8 of another label, or has a header that says so.
        _ if pem.windows(encrypted.len()).any(|part| part == encrypted) => Unusable::EncryptedKey,
        pem::Error::NoItemsFound => Unusable::NoKey,
        _ => Unusable::BadKey,
    })?;
    let found = match &key {
        PrivateKeyDer::Pkcs1(key) => Ok(Zeroizing::new(key.secret_pkcs1_der().to_vec())),
        PrivateKeyDer::Pkcs8(key) => unwrap_pkcs8(key.secret_pkcs8_der()),
        _ => Err(Unusable::NotRsa),
    };
    key.zeroize();
    found
}

/// The key inside a `PrivateKeyInfo` (RFC 5208, section 5): version, algorithm, and the key as an octet string.
fn unwrap_pkcs8(der: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    let info = Sequence::from_der_and_then(der, |rest| {
        let (rest, _) = u8::from_der(rest).map_err(nom::Err::convert)?;
        let (rest, algorithm) = AlgorithmIdentifier::from_der(rest)?;
        let (rest, key) = OctetString::from_der(rest).map_err(nom::Err::convert)?;
        Ok::<_, nom::Err<X509Error>>((rest, (algorithm, key)))
    });
    match info {
        Ok((_, (algorithm, key))) if algorithm.algorithm.to_id_string() == RSA => {
            Ok(Zeroizing::new(key.as_ref().to_vec()))
        }
        Ok(_) => Err(Unusable::NotRsa),
        Err(_) => Err(Unusable::BadKey),
    }
}

#[cfg(test)]
mod tests;
