//! The archive, taken apart.

// Helpers may panic as tests may: a wrong index is a failed test.
#![allow(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use harness::Scratch;
use serde_json::Value;

/// An image's parts, in a folder that goes away.
pub(crate) struct Unpacked {
    folder: Scratch,
    /// What containerd names it by, and where its manifest is.
    pub(crate) descriptor: Value,
    /// User, entrypoint, labels.
    pub(crate) config: Value,
    /// How many bytes a registry sends.
    pub(crate) compressed: u64,
    /// The one layer, as an archive.
    pub(crate) layer: PathBuf,
}

impl Unpacked {
    /// Takes `target/image/image.tar` apart; its files come to be below [`Unpacked::root`].
    pub(crate) fn new() -> Result<Self> {
        let folder = Scratch::new()?;
        let archive = built("image.tar")?;
        let layout = folder.path().join("layout");
        untar(&archive, &layout)?;
        let index =
            read(&layout.join("index.json")).context("no OCI layout: only what buildah has built is looked at here")?;
        let descriptor = index["manifests"][0].clone();
        let manifest = read(&blob(&layout, &descriptor)?)?;
        let config = read(&blob(&layout, &manifest["config"])?)?;
        let layers = manifest["layers"].as_array().context("no layers")?;
        ensure!(layers.len() == 1, "{} layers", layers.len());
        let layer = blob(&layout, &manifest["layers"][0])?;
        untar(&layer, &folder.path().join("root"))?;
        let size = |part: &Value| part["size"].as_u64().context("no size");
        let compressed =
            size(&descriptor)? + size(&manifest["config"])? + layers.iter().map(size).sum::<Result<u64>>()?;
        Ok(Self {
            folder,
            descriptor,
            config,
            compressed,
            layer,
        })
    }

    /// The folder that a container has as its root.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A place for what is no part of the image.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The binary.
    pub(crate) fn binary(&self) -> PathBuf {
        self.root().join(harness::OPERATOR)
    }
}

/// What `make image` has put in `target/image`.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let this = env::current_exe()?;
    let target = this.ancestors().nth(3).context("no target folder")?;
    let path = target.join("image").join(name);
    ensure!(path.is_file(), "no {}: `make image` makes it", path.display());
    Ok(path)
}

fn untar(archive: &Path, folder: &Path) -> Result<()> {
    fs::create_dir(folder)?;
    let mut tar = Command::new("tar");
    tar.arg("-xpf")
        .arg(archive)
        .arg("-C")
        .arg(folder)
        .arg("--no-same-owner");
    ensure!(tar.status()?.success(), "{} is no archive", archive.display());
    Ok(())
}

/// Where a part of the layout is. Its name is its digest, which has to be right.
fn blob(layout: &Path, part: &Value) -> Result<PathBuf> {
    let digest = part["digest"]
        .as_str()
        .and_then(|digest| digest.strip_prefix("sha256:"));
    let digest = digest.context("no digest")?;
    let path = layout.join("blobs/sha256").join(digest);
    let sum = Command::new("sha256sum").stdin(fs::File::open(&path)?).output()?;
    ensure!(
        sum.stdout.starts_with(digest.as_bytes()),
        "{} is something else",
        path.display()
    );
    Ok(path)
}

fn read(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// The lines that a program prints, which has to end well.
pub(crate) fn lines(command: &mut Command) -> Result<Vec<String>> {
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}
