//! Runs a program that dies with its parent: `leash [--parent PID] -- program args…`.
//!
//! A test that is killed drops nothing, so the kernel has to end its children. The signal it sends can only be asked
//! for by the child itself, between fork and exec. Rust calls code there unsafe, hence a program of its own: it asks,
//! and becomes the program it was given; what was asked for outlives exec.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

const USAGE: &str = "usage: leash [--parent PID] -- program args…";

/// What the command line asks for.
struct Order {
    parent: Option<i32>,
    program: OsString,
    args: Vec<OsString>,
}

fn main() -> ExitCode {
    // Only a failure comes back.
    let complaint = match parse(env::args_os().skip(1)) {
        Some(order) => run(&order),
        None => USAGE.to_owned(),
    };
    eprintln!("leash: {complaint}");
    // As a shell says it: the program could not be run.
    ExitCode::from(126)
}

fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Order> {
    let mut word = words.next()?;
    let mut parent = None;
    if word == "--parent" {
        parent = Some(words.next()?.to_str()?.parse().ok()?);
        word = words.next()?;
    }
    if word != "--" {
        return None;
    }
    Some(Order {
        parent,
        program: words.next()?,
        args: words.collect(),
    })
}

/// Becomes the program; says what went wrong if it could not.
#[cfg(unix)]
fn run(order: &Order) -> String {
    use std::os::unix::process::CommandExt as _;

    if let Err(error) = hold(order.parent) {
        return error;
    }
    let error = std::process::Command::new(&order.program).args(&order.args).exec();
    format!("{} cannot be run: {error}", order.program.display())
}

#[cfg(target_os = "linux")]
fn hold(parent: Option<i32>) -> Result<(), String> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    let before = getppid().map(rustix::process::Pid::as_raw_pid);
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("the parent-death signal cannot be set: {error}"))?;
    // A parent that died before the signal was set sends none; whoever adopted us shows that it did.
    let now = getppid().map(rustix::process::Pid::as_raw_pid);
    if now != parent.or(before) {
        return Err("the parent is gone already".to_owned());
    }
    Ok(())
}

/// Elsewhere nothing ends the program but its parent's own tidiness.
#[cfg(all(unix, not(target_os = "linux")))]
#[allow(clippy::unnecessary_wraps)] // it has the signature of its Linux twin
fn hold(_parent: Option<i32>) -> Result<(), String> {
    Ok(())
}
