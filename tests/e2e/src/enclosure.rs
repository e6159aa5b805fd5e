//! Namespaces of the run's own, in which a node is made: of processes, mounts and the network. When the first process in
//! them ends, however it does, the kernel ends all others, and mounts and interfaces go with the last. The cgroups of the
//! pods alone are outside of namespaces: what a run leaves of them that is killed, the next one removes.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use harness::{Interrupt, Scratch, leashed, wait_for};
use rustix::fs::Access;

/// The first argument of this program where it is inside.
pub(crate) const INSIDE: &str = "--inside";

/// What is made anew, for util-linux' unshare.
const NAMESPACES: [&str; 4] = ["--net", "--mount", "--pid", "--fork"];

/// How long the kernel takes to end all that is inside.
const LIMIT: Duration = Duration::from_secs(30);

/// How the names of cgroups begin.
const PREFIX: &str = "compliance-partner-e2e-";

/// The kernel's settings that a kubelet would make as it likes them, for the whole machine.
const SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Runs this program once more, inside, and looks afterwards that nothing is left.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn enter(archive: &Path) -> Result<ExitCode> {
    let archive = archive.canonicalize().with_context(|| {
        format!(
            "{}: the operator's image is not there; `make image` makes it",
            archive.display()
        )
    })?;
    let mut interrupt = Interrupt::new()?;
    let folder = Scratch::new()?;
    let cgroup = Cgroup::new()?;
    let mut command = leashed("unshare")?;
    command
        .args(NAMESPACES)
        .args(["--kill-child", "--mount-proc", "--"])
        // The first process of a PID namespace inherits the orphans, and a shell buries them.
        .args(["sh", "-c", r#""$@"; exit $?"#, "init"])
        .arg(std::env::current_exe()?)
        .args([INSIDE.as_ref(), folder.path(), &archive, cgroup.name.as_ref()])
        // Folders for temporary files go by the ids of processes, and those inside are others.
        .env("TMPDIR", folder.path());
    let mut inside = tokio::process::Command::from(command)
        .spawn()
        .context("unshare (util-linux) cannot be run")?;
    let status = tokio::select! {
        status = inside.wait() => Some(status?),
        () = interrupt.received() => None,
    };
    if status.is_none() {
        inside.kill().await?;
    }
    // The last process may be a moment behind the first.
    let name = cgroup.name.clone();
    wait_for("the end of all that ran inside", LIMIT, async || {
        cgroup.remove()?;
        nothing_is_left(folder.path(), &name)
    })
    .await?;
    match status {
        Some(status) if status.success() => Ok(ExitCode::SUCCESS),
        Some(_) => Ok(ExitCode::FAILURE),
        None => bail!("interrupted; nothing is left running"),
    }
}

/// Whether this process may make such namespaces. Root in a container may not, unless the container is privileged.
pub(crate) fn is_possible() -> bool {
    let mut command = Command::new("unshare");
    let output = command.args(NAMESPACES).arg("true").output();
    output.is_ok_and(|output| output.status.success()) && rustix::fs::access("/sys/fs/cgroup", Access::WRITE_OK).is_ok()
}

/// A cgroup in every hierarchy of the machine (version 1), or in the one that it has (version 2).
struct Cgroup {
    name: String,
    places: Vec<PathBuf>,
}

impl Cgroup {
    fn new() -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("{PREFIX}{}", std::process::id());
        let unified = root.join("cgroup.controllers").exists();
        let mut this = Self {
            name,
            places: Vec::new(),
        };
        let mut hierarchies = vec![root.to_owned()];
        if !unified {
            let entries = fs::read_dir(root)?.collect::<Result<Vec<_>, _>>()?;
            // Some are links to others.
            let folders = entries
                .iter()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            hierarchies = folders.map(fs::DirEntry::path).collect();
        }
        for hierarchy in hierarchies {
            sweep(&hierarchy);
            let place = hierarchy.join(&this.name);
            fs::create_dir(&place).with_context(|| {
                format!(
                    "{} cannot be made: a node takes all of root's rights, which a container has if it is privileged",
                    place.display()
                )
            })?;
            this.places.push(place);
        }
        if unified {
            enable_controllers(root, &this.name)?;
        } else {
            inherit_cpus(root, &this.name)?;
        }
        Ok(this)
    }

    /// # Errors
    /// If a process is still in one of them.
    fn remove(&self) -> Result<()> {
        for place in &self.places {
            remove_cgroup(place).with_context(|| format!("{} is still in use", place.display()))?;
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for place in &self.places {
            let _ = remove_cgroup(place);
        }
    }
}

/// Removes what runs have left that were killed.
fn sweep(hierarchy: &Path) {
    for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if run.is_some_and(|run| !Path::new("/proc").join(run).exists()) {
            let _ = remove_cgroup(&entry.path());
        }
    }
}

/// The controllers that a kubelet asks for, so that limits can be set below. The machine may hand others to nobody.
fn enable_controllers(root: &Path, name: &str) -> Result<()> {
    for group in [root.to_owned(), root.join(name)] {
        let available = fs::read_to_string(group.join("cgroup.controllers"))?;
        let wanted = ["cpu", "cpuset", "memory", "pids"].into_iter();
        for controller in wanted.filter(|wanted| available.split_whitespace().any(|controller| controller == *wanted)) {
            fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"))
                .with_context(|| format!("{} takes no {controller}", group.display()))?;
        }
    }
    Ok(())
}

/// A fresh cpuset of version 1 has no processors, and takes no process before it has.
fn inherit_cpus(root: &Path, name: &str) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        match fs::read(root.join("cpuset").join(file)) {
            Ok(all) => fs::write(root.join("cpuset").join(name).join(file), all).context(file)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(file),
        }
    }
    Ok(())
}

/// The innermost first. The files in it go with it. One that is gone is as good.
fn remove_cgroup(place: &Path) -> std::io::Result<()> {
    let gone = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    };
    let entries = match fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) => return gone(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    fs::remove_dir(place).or_else(gone)
}

/// # Errors
/// If there is a mount in the folder, or a process of the run.
fn nothing_is_left(folder: &Path, cgroup: &str) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let folder = folder.display().to_string();
    let left = mounts.lines().find(|line| line.contains(&folder));
    ensure!(left.is_none(), "a mount is left: {}", left.unwrap_or_default());
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // A process may end while it is looked at.
        let command = fs::read(path.join("cmdline")).unwrap_or_default();
        let groups = fs::read_to_string(path.join("cgroup")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if path.ends_with(std::process::id().to_string()) || path.ends_with("self") || path.ends_with("thread-self") {
            continue;
        }
        if groups.contains(cgroup) || command.contains(&folder) {
            bail!("a process is left: {} ({command})", path.display());
        }
    }
    Ok(())
}

/// Inside: covers what containerd, kubelet and the network plugins take for theirs with folders that go with the mount
/// namespace, and makes a disk of memory of `folder`.
pub(crate) fn furnish(folder: &Path) -> Result<()> {
    let folder = folder.display().to_string();
    // Nothing that is mounted here shows outside.
    run("mount", &["--make-rprivate", "/"])?;
    run("mount", &["-t", "tmpfs", "-o", "mode=0755", "tmpfs", &folder])?;
    for covered in ["/run", "/var/log"] {
        run("mount", &["-t", "tmpfs", "-o", "mode=0755", "tmpfs", covered])?;
    }
    // A checkout may be below, so what is there stays to be seen.
    let (upper, work) = (format!("{folder}/upper"), format!("{folder}/work"));
    fs::create_dir(&upper)?;
    fs::create_dir(&work)?;
    let layers = format!("lowerdir=/var/lib,upperdir={upper},workdir={work}");
    run("mount", &["-t", "overlay", "-o", &layers, "overlay", "/var/lib"])?;
    // They are the machine's: a file stands for each, with what it has.
    for setting in SETTINGS {
        let (place, copy) = (
            format!("/proc/sys/{setting}"),
            format!("{folder}/{}", setting.replace('/', ".")),
        );
        if let Ok(value) = fs::read(&place) {
            fs::write(&copy, value)?;
            run("mount", &["--bind", &copy, &place])?;
        }
    }
    // containerd and kubelet hand mounts on to the pods.
    run("mount", &["--make-rshared", "/"])
}

/// Runs a program of the system.
///
/// # Errors
/// If it fails; with what it said.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<()> {
    let told = || format!("{program} {}", args.join(" "));
    let output = Command::new(program).args(args).output().with_context(told)?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", told(), complaint.trim_end());
    Ok(())
}
