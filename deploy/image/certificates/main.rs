//! Prints the CA certificates that the container image has, in PEM: the roots that Mozilla trusts for TLS servers.
//!
//! They come from a crate, so that Cargo.lock says which they are, whatever machine the image is built on.

use std::io::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// How many characters of Base64 stand on a line of PEM (RFC 7468).
const LINE: usize = 64;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for certificate in TLS_SERVER_ROOT_CERTS {
        writeln!(out, "-----BEGIN CERTIFICATE-----")?;
        for line in STANDARD.encode(certificate).as_bytes().chunks(LINE) {
            out.write_all(line)?;
            writeln!(out)?;
        }
        writeln!(out, "-----END CERTIFICATE-----")?;
    }
    out.flush()
}
