//! Log lines, to standard output. What the libraries log at their lowest levels may hold headers and bodies with secrets:
//! the operator's own level can be set as low as one likes, theirs stays at warnings.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Begins to log. A second call changes nothing.
pub fn init(level: LevelFilter, json: bool) {
    let libraries = level.min(LevelFilter::WARN);
    let targets = Targets::new()
        .with_default(libraries)
        .with_target("compliance_partner_operator", level)
        .with_target("audit", level.max(LevelFilter::INFO));
    let registry = tracing_subscriber::registry().with(targets);
    let done = if json {
        registry
            .with(tracing_subscriber::fmt::layer().json().flatten_event(true))
            .try_init()
    } else {
        registry
            .with(tracing_subscriber::fmt::layer().with_ansi(false))
            .try_init()
    };
    // Only a second subscriber in one process is refused, and then there is one already.
    drop(done);
}
