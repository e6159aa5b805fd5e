//! Reading: the listing with its pages, and one row (FACTS 2.1).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::graph::error::Failure;
use crate::graph::{COLLECTION, Caller, not_found, properties};
use crate::incoming::Incoming;
use crate::log::ViolationKind;
use crate::model::find_property;
use crate::reply::Reply;
use crate::token::random_word;
use crate::world::{Endpoints, Page, World};

/// What the query of a read asks for.
#[derive(Default)]
struct Query {
    top: Option<usize>,
    skip_token: Option<String>,
    select: Option<Vec<String>>,
}

fn query(world: &mut World, seq: u64, request: &Incoming, one_row: bool) -> Result<Query, Failure> {
    let mut query = Query::default();
    for (name, value) in request.query_pairs() {
        match name.as_str() {
            "$select" => {
                let names: Vec<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
                if let Some(stranger) = names.iter().find(|name| find_property(name).is_none()) {
                    let sentence = format!(
                        "Could not find a property named '{stranger}' on type 'microsoft.graph.complianceManagementPartner'."
                    );
                    return Err(Failure::plain(400, "BadRequest", sentence));
                }
                query.select = Some(names);
            }
            "$top" if !one_row => {
                let top = value.parse::<usize>().ok().filter(|top| *top > 0);
                query.top = Some(top.ok_or_else(|| {
                    Failure::plain(
                        400,
                        "BadRequest",
                        format!("Invalid value '{value}' for $top query option."),
                    )
                })?);
            }
            "$skiptoken" if !one_row => query.skip_token = Some(value),
            _ => {
                world.violation(seq, ViolationKind::UnexpectedQuery, format!("query option {name}"));
                let sentence = format!("The query option '{name}' is not supported by the simulator.");
                return Err(Failure::plain(400, "BadRequest", sentence));
            }
        }
    }
    Ok(query)
}

/// The listing, or a further page of it.
pub(crate) fn list(
    world: &mut World,
    endpoints: &Endpoints,
    seq: u64,
    caller: &Caller,
    request: &Incoming,
) -> Result<Reply, Failure> {
    let query = query(world, seq, request, false)?;
    let (offset, size, select) = match &query.skip_token {
        None => {
            let most = world.settings.page_size;
            (0, query.top.map_or(most, |top| top.min(most)), query.select)
        }
        Some(mark) => {
            let page = world
                .pages
                .iter()
                .find(|page| page.mark == *mark && page.tenant == caller.tenant);
            let Some(page) = page else {
                world.violation(seq, ViolationKind::UnexpectedQuery, "a page that nobody was promised");
                return Err(Failure::plain(400, "BadRequest", "Skip token is invalid."));
            };
            (page.offset, page.size, page.select.clone())
        }
    };
    let rows = world
        .tenant(&caller.tenant)
        .map(|tenant| tenant.rows.as_slice())
        .unwrap_or_default();
    let page = rows.iter().skip(offset).take(size);
    let shown: Vec<Value> = page.map(|row| selected(row.value.clone(), select.as_deref())).collect();
    let more = offset + size < rows.len();
    let mut body = Map::new();
    let context = format!(
        "{}/v1.0/$metadata#deviceManagement/complianceManagementPartners",
        endpoints.public_graph
    );
    body.insert("@odata.context".to_owned(), json!(context));
    if more {
        let mark = random_word();
        body.insert(
            "@odata.nextLink".to_owned(),
            json!(format!("{}{COLLECTION}?$skiptoken={mark}", endpoints.public_graph)),
        );
        world.promise(Page {
            mark,
            tenant: caller.tenant.clone(),
            offset: offset + size,
            size,
            select,
        });
    }
    body.insert("value".to_owned(), Value::Array(shown));
    Ok(Reply::json(200, &Value::Object(body)))
}

/// One row.
pub(crate) fn get(
    world: &mut World,
    endpoints: &Endpoints,
    seq: u64,
    caller: &Caller,
    request: &Incoming,
    id: &str,
) -> Result<Reply, Failure> {
    let query = query(world, seq, request, true)?;
    let position = position(world, &caller.tenant, id).ok_or_else(|| not_found(id))?;
    let row = world
        .tenant_mut(&caller.tenant)
        .and_then(|tenant| tenant.rows.get_mut(position));
    let value = row.ok_or_else(|| not_found(id))?.read();
    Ok(Reply::json(200, &entity(endpoints, value, query.select.as_deref())))
}

/// Where the row with this key is (FACTS 2.5).
pub(crate) fn position(world: &World, tenant: &str, id: &str) -> Option<usize> {
    let ignore_case = world.settings.ids_ignore_case;
    let rows = &world.tenant(tenant)?.rows;
    rows.iter()
        .position(|row| row.key == id || (ignore_case && row.key.eq_ignore_ascii_case(id)))
}

/// A row as the answer to a read of it shows it: bare, with its context. Odd rows stay as they are.
pub(crate) fn entity(endpoints: &Endpoints, value: Value, select: Option<&[String]>) -> Value {
    if !value.is_object() {
        return value;
    }
    let context = format!(
        "{}/v1.0/$metadata#deviceManagement/complianceManagementPartners/$entity",
        endpoints.public_graph
    );
    let mut body = Map::new();
    body.insert("@odata.context".to_owned(), json!(context));
    body.extend(properties(selected(value, select)));
    Value::Object(body)
}

fn selected(value: Value, select: Option<&[String]>) -> Value {
    match (value, select) {
        (Value::Object(mut object), Some(names)) => {
            object.retain(|name, _| names.contains(name));
            Value::Object(object)
        }
        (value, _) => value,
    }
}

/// Assignments as a set: order, repetition and letter case of group ids do not count.
pub(crate) fn as_set(assignments: &[Value]) -> BTreeSet<String> {
    assignments
        .iter()
        .map(|assignment| {
            let mut target = assignment.get("target").cloned().unwrap_or(Value::Null);
            if let Some(Value::String(id)) = target.get_mut("groupId") {
                id.make_ascii_lowercase();
            }
            target.to_string()
        })
        .collect()
}
