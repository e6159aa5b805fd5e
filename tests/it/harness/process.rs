//! Programs that end with the test.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;
use std::{env, io, thread};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::wait::wait_for;

/// A running program: in a process group of its own, its output in a file, killed on drop. One that was made with
/// [`leashed`] also dies with the test process, however that ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    child: Mutex<Child>,
    log: PathBuf,
}

/// A command for [`Process::spawn`] that runs `program` and ends with this process. Arguments and variables are added to
/// it as to any other.
///
/// # Errors
/// If the program `leash` was not built.
pub fn leashed(program: impl AsRef<OsStr>) -> Result<Command> {
    let mut command = Command::new(leash()?);
    command.arg("--parent").arg(std::process::id().to_string());
    command.arg("--").arg(program);
    Ok(command)
}

/// Cargo puts programs beside its tests' folder. It tells tests where, but not the library that they share.
fn leash() -> Result<PathBuf> {
    let this = env::current_exe().context("where this program is cannot be told")?;
    this.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("leash"))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "no `leash` near {}; `cargo build --package integration --bin leash` makes it",
                this.display()
            )
        })
}

/// A TCP port of 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no TCP port of 127.0.0.1 is free")?;
    Ok(listener.local_addr()?.port())
}

impl Process {
    /// Starts the program. What it writes is appended to the file `log`; `name` is for messages.
    ///
    /// # Errors
    /// If the log cannot be opened or the program cannot be started.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("{} cannot be opened", log.display()))?;
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = fork(command).with_context(|| format!("{name} cannot be started"))?;
        Ok(Self {
            name: name.to_owned(),
            pid: Pid::from_child(&child),
            child: Mutex::new(child),
            log: log.to_owned(),
        })
    }

    /// The process id, which is also that of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All it has written so far.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("{} cannot be read", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The last lines it has written, under its name: for messages of failure.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log().unwrap_or_else(|error| format!("{error:#}"));
        let skipped = log.lines().count().saturating_sub(lines);
        let tail: Vec<&str> = log.lines().skip(skipped).collect();
        format!("--- the last lines of {}:\n{}", self.name, tail.join("\n"))
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn exited(&self) -> Result<Option<ExitStatus>> {
        let status = self.child().try_wait();
        status.with_context(|| format!("the state of {} cannot be told", self.name))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// If it still runs when `limit` is up; with the tail of its log.
    pub async fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        let ended = wait_for(&what, limit, async || self.exited()?.context("it still runs"));
        ended.await.map_err(|error| anyhow!("{error:#}\n{}", self.log_tail(30)))
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    /// If it has ended already.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Stops it where it stands (SIGSTOP): it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// If it has ended already.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Self::pause`].
    ///
    /// # Errors
    /// If it has ended already.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it with its whole group, paused or not, and waits until it is gone. One that has ended is left in peace.
    pub fn kill(&self) {
        let mut child = self.child();
        // Its id may be another's once it was waited for, and `try_wait` knows whether it was.
        if matches!(child.try_wait(), Ok(None)) {
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = child.wait();
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.child();
        if let Some(status) = child.try_wait()? {
            bail!("{} gets no signal any more: {status}", self.name);
        }
        kill_process_group(self.pid, signal).with_context(|| format!("{} cannot be sent a signal", self.name))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        // A panic elsewhere leaves the child as it was.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command to start, and where the answer goes.
type Order = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Starts the command from one thread that lives as long as this process: to the kernel the parent is the thread that
/// forked, and a test's own thread ends with the test, while the shared control plane serves the next one.
fn fork(command: Command) -> io::Result<Child> {
    static ORDERS: LazyLock<io::Result<mpsc::Sender<Order>>> = LazyLock::new(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::Builder::new().name("fork".to_owned()).spawn(move || {
            for (mut command, answer) in inbox {
                // Whoever asked may have gone; then the child goes too, when the test process does.
                let _ = answer.send(command.spawn());
            }
        })?;
        Ok(orders)
    });

    let orders = ORDERS
        .as_ref()
        .map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let (answer, result) = mpsc::sync_channel(1);
    let gone = || io::Error::other("the thread that starts programs is gone");
    orders.send((command, answer)).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}
