//! Waiting for a condition.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Short enough that nobody waits for the poll, long enough that two cores have something else to do.
const PACE: Duration = Duration::from_millis(25);

/// What one look at a condition can give: the awaited value, or what was seen in its place.
pub trait Observation {
    /// What is awaited.
    type Value;

    /// The awaited value, or words for what was seen in its place.
    ///
    /// # Errors
    /// If the condition does not hold yet.
    fn into_value(self) -> Result<Self::Value, String>;
}

impl<T> Observation for Option<T> {
    type Value = T;

    fn into_value(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Display> Observation for Result<T, E> {
    type Value = T;

    fn into_value(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:#}"))
    }
}

/// Looks until `look` gives a value, every 25 ms, for at most `limit`.
///
/// `look` may give an `Option`, or a `Result` whose error says what was seen in place of the awaited; so `?`, `context`
/// and `bail!` all mean "not yet".
///
/// # Errors
/// When time is up. The error names `what` and the last thing seen.
pub async fn wait_for<O: Observation>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> O,
) -> Result<O::Value> {
    let deadline = Instant::now() + limit;
    let mut seen = None;
    loop {
        let next = Instant::now() + PACE;
        match timeout_at(deadline, look()).await.map(Observation::into_value) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(other)) => seen = Some(other),
            Err(_) => {
                let seen = seen.as_deref().unwrap_or("nothing");
                bail!("waited {limit:?} in vain for {what}; the last look did not end, before it was seen: {seen}")
            }
        }
        if next >= deadline {
            let seen = seen.as_deref().unwrap_or("nothing");
            bail!("waited {limit:?} in vain for {what}; last seen: {seen}")
        }
        sleep_until(next).await;
    }
}
