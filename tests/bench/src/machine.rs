//! Where and when the figures were taken.

use std::path::Path;
use std::process::Command;
use std::{fmt, fs};

use anyhow::{Context as _, Result, ensure};

/// See the module.
pub(crate) struct Machine {
    cores: usize,
    processor: String,
    memory_gib: u64,
    kernel: String,
    date: String,
    version: String,
    binary: String,
    /// Processes that wanted to run in the last minute, before anything was measured.
    pub(crate) load: f64,
}

impl Machine {
    /// Looks at this machine and the operator's binary.
    ///
    /// # Errors
    /// If the binary does not say its version, or the machine nothing of itself.
    pub(crate) fn look(operator: &Path) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("{path} cannot be read"));
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo")?, "MemTotal").unwrap_or_default();
        let kib: u64 = memory
            .trim_end_matches(" kB")
            .parse()
            .context("how much memory there is")?;
        let load = read("/proc/loadavg")?;
        let load = load
            .split(' ')
            .next()
            .unwrap_or_default()
            .parse()
            .context("the load of the machine")?;
        let bytes = fs::metadata(operator)?.len();
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: field(&read("/proc/cpuinfo")?, "model name").unwrap_or_else(|| "unknown".to_owned()),
            memory_gib: (kib + (1 << 19)) >> 20,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            version: version(operator)?,
            binary: format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
            load,
        })
    }
}

/// What the binary says, and the commit where git knows one.
fn version(operator: &Path) -> Result<String> {
    let output = Command::new(operator).arg("--version").output()?;
    ensure!(
        output.status.success(),
        "{} --version: {}",
        operator.display(),
        output.status
    );
    let version = String::from_utf8(output.stdout)?.trim().to_owned();
    let commit = Command::new("git")
        .args([
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            "describe",
            "--always",
            "--dirty",
            "--abbrev=10",
        ])
        .output();
    match commit {
        Ok(output) if output.status.success() => Ok(format!(
            "{version} ({})",
            String::from_utf8_lossy(&output.stdout).trim()
        )),
        _ => Ok(version),
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cores,
            processor,
            memory_gib,
            kernel,
            date,
            version,
            binary,
            load,
        } = self;
        write!(
            formatter,
            "{version}, binary of {binary}; {date}; {cores} cores ({processor}), {memory_gib} GiB, Linux {kernel}, load \
             {load} before. API server, etcd, simulator and operator share the cores; each answer of Graph takes 20 ms."
        )
    }
}
