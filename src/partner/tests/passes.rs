//! The steps of a pass in the driver's order, on the driver's own decisions. Wherever the driver waits for somebody, a pass
//! here waits too, and anything may happen meanwhile.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use super::operator::{Secret, Session, Shared, World};
use crate::api::connection::Cloud;
use crate::api::partner::ComplianceManagementPartnerStatus;
use crate::api::reason::Reason;
use crate::connection::{ConnectionVerdict, Purpose, sync_interval};
use crate::graph::error::{Failure, FailureKind, TokenFailure, TokenFailureKind};
use crate::graph::listing::Listing;
use crate::graph::model::{self, Patch};
use crate::graph::session::{CredentialFailure, Trouble};
use crate::graph::throttle::{Decision, Kind, Priority};
use crate::partner::apply::{Claim, Sent, Step, check, claim, decide, found, unless_lost, was_taken, with};
use crate::partner::claim::ObjectId;
use crate::partner::observe::{Observed, as_named, from_listing, no_such, only, told};
use crate::partner::plan::Plan;
use crate::partner::resolve::{Known, Way, way};
use crate::partner::status::{self, Binding};
use crate::partner::{Finding, Moment, Pass, begin, due, held, judge, keep, remember, report};
use crate::runtime::index::{Trigger, connection_of};
use crate::runtime::object::{Key, ObjectKey, Partner};
use crate::runtime::queue::Lane;
use crate::runtime::write::NotWritten;

/// Anything may happen here.
pub(super) async fn meanwhile() {
    let waited = Cell::new(false);
    poll_fn(|_| {
        if waited.replace(true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Where a pass goes on.
struct Target {
    session: Rc<Session>,
    trouble: Option<ConnectionVerdict>,
    enforce: bool,
}

/// One pass of a partner.
pub(super) async fn reconcile(world: &Shared, key: &ObjectKey, lane: Lane) {
    let (began, pass) = {
        let world = world.borrow();
        let pass = begin(&world.process.index.lock(), key);
        (world.instant(), pass)
    };
    let Some(mut pass) = pass else { return };
    if let Some(until) = held(&pass, lane, began) {
        world.borrow_mut().schedule(Key::Partner(key.clone()), lane, until);
        return;
    }
    world.borrow_mut().claims.pass_began(&pass.object);
    if let Some(finding) = run(world, &mut pass).await {
        finish(world, pass, finding, began).await;
    }
}

async fn run(world: &Shared, pass: &mut Pass) -> Option<Finding> {
    let target = match resolve(&world.borrow(), pass) {
        Ok(target) => target?,
        Err(finding) => return Some(*finding),
    };
    let seen = match observe(world, pass, &target).await {
        Ok(seen) => seen,
        Err(finding) => {
            let bound = pass.status.partner_id.as_ref();
            let bound = bound.map(|id| ObjectId::new(Cloud::Global.name(), &target.session.tenant, id));
            let claim = |pass: &Pass, bound: &ObjectId| claim(&world.borrow().process.index.lock(), pass, bound);
            return Some(unless_lost(pass, target.enforce, bound.as_ref(), *finding, claim));
        }
    };
    let bound = ObjectId::new(&seen.binding.cloud, &seen.binding.tenant, &seen.binding.id);
    let wanted = &pass.object.spec.partner_ref.display_name;
    let was_bound = pass.status.partner_id.as_ref();
    if wanted.is_some() && was_bound.is_none_or(|id| !id.eq_ignore_ascii_case(&seen.row.id)) {
        assert_eq!(*wanted, seen.row.display_name, "bound to an object of another name");
    }
    {
        let mut world = world.borrow_mut();
        world.claims.bound(&pass.object, &bound);
        let triggers = world
            .process
            .index
            .lock()
            .bind(&pass.object.key, &pass.object.uid, &bound);
        world.push_all(&triggers);
    }
    apply(world, pass, &target, seen, &bound).await
}

fn resolve(world: &World, pass: &Pass) -> Result<Option<Target>, Box<Finding>> {
    let connection = world.connection_used_by(&pass.object);
    let enforce = world.process.index.lock().enforces(&pass.object);
    let open = connection.as_ref().and_then(|connection| world.session_of(connection));
    let known = Known {
        exists: connection.is_some(),
        verdict: open.and_then(|(state, _)| state.verdict.clone()),
        leads_to: open.map(|(_, session)| (Cloud::Global.name(), session.tenant.clone())),
    };
    match (way(pass, known), open) {
        (Way::Go(trouble), Some((_, session))) => Ok(Some(Target {
            session: Rc::clone(session),
            trouble,
            enforce,
        })),
        (Way::Stop(finding), _) => Err(finding),
        (Way::Go(_) | Way::Wait, _) => Ok(None),
    }
}

async fn observe(world: &Shared, pass: &mut Pass, target: &Target) -> Result<Observed, Box<Finding>> {
    let began = world.borrow().instant();
    let id = match (&pass.status.partner_id, &pass.object.spec.partner_ref.id) {
        (Some(bound), _) => bound.clone(),
        (None, Some(id)) => id.clone(),
        (None, None) => look_up(world, pass, target, began).await?,
    };
    if !pass.edit {
        let listing = target.session.listing.borrow().clone();
        let listing = listing.filter(|_| target.trouble.is_none());
        let (rules, now) = {
            let world = world.borrow();
            (world.config.heartbeat, (world.now(), world.instant()))
        };
        if let Some(row) = from_listing(pass, listing.as_deref(), &id, rules, now)? {
            let listing = listing.expect("there is a row");
            world.borrow().claims.goes_by(&pass.object, &listing);
            return Ok(observed(world, pass, target, row, false));
        }
        if let Some(trouble) = &target.trouble {
            return Err(Box::new(Finding::new(trouble.reason, trouble.message.clone())));
        }
    }
    pass.memory.read_at = Some(began);
    match get(world, &target.session, &id).await {
        Ok(row) => Ok(observed(world, pass, target, as_named(pass, &id, row)?, true)),
        Err(Trouble::Graph(failure)) if failure.kind == FailureKind::NotFound => {
            not_found(world, pass, target, &id, began).await
        }
        Err(trouble) => Err(finding(world, pass, &trouble, target, Purpose::Read)),
    }
}

fn observed(world: &Shared, pass: &Pass, target: &Target, row: model::Partner, fresh: bool) -> Observed {
    world.borrow_mut().claims.row_seen(&pass.object, &row);
    let binding = Binding {
        cloud: Cloud::Global.name().to_owned(),
        tenant: target.session.tenant.clone(),
        id: row.id.clone(),
    };
    Observed { row, binding, fresh }
}

async fn look_up(world: &Shared, pass: &Pass, target: &Target, began: Instant) -> Result<String, Box<Finding>> {
    let name = pass.object.spec.partner_ref.display_name.clone().unwrap_or_default();
    let not_before = if pass.edit { began } else { pass.seen_at };
    match list(world, &target.session, not_before).await {
        Ok(listing) => only(listing.named(&name)),
        Err(trouble) => Err(finding(world, pass, &trouble, target, Purpose::Read)),
    }
}

async fn not_found(
    world: &Shared,
    pass: &mut Pass,
    target: &Target,
    id: &str,
    began: Instant,
) -> Result<Observed, Box<Finding>> {
    let by_name = pass.object.spec.partner_ref.display_name.is_some();
    if by_name && pass.status.partner_id.is_some() {
        let found = look_up(world, pass, target, began).await?;
        if !found.eq_ignore_ascii_case(id) {
            let row = match get(world, &target.session, &found).await {
                Ok(row) => row,
                Err(trouble) => return Err(finding(world, pass, &trouble, target, Purpose::Read)),
            };
            let row = as_named(pass, &found, row)?;
            pass.deeds.rebound_from = Some(id.to_owned());
            return Ok(observed(world, pass, target, row, true));
        }
    }
    Err(no_such(id))
}

fn finding(world: &Shared, pass: &Pass, trouble: &Trouble, target: &Target, purpose: Purpose) -> Box<Finding> {
    let (finding, of_connection) = told(trouble, None, purpose);
    if of_connection && target.trouble.is_none() {
        let key = Key::Connection(connection_of(&pass.object));
        world.borrow_mut().push_all(&[Trigger { key, lane: Lane::Bulk }]);
    }
    Box::new(finding)
}

async fn apply(
    world: &Shared,
    pass: &mut Pass,
    target: &Target,
    mut seen: Observed,
    bound: &ObjectId,
) -> Option<Finding> {
    let grace = world.borrow().timing.grace.len();
    let mut lost: Option<Plan> = None;
    loop {
        let claim = |pass: &Pass| claim(&world.borrow().process.index.lock(), pass, bound);
        match decide(pass, target.enforce, &seen, claim, grace) {
            Step::End(finding) => return Some(*finding),
            Step::Outdated => return None,
            Step::Send(todo) => match send(world, pass, target, &seen, &todo, bound).await {
                Sent::Ended(finding) => return finding.map(|finding| *finding),
                Sent::Lost(finding) if lost.is_some() => return Some(*finding),
                Sent::Lost(_) => lost = Some(todo),
            },
            Step::ReadAnew => {}
        }
        pass.memory.read_at = Some(world.borrow().instant());
        seen = match get(world, &target.session, &seen.binding.id).await {
            Ok(row) => observed(world, pass, target, row, true),
            Err(trouble) => {
                return Some(with(
                    *finding(world, pass, &trouble, target, Purpose::Read),
                    &seen,
                    None,
                ));
            }
        };
        let now = world.borrow().instant();
        let done = lost.as_ref().and_then(|sent| found(pass, &seen, sent, now, grace));
        if done.is_some() {
            return done;
        }
    }
}

async fn send(
    world: &Shared,
    pass: &mut Pass,
    target: &Target,
    before: &Observed,
    todo: &Plan,
    bound: &ObjectId,
) -> Sent {
    assert!(before.fresh, "a change on the word of a listing");
    let ended = |finding| Sent::Ended(Some(Box::new(finding)));
    let lock = world.borrow().process.writers.of(bound);
    let Ok(_writing) = lock.try_lock() else {
        let _ = lock.lock().await;
        let key = Key::Partner(pass.object.key.clone());
        world.borrow_mut().push_all(&[Trigger { key, lane: Lane::Edit }]);
        return Sent::Ended(None);
    };
    let id = before.binding.id.clone();
    match patch(world, pass, &target.session, &id, todo, bound).await {
        Ok(()) => {}
        Err(Trouble::Superseded) => return Sent::Ended(None),
        Err(trouble) => {
            let finding = finding(world, pass, &trouble, target, Purpose::Write);
            return Sent::failed(pass, before, &trouble, *finding);
        }
    }
    let waiting = was_taken(pass, todo, world.borrow().instant());
    let row = match get(world, &target.session, &id).await {
        Ok(row) => row,
        Err(trouble) => {
            return ended(with(
                *finding(world, pass, &trouble, target, Purpose::Read),
                before,
                None,
            ));
        }
    };
    let after = observed(world, pass, target, row, true);
    let grace = world.borrow().config.timing.grace.len();
    ended(check(pass, &after, waiting, todo, grace))
}

/// One request, as a session makes it: the credential first, then the budget, then whether it is still wanted.
async fn request<T>(
    world: &Shared,
    session: &Session,
    kind: Kind,
    may: impl FnOnce(&World) -> bool,
    call: impl FnOnce(&mut World) -> Result<T, Failure>,
) -> Result<T, Trouble> {
    meanwhile().await;
    let result = {
        let mut world = world.borrow_mut();
        match world.secrets.get(&session.connection).copied().unwrap_or_default() {
            Secret::Good => {}
            Secret::Missing => {
                let why = "Secret graph does not exist: create it.".to_owned();
                return Err(Trouble::Credential(CredentialFailure::NotFound(why)));
            }
            Secret::Refused => {
                let kind = TokenFailureKind::Rejected;
                return Err(Trouble::Token(TokenFailure {
                    kind,
                    ..TokenFailure::unavailable("Entra refuses the secret.")
                }));
            }
        }
        let now = world.instant();
        match session.budget.borrow_mut().decide(kind, Priority::Edit, now) {
            Decision::Go => {}
            Decision::Wait(_) => panic!("more requests than anybody needs"),
            Decision::Closed(left) => {
                let failure = Failure {
                    kind: FailureKind::Throttled,
                    retry_after: Some(left),
                    ..Failure::unavailable("Microsoft asked for a pause")
                };
                return Err(Trouble::Graph(failure));
            }
        }
        if !may(&world) {
            session.budget.borrow_mut().strike(kind);
            return Err(Trouble::Superseded);
        }
        let answer = call(&mut world);
        session.budget.borrow_mut().end(kind, now);
        let tenant = world.tenant(&session.tenant);
        if tenant.loses > 0 {
            tenant.loses -= 1;
            Err(Failure::lost("the connection was reset"))
        } else {
            answer
        }
    };
    meanwhile().await;
    if let Err(Failure {
        retry_after: Some(wait),
        ..
    }) = &result
    {
        session.budget.borrow_mut().close(world.borrow().instant(), *wait);
    }
    result.map_err(Trouble::Graph)
}

async fn get(world: &Shared, session: &Session, id: &str) -> Result<model::Partner, Trouble> {
    let call = |world: &mut World| world.tenant(&session.tenant).get(id);
    request(world, session, Kind::Read, |_| true, call).await
}

pub(super) async fn list(world: &Shared, session: &Session, not_before: Instant) -> Result<Arc<Listing>, Trouble> {
    let last = session.listing.borrow().clone();
    if let Some(listing) = last.filter(|listing| listing.began >= not_before) {
        return Ok(listing);
    }
    let began = world.borrow().instant();
    let call = |world: &mut World| world.tenant(&session.tenant).list();
    let rows = request(world, session, Kind::Read, |_| true, call).await?;
    let listing = Arc::new(Listing::new(began, rows.into_values()));
    *session.listing.borrow_mut() = Some(Arc::clone(&listing));
    Ok(listing)
}

async fn patch(
    world: &Shared,
    pass: &Pass,
    session: &Session,
    id: &str,
    todo: &Plan,
    bound: &ObjectId,
) -> Result<(), Trouble> {
    let may = |world: &World| {
        let current = world.connection_used_by(&pass.object);
        let current = current.is_some_and(|connection| world.session_of(&connection).is_some());
        current && matches!(claim(&world.process.index.lock(), pass, bound), Claim::Held)
    };
    let in_flight = Rc::new(RefCell::new(None));
    let call = |world: &mut World| {
        *in_flight.borrow_mut() = Some(world.claims.sent(&pass.object, bound, todo));
        let (now, patch): (_, Patch) = (world.elapsed, todo.patch());
        world.tenant(&session.tenant).patch(id, &patch, now)
    };
    request(world, session, Kind::Write, may, call).await?;
    world.borrow_mut().claims.answered(&pass.object, todo);
    Ok(())
}

async fn finish(world: &Shared, mut pass: Pass, finding: Finding, began: Instant) {
    let (now, config) = {
        let world = world.borrow();
        (world.now(), world.config.clone())
    };
    let trouble = remember(&mut pass, &finding, began);
    let generation = pass.object.generation;
    let applied = status::applied(&pass.status.conditions, generation, trouble, &config.timing);
    let next = judge(config.heartbeat, &pass, &finding, applied, now);
    let written = if next == pass.status {
        Ok(())
    } else {
        write_status(world, &mut pass, &next).await
    };
    if written.is_ok() {
        let _ = report::notices(&pass.status, &next, &pass.deeds);
    }
    let mut world = world.borrow_mut();
    let moment = Moment {
        now,
        instant: world.instant(),
        random: world.random.f64(),
    };
    let due = due(&config, &mut pass, &finding, (applied, trouble), written, moment);
    let key = pass.object.key.clone();
    let lane = if pass.edit { Lane::Edit } else { Lane::Bulk };
    let object = Arc::clone(&pass.object);
    let new_generation = pass.status.observed_generation != Some(generation);
    world.claims.pass_ended(&object, pass.memory.read_at);
    if written.is_ok() {
        world.behind.remove(&key);
    } else {
        world.behind.insert(key.clone());
    }
    keep(&mut world.process.index.lock(), &mut pass);
    if let Some(due) = due {
        world.schedule(Key::Partner(key), lane, moment.instant + due);
    }
    if new_generation {
        pace(&mut world, &object);
    }
}

async fn write_status(
    world: &Shared,
    pass: &mut Pass,
    next: &ComplianceManagementPartnerStatus,
) -> Result<(), NotWritten> {
    meanwhile().await;
    let written = world.borrow_mut().kubernetes.write_partner(&pass.object, next);
    meanwhile().await;
    if let Some(written) = written? {
        pass.memory.write_backoff.reset();
        pass.memory.written = Some(written);
        let key = Key::Partner(pass.object.key.clone());
        world.borrow_mut().kubernetes.unanswered.remove(&key);
    }
    Ok(())
}

fn pace(world: &mut World, partner: &Partner) {
    let Some(connection) = world.connection_used_by(partner) else {
        return;
    };
    let Some((state, session)) = world.session_of(&connection) else {
        return;
    };
    let connected = state.verdict.as_ref().is_some_and(|it| it.reason == Reason::Connected);
    let listed = session.listing.borrow().as_ref().map(|listing| listing.began);
    if let (true, Some(listed)) = (connected && partner.spec.suspend != Some(true), listed) {
        let interval = sync_interval(&world.timing, partner.spec.sync_interval.as_deref());
        let due = listed + interval.mul_f64(state.jitter);
        world.schedule(Key::Connection(connection.key), Lane::Bulk, due);
    }
}
