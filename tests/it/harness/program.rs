//! Programs that run to their end while a test waits, and where those are that the tests build.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// Runs a command to its end, with `input` as its standard input, and gives what it wrote. That it fails is no error.
/// It is killed when nobody waits for it any more.
///
/// # Errors
/// If it cannot be run, or does not end within the limit.
pub async fn run_to_end(command: &mut Command, input: &str, limit: Duration) -> Result<Output> {
    let name = named(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{name} cannot be started"))?;
    let mut stdin = child.stdin.take().context("a program without standard input")?;
    let feed = async move {
        // It may refuse its arguments and end before it reads; its answer says more than a broken pipe.
        let _ = stdin.write_all(input.as_bytes()).await;
    };
    // It may answer while it is asked, and more than a pipe holds. Boxed, to be small in the futures of all who call.
    let both = Box::pin(async { tokio::join!(feed, child.wait_with_output()).1 });
    let output = timeout(limit, both)
        .await
        .with_context(|| format!("{name} did not end within {limit:?}"))?;
    output.with_context(|| format!("{name} cannot be waited for"))
}

/// Runs a command as [`run_to_end`] does and gives what it wrote to standard output.
///
/// # Errors
/// If it fails; with what it wrote to standard error.
pub async fn run_to_success(command: &mut Command, input: &str, limit: Duration) -> Result<String> {
    let output = run_to_end(command, input, limit).await?;
    ensure!(
        output.status.success(),
        "{}: {}: {}",
        named(command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// A command as one types it.
fn named(command: &Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = [program].into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// The folder of the programs that `tests/MODULE/ensure` knows to find or, once, to build. The script is asked once.
///
/// # Errors
/// If they cannot be had, the same to everyone who asks; the script has said why on standard error.
pub async fn ensured(module: &str) -> Result<PathBuf> {
    type Folder = Arc<OnceCell<Result<PathBuf, String>>>;
    static FOLDERS: Mutex<BTreeMap<String, Folder>> = Mutex::new(BTreeMap::new());

    let folder = {
        let mut folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(folders.entry(module.to_owned()).or_default())
    };
    let folder = folder.get_or_init(async || ask(module).await.map_err(|error| format!("{error:#}")));
    folder.await.clone().map_err(|error| anyhow!("{module}: {error}"))
}

/// Asks the script for the folder.
async fn ask(module: &str) -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(module)
        .join("ensure");
    // Its progress, on standard error, goes straight to whoever waits, however long it builds.
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .with_context(|| format!("{} cannot be run", script.display()))?;
    ensure!(
        output.status.success(),
        "programs that the tests need cannot be had; tests/{module}/ensure says why"
    );
    let answer = String::from_utf8(output.stdout)?;
    let folder = answer.lines().last().context("no folder of programs was named")?;
    Ok(PathBuf::from(folder))
}
