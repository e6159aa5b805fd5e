//! From the API server's answer to an edit to the arrival of the PATCH at Graph, less the time that Graph took for the
//! read before it. Both ends are in this process, so there is one clock.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use compliance_partner_operator::api::ComplianceManagementPartner;
use graph_simulator::Request;
use harness::{PATIENCE, wait_for};
use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::audit::{Asked, Audit};
use crate::bed::Bed;
use crate::figures::percentile;
use crate::fleet::{Fleet, LIMIT, Member};
use crate::operator::Operator;
use crate::settings::Settings;
use crate::table::Row;

/// Edits that are measured.
const EDITS: usize = 200;

/// So many connections share them: a tenant's budget is 100 changes in 20 seconds, and is not what is measured.
const TENANTS: usize = 8;

/// The time from one edit to the next, so that the API server has time for each and for what follows from it.
const PACE: Duration = Duration::from_millis(50);

/// Starts of the operator with new others, before it is given up that the edits fit in.
const MOST_ROUNDS: usize = 60;

/// One edit, on its way.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// From the answer to the edit to the arrival of the read, in milliseconds.
    to_read: f64,
    /// From Graph's answer to the read to the arrival of the PATCH, in milliseconds.
    to_patch: f64,
    /// When the PATCH arrived.
    arrived: Timestamp,
}

/// While a thousand resources in sync are polled each second.
pub(crate) async fn while_resyncing(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::new(settings).await?;
    let edited = Fleet::new(&bed, "edited", TENANTS, EDITS / TENANTS).await?;
    let others = Fleet::new(&bed, "others", 1, settings.resources).await?;
    edited.create().await?;
    others.create().await?;
    let mut audit = Audit::follow(&bed.plane)?;
    let operator = Operator::start(&bed, &["--sync-interval", "1s"]).await?;
    edited.until_written(&mut audit).await?;
    others.until_written(&mut audit).await?;
    let from = bed.graph().last_seq();
    let listed = move |request: &Request| request.seq > from && request.is_list();
    bed.graph().wait_for_requests(listed, 2 * TENANTS, PATIENCE).await?;

    let mut editor = Editor::new(&bed, &edited);
    let ways = editor.edit(EDITS, async || Ok(true)).await;
    let ways = ways.with_context(|| operator.log_tail())?;
    operator.stop().await?;
    let what = format!(
        "edit to PATCH on the wire, while {} in sync are polled each second",
        others.len()
    );
    Ok(rows(&what, &ways, 5.0, 15.0))
}

/// While a thousand others get their first status: as many starts as it takes, each with others that are new.
pub(crate) async fn while_written_first(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::new(settings).await?;
    let edited = Fleet::new(&bed, "edited", TENANTS, EDITS / TENANTS).await?;
    let others = Fleet::new(&bed, "others", 1, settings.resources).await?;
    edited.create().await?;
    let mut audit = Audit::follow(&bed.plane)?;
    let operator = Operator::start(&bed, &[]).await?;
    edited.until_written(&mut audit).await?;
    operator.stop().await?;

    let mut editor = Editor::new(&bed, &edited);
    let mut ways = Vec::new();
    let mut round = 0;
    while ways.len() < EDITS {
        round += 1;
        ensure!(
            round <= MOST_ROUNDS,
            "only {} edits fell in the time while others were written",
            ways.len()
        );
        others.create().await?;
        let mut audit = Audit::follow(&bed.plane)?;
        let operator = Operator::start(&bed, &[]).await?;
        let first = |asked: &Asked| asked.is_partner_status(&others.namespace);
        let begun = wait_for("the first statuses of others", LIMIT, async || {
            let written = audit.of(first)?.len();
            ensure!(written * 20 >= others.len(), "{written}");
            Ok::<_, anyhow::Error>(())
        });
        begun.await.with_context(|| operator.log_tail())?;
        let taken = editor
            .edit(EDITS - ways.len(), async || Ok(audit.of(first)?.len() < others.len()))
            .await;
        let taken = taken.with_context(|| operator.log_tail())?;
        others.until_written(&mut audit).await?;
        operator.stop().await?;
        let end = audit
            .of(first)?
            .iter()
            .map(|asked| asked.answered)
            .max()
            .unwrap_or_default();
        ways.extend(taken.into_iter().filter(|way| way.arrived <= end));
        others.delete().await?;
    }
    let what = format!(
        "edit to PATCH on the wire, while {} others get their first status ({round} starts)",
        others.len()
    );
    Ok(rows(&what, &ways, 10.0, 30.0))
}

fn rows(what: &str, ways: &[Way], middle: f64, worst: f64) -> Vec<Row> {
    let of = |part: fn(&Way) -> f64| {
        let values: Vec<f64> = ways.iter().map(part).collect();
        (percentile(&values, 0.5), percentile(&values, 0.99))
    };
    let (p50, p99) = of(|way| way.to_read + way.to_patch);
    let (read, patch) = (of(|way| way.to_read), of(|way| way.to_patch));
    vec![
        Row::goal(
            format!("{what}: p50 of {} edits", ways.len()),
            format!("{p50:.1} ms"),
            format!("≤ {middle:.0} ms"),
            p50 <= middle,
        ),
        Row::goal(
            "– p99",
            format!("{p99:.1} ms"),
            format!("≤ {worst:.0} ms"),
            p99 <= worst,
        ),
        Row::plain(
            "– the API server's answer to the read at Graph, and Graph's answer to the PATCH: p50 (p99)",
            format!("{:.1} ({:.1}) and {:.1} ({:.1}) ms", read.0, read.1, patch.0, patch.1),
        ),
    ]
}

/// Edits resources in turn.
struct Editor<'a> {
    bed: &'a Bed,
    partners: Api<ComplianceManagementPartner>,
    members: Vec<Member>,
    /// Edits so far. Each round over all members changes the same field to the other value.
    edits: usize,
}

impl<'a> Editor<'a> {
    fn new(bed: &'a Bed, fleet: &Fleet<'_>) -> Self {
        // Neighbours belong to different connections.
        let mut members = fleet.members();
        members.sort_by_key(|member| (member.number, member.tenant.clone()));
        Self {
            bed,
            partners: fleet.partners(),
            members,
            edits: 0,
        }
    }

    /// Makes `count` edits at a pace, or fewer where `goes_on` says so; follows each to Graph.
    async fn edit(&mut self, count: usize, mut goes_on: impl AsyncFnMut() -> Result<bool>) -> Result<Vec<Way>> {
        // Of a member that is edited twice, one PATCH would be taken for the other.
        let count = count.min(self.members.len());
        let from = self.bed.graph().last_seq();
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answers = JoinSet::new();
        while answers.len() < count && goes_on().await? {
            pace.tick().await;
            let lap = self.edits / self.members.len();
            let member = self
                .members
                .get(self.edits % self.members.len())
                .context("nobody to edit")?
                .clone();
            self.edits += 1;
            let partners = self.partners.clone();
            answers.spawn(async move {
                let spec = json!({"spec": {"iosOnboarded": lap % 2 == 1}});
                let edited = partners
                    .patch(&member.name, &PatchParams::default(), &Patch::Merge(spec))
                    .await;
                let answered = Instant::now();
                edited.map(|_| (member, answered))
            });
        }
        let mut ways = Vec::new();
        while let Some(answer) = answers.join_next().await {
            let (member, answered) = answer?.context("an edit was refused")?;
            ways.push(self.follow(from, &member, answered).await?);
        }
        Ok(ways)
    }

    /// Waits for the PATCH of a member's row, and measures the way to it.
    async fn follow(&self, from: u64, member: &Member, answered: Instant) -> Result<Way> {
        let graph = self.bed.graph();
        let row = member.row.clone();
        let of_row = move |request: &Request| request.seq > from && request.is_graph() && request.path.ends_with(&row);
        let patch_of_row = {
            let of_row = of_row.clone();
            move |request: &Request| of_row(request) && request.is_patch()
        };
        let patches = graph.wait_for_requests(patch_of_row, 1, PATIENCE).await;
        let patches = patches.with_context(|| format!("the PATCH of {}", member.name))?;
        let patch = patches.first().context("no PATCH")?;
        let reads = graph.requests_where(|request| of_row(request) && request.is_get() && request.seq < patch.seq);
        let read = reads.last().context("a PATCH without a read before it")?;
        let took = read.duration_micros.context("a PATCH before the read was answered")?;

        let at = |micros: u64| graph.started() + Duration::from_micros(micros);
        Ok(Way {
            to_read: signed_millis(answered, at(read.at_micros)),
            to_patch: signed_millis(at(read.at_micros + took), at(patch.at_micros)),
            arrived: Timestamp::now() - SignedDuration::try_from(at(patch.at_micros).elapsed())?,
        })
    }
}

/// The milliseconds from one moment to another one, which may be the earlier: a watch may be faster than an answer.
fn signed_millis(from: Instant, to: Instant) -> f64 {
    let ahead = to.saturating_duration_since(from).as_secs_f64();
    let behind = from.saturating_duration_since(to).as_secs_f64();
    (ahead - behind) * 1_000.0
}
