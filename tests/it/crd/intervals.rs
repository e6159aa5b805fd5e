//! `syncInterval`: what the schema takes, the code reads, and to the same value.

use anyhow::{Context as _, Result, ensure};
use compliance_partner_operator::api::partner::parse_sync_interval;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::desk::{Desk, Kind, Way, accepted, ensure_contains, object, refused, resource};

const TAKEN: [&str; 14] = [
    "1m",
    "60s",
    "1h10m",
    "24h",
    "1440m",
    "90s",
    "86400s",
    "1h1h1h",
    "10m1h",
    "23h59m60s",
    "0h1m",
    "00001h",
    "00060s",
    "0s0s60s",
];

const REFUSED: [&str; 26] = [
    "59s",
    "24h1s",
    "10",
    "600",
    "10min",
    "1d",
    "",
    "-5m",
    "+5m",
    "1h30",
    "99999999999h",
    "99999h",
    "99999h99999h99999h",
    "100000s",
    "1m1m1m1m",
    "1.5h",
    "100ms",
    "60000000us",
    "h",
    "1 m",
    " 1m",
    "1m ",
    "1m\n",
    "1M",
    "PT10M",
    "١m",
];

/// Numbers around the bounds with every unit, alone and in pairs.
fn combinations() -> Vec<String> {
    let parts: Vec<String> = ["0", "1", "59", "86340"]
        .iter()
        .flat_map(|number| ["h", "m", "s"].map(|unit| format!("{number}{unit}")))
        .collect();
    let pairs = parts
        .iter()
        .flat_map(|first| parts.iter().map(move |second| format!("{first}{second}")));
    parts.iter().cloned().chain(pairs).collect()
}

#[tokio::test]
async fn the_schema_takes_exactly_what_the_code_reads() -> Result<()> {
    let desk = Desk::new("intervals").await?;
    let kind = Kind::Partner;
    let mut texts: Vec<String> = TAKEN.iter().chain(&REFUSED).map(|text| (*text).to_owned()).collect();
    texts.extend(combinations());
    for text in &texts {
        let patch = json!({ "syncInterval": text });
        let verdict = desk.try_spec(kind, Way::Create, &patch).await?;
        ensure!(
            verdict.is_ok() == parse_sync_interval(text).is_some(),
            "{text:?}: the schema says {verdict:?}, the code {:?}",
            parse_sync_interval(text)
        );
    }
    for text in TAKEN {
        for way in Way::ALL {
            let stored = accepted(desk.try_spec(kind, way, &json!({ "syncInterval": text })).await?)?;
            // As it was written: 1h does not become 1h0m0s.
            assert_eq!(stored["spec"]["syncInterval"], text);
        }
    }
    for text in REFUSED {
        for way in Way::ALL {
            let message = refused(desk.try_spec(kind, way, &json!({ "syncInterval": text })).await?)?;
            let rules = [
                "should match '^([0-9]{1,5}(h|m|s)){1,3}$'",
                "between 1m and 24h",
                "may not be more than 18",
            ];
            ensure_contains(&message, &["spec.syncInterval"])?;
            // One rule is enough: two for one mistake would send people to the wrong one.
            let told = rules.iter().filter(|rule| message.contains(**rule)).count();
            ensure!(told == 1, "{text:?}: {message}");
        }
    }
    Ok(())
}

/// A schema of its own lets CEL say what `duration()` makes of a text.
#[tokio::test]
async fn the_code_reads_what_cel_reads() -> Result<()> {
    let desk = Desk::new("durations").await?;
    let probe = resource("probe.intune.msgraph.dev", "DurationProbe", "durationprobes");
    let name = format!("{}.{}", probe.plural, probe.group);
    let text = json!({ "type": "string", "maxLength": 18 });
    let crd: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "group": probe.group,
            "scope": "Namespaced",
            "names": { "kind": probe.kind, "plural": probe.plural },
            "versions": [{
                "name": probe.version,
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": { "type": "object", "properties": {
                    "pairs": { "type": "array", "maxItems": 400, "items": {
                        "type": "object",
                        "required": ["text", "seconds"],
                        "properties": { "text": text, "seconds": text },
                        "x-kubernetes-validations": [{ "rule": "duration(self.text) == duration(self.seconds)" }],
                    } },
                } } } } },
            }],
        },
    }))?;
    Api::all(desk.client.clone())
        .create(&PostParams::default(), &crd)
        .await?;
    desk.plane.until_established(&[&name]).await?;

    let texts = TAKEN.iter().map(|text| (*text).to_owned()).chain(combinations());
    let pairs: Vec<_> = texts
        .filter_map(|text| {
            let seconds = parse_sync_interval(&text)?.as_secs();
            Some(json!({ "text": text, "seconds": format!("{seconds}s") }))
        })
        .collect();
    ensure!(pairs.len() > 40, "{}", pairs.len());
    let api = Api::namespaced_with(desk.client.clone(), &desk.namespace, &probe);
    // A CRD that is established may be not found for a moment more.
    let agreed = harness::wait_for("the probe", std::time::Duration::from_secs(20), async || {
        desk.post(&api, object(&probe, "probe", &json!({ "pairs": pairs })))
            .await
    });
    accepted(agreed.await?)?;
    let wrong = json!({ "pairs": [{ "text": "1h", "seconds": "3601s" }] });
    let message =
        refused(desk.post(&api, object(&probe, "probe", &wrong)).await?).context("the probe proves nothing")?;
    ensure_contains(&message, &["spec.pairs[0]"])?;
    Ok(())
}
