//! The steps of a connection's pass, as those of `passes.rs`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::operator::{Session, Shared, World};
use super::passes::{list, meanwhile};
use crate::api::reason::{Pair, Reason};
use crate::connection::sessions::State;
use crate::connection::{ConnectionVerdict, Purpose, Told, due_polls, next_status, settle, shortest_interval, tell};
use crate::graph::listing::Listing;
use crate::partner::status::{self, Judgement};
use crate::runtime::object::{Connection, Key, ObjectKey, Written};
use crate::runtime::queue::Lane;
use crate::runtime::write::NotWritten;

/// One pass of a connection.
pub(super) async fn reconcile_connection(world: &Shared, key: &ObjectKey, lane: Lane) {
    let open = open(&mut world.borrow_mut(), key);
    let Some((object, before, session)) = open else {
        return;
    };
    let began = world.borrow().instant();
    let (verdict, retry_after, listing) = match list(world, &session, began).await {
        Ok(listing) => (connected(), None, Some(listing)),
        Err(trouble) => {
            let Told {
                reason,
                message,
                retry_after,
            } = tell(&trouble, None, Purpose::Read);
            (ConnectionVerdict { reason, message }, retry_after, None)
        }
    };
    let written = write_connection(world, &object, &verdict, listing.as_deref()).await;
    let mut world = world.borrow_mut();
    let timing = world.timing;
    let now = world.instant();
    let random = world.random.f64();
    let shortest = shortest_interval(&world.process.index.lock(), key, &timing);
    let state = world.process.sessions.get_mut(key).map(|(state, _)| state);
    let state = state.filter(|state| state.uid == object.uid);
    let wait = state.and_then(|state| settle(&timing, state, &verdict, retry_after, shortest, (now, random)));
    let triggers = if lane == Lane::Edit || before.as_ref() != Some(&verdict) {
        world.process.index.lock().around_connection(key)
    } else if let Some(listing) = listing {
        let jitter = world.process.sessions.get(key).map_or(1.0, |(state, _)| state.jitter);
        let index = world.process.index.lock();
        due_polls(&index, key, listing.began, jitter, shortest, &timing)
    } else {
        Vec::new()
    };
    world.push_all(&triggers);
    if let Some(wait) = wait {
        world.schedule(Key::Connection(key.clone()), Lane::Bulk, began + wait);
    }
    if written.is_err() {
        let soon = now + timing.backoff;
        world.schedule(Key::Connection(key.clone()), Lane::Bulk, soon);
    }
}

fn connected() -> ConnectionVerdict {
    ConnectionVerdict {
        reason: Reason::Connected,
        message: "Connected.".to_owned(),
    }
}

fn open(world: &mut World, key: &ObjectKey) -> Option<(Connection, Option<ConnectionVerdict>, Rc<Session>)> {
    let object = {
        let index = world.process.index.lock();
        index.connection(key).map(|entry| (*entry.object).clone())
    };
    let Some(object) = object else {
        world.process.sessions.remove(key);
        return None;
    };
    if world.session_of(&object).is_none() {
        let session = Session {
            connection: key.clone(),
            tenant: object.spec.tenant_id.clone(),
            listing: RefCell::default(),
            budget: RefCell::default(),
        };
        let state = State::new(&object, None, world.random.f64());
        world.process.sessions.insert(key.clone(), (state, Rc::new(session)));
    }
    let (state, session) = world.process.sessions.get(key)?;
    Some((object, state.verdict.clone(), Rc::clone(session)))
}

async fn write_connection(
    world: &Shared,
    object: &Connection,
    verdict: &ConnectionVerdict,
    listing: Option<&Listing>,
) -> Result<(), NotWritten> {
    let (previous, next) = {
        let world = world.borrow();
        let index = world.process.index.lock();
        let entry = index.connection(&object.key).filter(|it| it.object.uid == object.uid);
        let previous = entry.map_or(&object.status, |it| it.object.newest_status(it.written.as_ref()));
        let since = world
            .process
            .sessions
            .get(&object.key)
            .and_then(|(state, _)| state.trouble_since);
        let trouble = since.map_or(Duration::ZERO, |since| world.instant().saturating_duration_since(since));
        let judgement = Judgement {
            generation: object.generation,
            reason: verdict.reason,
            message: verdict.message.clone(),
            applied: status::applied(&previous.conditions, object.generation, trouble, &world.timing),
            connection_pair: Pair::Neither,
        };
        let next = next_status(previous, object, &judgement, None, listing, world.now());
        (previous.clone(), next)
    };
    if next == previous {
        return Ok(());
    }
    meanwhile().await;
    let written = world.borrow_mut().kubernetes.write_connection(object, &next);
    meanwhile().await;
    let Some(written): Option<Written<_>> = written? else {
        return Ok(());
    };
    let mut world = world.borrow_mut();
    world.kubernetes.unanswered.remove(&Key::Connection(object.key.clone()));
    let mut index = world.process.index.lock();
    let entry = index.connection_mut(&object.key);
    if let Some(entry) = entry.filter(|entry| entry.object.uid == object.uid) {
        entry.written = Some(written);
        entry.object.catch_up(&mut entry.written);
    }
    Ok(())
}
