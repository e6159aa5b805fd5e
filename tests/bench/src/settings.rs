//! What is measured, and of which binary.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};

use crate::measure::Measure;

/// How many resources the goals speak of.
pub(crate) const GOAL_RESOURCES: usize = 1_000;

/// See the module.
pub(crate) struct Settings {
    /// The operator's binary.
    pub(crate) operator: PathBuf,
    /// How many resources stand for the thousand.
    pub(crate) resources: usize,
    only: Vec<String>,
}

impl Settings {
    /// From the environment.
    ///
    /// # Errors
    /// If a variable makes no sense, or there is no binary.
    pub(crate) fn from_environment() -> Result<Self> {
        let operator = match env::var_os("BENCH_OPERATOR") {
            Some(path) => PathBuf::from(path),
            None => env::current_exe()?.with_file_name("compliance-partner-operator"),
        };
        ensure!(
            operator.is_file(),
            "no operator at {}; `make build` makes it",
            operator.display()
        );
        let resources = match env::var("BENCH_RESOURCES") {
            Ok(number) => number.parse().context("BENCH_RESOURCES is no number")?,
            Err(_) => GOAL_RESOURCES,
        };
        ensure!(
            (10..=10_000).contains(&resources),
            "BENCH_RESOURCES is from 10 to 10000"
        );
        let only: Vec<String> = match env::var("BENCH_ONLY") {
            Ok(names) => names
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
            Err(_) => Vec::new(),
        };
        let settings = Self {
            operator,
            resources,
            only,
        };
        if !Measure::ALL.iter().any(|measure| settings.wants(*measure)) {
            let names = Measure::ALL.map(Measure::name).join(", ");
            bail!("BENCH_ONLY names none of: {names}");
        }
        Ok(settings)
    }

    /// Whether a measure is to be taken.
    pub(crate) fn wants(&self, measure: Measure) -> bool {
        if self.only.is_empty() {
            return measure.is_usual();
        }
        self.only.iter().any(|part| measure.name().contains(part.as_str()))
    }
}
