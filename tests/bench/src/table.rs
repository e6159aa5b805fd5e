//! The one table.

use std::fmt;

use crate::machine::Machine;
use crate::settings::GOAL_RESOURCES;

/// One figure, beside its goal where it has one.
pub(crate) struct Row {
    what: String,
    measured: String,
    goal: Option<(String, bool)>,
}

impl Row {
    /// A figure without a goal: it says how another one comes about.
    pub(crate) fn plain(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            measured: measured.into(),
            goal: None,
        }
    }

    /// A figure, what it should be, and whether it is.
    pub(crate) fn goal(
        what: impl Into<String>,
        measured: impl Into<String>,
        goal: impl Into<String>,
        met: bool,
    ) -> Self {
        Self {
            goal: Some((goal.into(), met)),
            ..Self::plain(what, measured)
        }
    }
}

/// See the module.
pub(crate) struct Table {
    /// Where the figures come from.
    pub(crate) machine: Machine,
    /// How many resources stand for the thousand.
    pub(crate) resources: usize,
    /// The figures.
    pub(crate) rows: Vec<Row>,
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells: Vec<[String; 4]> = self
            .rows
            .iter()
            .map(|row| {
                let (goal, verdict) = match &row.goal {
                    None => (String::new(), ""),
                    Some((goal, met)) => (goal.clone(), if *met { "met" } else { "missed" }),
                };
                [row.what.clone(), row.measured.clone(), goal, verdict.to_owned()]
            })
            .collect();
        let heads = ["figure", "measured", "goal", ""].map(str::to_owned);
        let widths = [0, 1, 2, 3].map(|column| {
            let width = |cells: &[String; 4]| cells.get(column).map_or(0, |cell| cell.chars().count());
            cells.iter().chain([&heads]).map(width).max().unwrap_or_default().max(3)
        });
        let line = |formatter: &mut fmt::Formatter<'_>, cells: &[String; 4]| {
            for (cell, width) in cells.iter().zip(widths) {
                write!(formatter, "| {cell:width$} ")?;
            }
            writeln!(formatter, "|")
        };
        line(formatter, &heads)?;
        line(formatter, &widths.map(|width| "-".repeat(width)))?;
        for row in &cells {
            line(formatter, row)?;
        }
        writeln!(formatter, "\n{}", self.machine)?;
        if self.resources != GOAL_RESOURCES {
            writeln!(
                formatter,
                "\nWith {} resources in the place of {GOAL_RESOURCES}: the goals are not for these figures.",
                self.resources
            )?;
        }
        Ok(())
    }
}
