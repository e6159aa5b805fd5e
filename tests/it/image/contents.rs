//! What is in it, and what is not.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::checkout;

use crate::unpacked::{Unpacked, built, lines};

/// The goals of README.md, in bytes.
const BINARY: u64 = 8_000_000;
const IMAGE: u64 = 10_000_000;

#[test]
fn its_files_are_the_binary_its_user_and_the_certificates() -> Result<()> {
    let image = Unpacked::new()?;
    let listed = lines(Command::new("tar").arg("--numeric-owner").arg("-tvf").arg(&image.layer))?;
    let words = |line: &String| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{} {} {}", words[0], words[1], words[5])
    };
    let files: Vec<String> = listed.iter().map(words).collect();
    assert_eq!(
        files,
        [
            "-r-xr-xr-x 0/0 compliance-partner-operator",
            "drwxr-xr-x 0/0 etc/",
            "-r--r--r-- 0/0 etc/group",
            "-r--r--r-- 0/0 etc/passwd",
            "drwxr-xr-x 0/0 etc/ssl/",
            "drwxr-xr-x 0/0 etc/ssl/certs/",
            "-r--r--r-- 0/0 etc/ssl/certs/ca-certificates.crt",
        ]
    );
    assert_eq!(
        fs::read(image.binary())?,
        fs::read(built("compliance-partner-operator")?)?
    );
    Ok(())
}

#[test]
fn its_user_is_a_number_and_it_has_no_command_but_the_operator() -> Result<()> {
    let image = Unpacked::new()?;
    let config = &image.config["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(
        config["Entrypoint"],
        serde_json::json!(["/compliance-partner-operator"])
    );
    assert!(config["Cmd"].is_null() && config["Volumes"].is_null(), "{config}");
    // buildah sets the one; a proxy or a secret of the builder's would stand here.
    let environment = config["Env"].as_array().context("no environment")?;
    assert!(
        environment
            .iter()
            .all(|variable| variable.as_str().is_some_and(|it| it.starts_with("PATH="))),
        "{environment:?}"
    );
    Ok(())
}

#[test]
fn its_labels_and_its_name_say_what_it_is() -> Result<()> {
    let image = Unpacked::new()?;
    let label = |name: &str| image.config["config"]["Labels"][name].as_str().unwrap_or_default();
    let oci = |name: &str| label(&format!("org.opencontainers.image.{name}"));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(oci("title"), "compliance-partner-operator");
    assert_eq!(oci("version"), version);
    assert_eq!(oci("licenses"), "Apache-2.0");
    assert!(!oci("description").is_empty());
    assert_eq!(oci("created"), image.config["created"]);
    assert!(label("dev.msgraph.intune.built-with").contains("rustc "));
    // The one name is containerd's, the other podman's.
    for name in ["io.containerd.image.name", "org.opencontainers.image.ref.name"] {
        let name = image.descriptor["annotations"][name].as_str().unwrap_or_default();
        assert!(
            name.ends_with(&format!("compliance-partner-operator:{version}")),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn the_binary_is_static_and_hardened() -> Result<()> {
    const INTERPRETER: u32 = 3;
    const STACK: u32 = 0x6474_e551;
    const READ_ONLY_AFTER_START: u32 = 0x6474_e552;
    const EXECUTABLE: u32 = 1;
    const WRITABLE: u32 = 2;

    let elf = fs::read(Unpacked::new()?.binary())?;
    let half = |at: usize| u16::from_le_bytes([elf[at], elf[at + 1]]);
    let word = |at: usize| u32::from_le_bytes([elf[at], elf[at + 1], elf[at + 2], elf[at + 3]]);
    assert_eq!(&elf[..5], b"\x7fELF\x02");
    assert_eq!(half(16), 3, "it can be loaded at any address");
    let (first, size, count) = (usize::try_from(word(32))?, usize::from(half(54)), usize::from(half(56)));
    let headers: BTreeMap<u32, u32> = (0..count)
        .map(|number| first + number * size)
        .inspect(|at| {
            let both = WRITABLE | EXECUTABLE;
            assert_ne!(word(at + 4) & both, both, "what can be written to cannot be run");
        })
        .map(|at| (word(at), word(at + 4)))
        .collect();
    assert!(
        !headers.contains_key(&INTERPRETER),
        "there is no other program to load it"
    );
    assert_eq!(headers[&STACK] & EXECUTABLE, 0);
    assert!(headers.contains_key(&READ_ONLY_AFTER_START));
    Ok(())
}

/// Two people who build it have other folders.
#[test]
fn the_binary_names_no_folder_of_whoever_built_it() -> Result<()> {
    let binary = fs::read(Unpacked::new()?.binary())?;
    let home = std::env::var("HOME").unwrap_or_default();
    let folders = [
        checkout().display().to_string(),
        format!("{home}/."),
        "/.cargo/".to_owned(),
        "/.rustup/".to_owned(),
    ];
    for folder in folders {
        let found = binary
            .windows(folder.len())
            .position(|window| window == folder.as_bytes());
        let shown = found.map(|at| String::from_utf8_lossy(&binary[at..at + 120]));
        assert_eq!(shown, None, "{folder}");
    }
    Ok(())
}

#[test]
fn its_certificates_are_those_that_microsoft_needs() -> Result<()> {
    let image = Unpacked::new()?;
    let pem = fs::read_to_string(image.root().join("etc/ssl/certs/ca-certificates.crt"))?;
    let certificates = pem.split("-----BEGIN CERTIFICATE-----\n").skip(1);
    let certificates = certificates.map(|text| {
        let text = text.strip_suffix("-----END CERTIFICATE-----\n").context("no end")?;
        Ok(STANDARD.decode(text.replace('\n', ""))?)
    });
    let certificates = certificates.collect::<Result<Vec<Vec<u8>>>>()?;
    assert!(certificates.len() > 100, "{}", certificates.len());
    // What Graph's and Entra's hosts chain to, by Microsoft's list of the authorities that Azure uses.
    for root in [
        "DigiCert Global Root G2",
        "DigiCert Global Root G3",
        "Microsoft RSA Root Certificate Authority 2017",
        "Microsoft ECC Root Certificate Authority 2017",
    ] {
        let named = |certificate: &Vec<u8>| certificate.windows(root.len()).any(|window| window == root.as_bytes());
        assert!(certificates.iter().any(named), "{root}");
    }
    Ok(())
}

#[test]
fn it_is_as_small_as_it_should_be() -> Result<()> {
    let image = Unpacked::new()?;
    let binary = fs::metadata(image.binary())?.len();
    let certificates = fs::metadata(image.root().join("etc/ssl/certs/ca-certificates.crt"))?.len();
    println!(
        "binary {binary}, certificates {certificates}, compressed image {}",
        image.compressed
    );
    assert!(binary <= BINARY, "{binary}");
    assert!(binary + certificates <= IMAGE && image.compressed <= IMAGE);
    Ok(())
}
