//! What a program of many steps tells whoever watches it, and how it is interrupted.

use std::io::Write as _;
use std::time::Instant;

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What happens, and when.
pub struct Story(Instant);

impl Story {
    /// It begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// One line for a step that is done.
    pub fn step(&self, what: &str) {
        say(&format!("[{:5.1}s] {what}", self.0.elapsed().as_secs_f32()));
    }
}

/// What there is to see of a step, indented.
pub fn tell(text: &str) {
    for line in text.trim_end().lines() {
        say(format!("         {line}").trim_end());
    }
}

/// A reader who has gone away stops nothing.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Ctrl-c, a terminal that is closed, or a polite kill.
pub struct Interrupt([Signal; 3]);

impl Interrupt {
    /// From now on none of them ends this process.
    ///
    /// # Errors
    /// If the system takes no handler.
    pub fn new() -> Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [first, second, third] = kinds.map(signal);
        Ok(Self([first?, second?, third?]))
    }

    /// Comes back when one of them has come.
    pub async fn received(&mut self) {
        let [first, second, third] = &mut self.0;
        tokio::select! {
            _ = first.recv() => {}
            _ = second.recv() => {}
            _ = third.recv() => {}
        }
    }
}
