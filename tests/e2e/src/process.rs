//! The operator's process, as the node's kernel sees it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// The operator's process in a pod.
pub(crate) struct Operator {
    pid: i32,
    /// Where the memory controller has it.
    memory: Memory,
}

/// The container's cgroup, of either version.
enum Memory {
    V1(PathBuf),
    V2(PathBuf),
}

/// What the kernel counts, in bytes.
pub(crate) struct Usage {
    /// Resident memory of the process.
    pub(crate) resident: u64,
    /// Of these, its own: all but pages of the program, which the kernel may drop.
    pub(crate) anonymous: u64,
    /// All that the cgroup is charged with.
    pub(crate) charged: u64,
    /// The most that it ever was.
    pub(crate) peak: u64,
    /// What it may be.
    pub(crate) limit: u64,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: u64| {
            let tenths = bytes * 10 / (1 << 20);
            format!("{}.{} MiB", tenths / 10, tenths % 10)
        };
        write!(
            f,
            "{} resident, of which {} are not pages of the program; the cgroup is charged {}, at most {} of {}",
            mebibytes(self.resident),
            mebibytes(self.anonymous),
            mebibytes(self.charged),
            mebibytes(self.peak),
            mebibytes(self.limit),
        )
    }
}

impl Operator {
    /// The process of the pod with this uid.
    pub(crate) fn of_pod(uid: &str) -> Result<Self> {
        for entry in fs::read_dir("/proc")? {
            let place = entry?.path();
            let Some(pid) = place.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
                continue;
            };
            // A process may end while it is looked at.
            let command = fs::read(place.join("cmdline")).unwrap_or_default();
            let groups = fs::read_to_string(place.join("cgroup")).unwrap_or_default();
            if command.starts_with(b"/compliance-partner-operator\0run\0") && groups.contains(uid) {
                return Ok(Self {
                    pid,
                    memory: Memory::of(&groups)?,
                });
            }
        }
        anyhow::bail!("no process of the operator in the pod {uid}")
    }

    /// What the kernel counts now.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let (group, [charged, peak, limit]) = match &self.memory {
            Memory::V1(group) => (
                group,
                [
                    "memory.usage_in_bytes",
                    "memory.max_usage_in_bytes",
                    "memory.limit_in_bytes",
                ],
            ),
            Memory::V2(group) => (group, ["memory.current", "memory.peak", "memory.max"]),
        };
        Ok(Usage {
            resident: self.kibibytes("VmRSS")?,
            anonymous: self.kibibytes("RssAnon")?,
            charged: number(&group.join(charged))?,
            peak: number(&group.join(peak))?,
            limit: number(&group.join(limit))?,
        })
    }

    /// A line of the process's status.
    pub(crate) fn status(&self, name: &str) -> Result<String> {
        let status = fs::read_to_string(self.place("status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(line
            .with_context(|| format!("the process has no {name}"))?
            .trim()
            .to_owned())
    }

    /// Whether its root can be written to.
    pub(crate) fn root_is_read_only(&self) -> Result<bool> {
        let mounts = fs::read_to_string(self.place("mountinfo"))?;
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"));
        let options = root.and_then(|line| line.split(' ').nth(5)).context("no root")?;
        Ok(options.split(',').any(|option| option == "ro"))
    }

    /// Kills it, and gives it no time.
    pub(crate) fn kill(&self) -> Result<()> {
        let pid = Pid::from_raw(self.pid).context("a process has an id")?;
        kill_process(pid, Signal::KILL).context("the operator cannot be killed")
    }

    fn kibibytes(&self, name: &str) -> Result<u64> {
        let text = self.status(name)?;
        let number = text.split(' ').next().unwrap_or_default();
        Ok(number.parse::<u64>().with_context(|| format!("{name} is {text:?}"))? * 1024)
    }

    fn place(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join(file)
    }
}

impl Memory {
    fn of(groups: &str) -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let path = |controller: &str| {
            let line = groups
                .lines()
                .find_map(|line| line.split_once(':')?.1.strip_prefix(controller));
            line.and_then(|line| line.strip_prefix(":/"))
        };
        if let Some(path) = path("memory") {
            return Ok(Self::V1(root.join("memory").join(path)));
        }
        let path = path("").context("the process is in no cgroup")?;
        ensure!(
            root.join(path).join("memory.max").exists(),
            "{path} has no memory controller"
        );
        Ok(Self::V2(root.join(path)))
    }
}

/// A number that a file of the kernel has.
fn number(path: &Path) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.trim()
        .parse()
        .with_context(|| format!("{} has {text:?}", path.display()))
}
