//! Folders that go away.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, process};

use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

const PREFIX: &str = "compliance-partner-operator-it";

/// A folder for this process alone, removed on drop.
///
/// What is never dropped, as the shared control plane's, is removed by the next process that makes one: the name holds
/// the process's id.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty folder that only this user can read, and removes what dead processes left of theirs.
    ///
    /// # Errors
    /// If the folder for temporary files takes none.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);

        let root = env::temp_dir();
        sweep(&root);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("{PREFIX}-{}-{count}", process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is left to the next sweep.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Best effort: a folder that cannot be read or removed harms nobody.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_str().and_then(owner).is_some_and(dead) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that a folder of this name belongs to.
fn owner(name: &str) -> Option<Pid> {
    let (pid, _count) = name.strip_prefix(PREFIX)?.strip_prefix('-')?.split_once('-')?;
    Pid::from_raw(pid.parse().ok().filter(|pid| *pid > 0)?)
}

fn dead(pid: Pid) -> bool {
    test_kill_process(pid) == Err(Errno::SRCH)
}
