//! The operator, a process of its own.

use std::time::{Duration, Instant, SystemTime};
use std::{fmt, fs};

use anyhow::{Context as _, Result, ensure};
use harness::{PATIENCE, Process, ask_admin_port, free_port, leashed, wait_for};
use jiff::Timestamp;

use crate::bed::Bed;

/// Memory counts as settled once it has moved by less than this, in KiB …
const STILL: u64 = 64;
/// … for this long.
const SETTLED: Duration = Duration::from_secs(3);
/// How long that is waited for.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);

/// A running operator. It is killed on drop.
pub(crate) struct Operator {
    process: Process,
    admin: String,
    /// When it was started, by the clock that its log goes by.
    pub(crate) started: Timestamp,
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// What is resident.
    pub(crate) resident: u64,
    /// What of it is no part of a file: heap, stacks, and pages of the binary that were written to.
    pub(crate) anonymous: u64,
    /// The most that ever was.
    pub(crate) peak: u64,
}

impl Memory {
    /// Mebibytes that are resident.
    pub(crate) fn mib(self) -> f64 {
        mib(self.resident)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            resident,
            anonymous,
            peak,
        } = *self;
        let (resident, anonymous, peak) = (mib(resident), mib(anonymous), mib(peak));
        write!(
            formatter,
            "{resident:.1} MiB ({anonymous:.1} without files; peak {peak:.1})"
        )
    }
}

#[allow(clippy::cast_precision_loss)]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1_024.0
}

impl Operator {
    /// Starts it as a user would, with more flags.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) async fn start(bed: &Bed, flags: &[&str]) -> Result<Self> {
        let kubeconfig = bed.operator_kubeconfig().await?;
        let admin = format!("127.0.0.1:{}", free_port()?);
        let mut command = leashed(&bed.operator)?;
        command
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .env("SSL_CERT_FILE", bed.ca_file())
            .args(["run", "--admin-address", &admin])
            .args(["--graph-endpoint", bed.simulator.graph_endpoint()])
            .args(["--authority-host", bed.simulator.authority_host()])
            .args(flags);
        let log = bed.fresh_log();
        let started = Timestamp::try_from(SystemTime::now())?;
        let process = Process::spawn("compliance-partner-operator", command, &log)?;
        Ok(Self {
            process,
            admin,
            started,
        })
    }

    /// Ends it as Kubernetes does.
    ///
    /// # Errors
    /// If it does not end, or not well.
    pub(crate) async fn stop(self) -> Result<()> {
        self.process.terminate()?;
        let status = self.process.wait(PATIENCE).await?;
        ensure!(
            status.success(),
            "the operator ended with {status}\n{}",
            self.process.log_tail(30)
        );
        Ok(())
    }

    /// Its last log lines, for messages of failure.
    pub(crate) fn log_tail(&self) -> String {
        self.process.log_tail(15)
    }

    /// Waits until both kinds are listed.
    ///
    /// # Errors
    /// If they are not in time.
    pub(crate) async fn ready(&self) -> Result<()> {
        let ready = async || {
            let (status, body) = ask_admin_port(&self.admin, "/readyz").await?;
            ensure!(status == 200, "{status}: {body}");
            Ok(())
        };
        let waited = wait_for("a ready operator", PATIENCE, ready).await;
        waited.with_context(|| self.log_tail())
    }

    /// The metrics, so that they are encoded once.
    ///
    /// # Errors
    /// If they are not served.
    pub(crate) async fn scrape(&self) -> Result<String> {
        Ok(ask_admin_port(&self.admin, "/metrics").await?.1)
    }

    /// When each log line with all of these words was written, in order.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(crate) fn logged(&self, words: &[&str]) -> Result<Vec<Timestamp>> {
        let log = self.process.log()?;
        // The last line may be half written.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)));
        let time = |line: &str| {
            let time = line.split(' ').next().unwrap_or_default();
            time.parse().with_context(|| format!("no time in the log line: {line}"))
        };
        lines.map(time).collect()
    }

    /// Waits until `count` log lines have all of these words; gives their times.
    ///
    /// # Errors
    /// If they do not come in time.
    pub(crate) async fn until_logged(&self, words: &[&str], count: usize, limit: Duration) -> Result<Vec<Timestamp>> {
        let what = format!("{count} log lines with {words:?}");
        let waited = wait_for(&what, limit, async || {
            let times = self.logged(words)?;
            ensure!(times.len() >= count, "{}", times.len());
            Ok::<_, anyhow::Error>(times)
        });
        waited.await.with_context(|| self.log_tail())
    }

    /// What it holds now.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line
                .context("the process has no memory")?
                .trim()
                .trim_end_matches(" kB");
            Ok(number.parse()?)
        };
        Ok(Memory {
            resident: field("VmRSS:")?,
            anonymous: field("RssAnon:")?,
            peak: field("VmHWM:")?,
        })
    }

    /// What it holds once that has stood still for a while.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) async fn settled_memory(&self) -> Result<Memory> {
        let mut last = (self.memory()?, Instant::now());
        let settled = wait_for("settled memory", SETTLE_LIMIT, async || {
            let now = self.memory()?;
            if now.resident.abs_diff(last.0.resident) > STILL {
                last = (now, Instant::now());
            }
            ensure!(last.1.elapsed() >= SETTLED, "{} KiB", now.resident);
            Ok::<_, anyhow::Error>(now)
        });
        settled.await.with_context(|| self.log_tail())
    }

    /// Processor time that it has taken so far, in ticks of ten milliseconds, as Linux counts it.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.pid()))?;
        // The name, in parentheses, may hold spaces.
        let (_, fields) = stat.rsplit_once(") ").context("no process statistics")?;
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = ticks.collect::<Result<Vec<_>, _>>()?.iter().sum();
        Ok(Duration::from_millis(ticks * 10))
    }
}
