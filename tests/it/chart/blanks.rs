//! Values that are left blank: `key:` in a file of values, by which Helm takes the default away.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use harness::{Helm, Scratch};
use serde_json::{Value, json};

use super::{leaves, rendered, values};

/// Values that have every template render something.
fn all_on() -> Value {
    json!({
        "networkPolicy": {"enabled": true}, "serviceMonitor": {"enabled": true}, "podMonitor": {"enabled": true},
        "service": {"enabled": true}, "federatedToken": {"enabled": true},
    })
}

/// Each value by itself, and each map that has some.
fn places() -> Result<BTreeSet<String>> {
    let mut places = BTreeSet::new();
    for (path, _) in leaves(&values()?) {
        let dots = path.match_indices('.').map(|(dot, _)| path[..dot].to_owned());
        places.extend(dots);
        places.insert(path);
    }
    Ok(places)
}

/// `values` with this at a place; with nothing there where it is `None`.
fn with(values: &Value, place: &str, blank: Option<Value>) -> Result<Value> {
    let mut values = values.clone();
    let (parents, name) = place.rsplit_once('.').unwrap_or(("", place));
    let mut map = &mut values;
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        map = map
            .as_object_mut()
            .context("a map")?
            .entry(parent)
            .or_insert_with(|| json!({}));
    }
    let map = map.as_object_mut().context("a map")?;
    match blank {
        Some(blank) => map.insert(name.to_owned(), blank),
        None => map.remove(name),
    };
    Ok(values)
}

#[tokio::test]
async fn a_blank_value_is_refused_by_its_name_or_means_its_default() -> Result<()> {
    let (helm, folder) = (Helm::alone().await?, Scratch::new()?);
    let file = folder.path().join("values.json");
    let flags = ["--values".to_owned(), file.display().to_string()];
    let flags = flags.each_ref().map(String::as_str);
    let (mut expected, mut refused) = (BTreeMap::new(), 0);
    let places = places()?;
    for place in &places {
        let absent = with(&all_on(), place, None)?.to_string();
        if !expected.contains_key(&absent) {
            std::fs::write(&file, &absent)?;
            expected.insert(absent.clone(), rendered(&helm, &flags).await.context(absent.clone())?);
        }
        std::fs::write(&file, with(&all_on(), place, Some(Value::Null))?.to_string())?;
        match rendered(&helm, &flags).await {
            Ok(objects) => ensure!(
                Some(&objects) == expected.get(&absent),
                "{place} left blank changes something"
            ),
            Err(error) => {
                let told = format!("{error:#}");
                let (parents, name) = place.rsplit_once('.').unwrap_or(("", place));
                let slash = if parents.is_empty() { "" } else { "/" };
                let at = format!("{slash}{}", parents.replace('.', "/"));
                ensure!(
                    told.contains(&format!("at '{at}': missing property '{name}'")),
                    "{place}: {told}"
                );
                refused += 1;
            }
        }
    }
    ensure!(
        refused > 30 && places.len() > refused + 30,
        "{refused} of {}",
        places.len()
    );
    Ok(())
}
