//! `syncInterval`: what the schema takes, the code reads, and to the same value.

use anyhow::{Context as _, Result, bail, ensure};
use compliance_partner_operator::api::crds;
use compliance_partner_operator::api::partner::parse_sync_interval;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

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

/// The pattern and the rule of `syncInterval`, as the CRD has them.
fn pattern_and_rule() -> Result<(String, String)> {
    let [partner, _] = crds();
    let partner = serde_json::to_value(partner)?;
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/syncInterval";
    let schema = partner.pointer(schema).context("no syncInterval")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    Ok((
        text(&schema["pattern"])?,
        text(&schema["x-kubernetes-validations"][0]["rule"])?,
    ))
}

/// Every text of up to four of these letters.
fn short_texts() -> Vec<String> {
    let mut texts = vec![String::new()];
    let mut from = 0;
    for _ in 0..4 {
        let longer: Vec<String> = texts[from..]
            .iter()
            .flat_map(|text| "016hms-.".chars().map(move |letter| format!("{text}{letter}")))
            .collect();
        from = texts.len();
        texts.extend(longer);
    }
    texts
}

/// Texts around the bounds of the interval and of its pattern, the same in each run.
fn long_texts(count: usize) -> Vec<String> {
    const NUMBERS: [&str; 22] = [
        "", "0", "1", "00", "01", "5", "23", "24", "25", "59", "60", "61", "1439", "1440", "1441", "3599", "3600",
        "86399", "86400", "86401", "99999", "00060",
    ];
    const UNITS: [&str; 14] = ["h", "m", "s", "h", "m", "s", "h", "m", "s", "", "d", "ms", "H", " "];
    // A linear congruential generator, with the multiplier and the increment of Knuth's MMIX.
    let mut state: u64 = 0;
    let mut below = |limit: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or_default() % limit
    };
    let mut texts = Vec::new();
    while texts.len() < count {
        let parts = 1 + below(4);
        let text: String = (0..parts)
            .flat_map(|_| [NUMBERS[below(NUMBERS.len())], UNITS[below(UNITS.len())]])
            .collect();
        // What is longer is refused by its length alone.
        if text.len() <= 18 {
            texts.push(text);
        }
    }
    texts
}

/// A schema of its own lets CEL say of many texts at once whether the CRD takes them, and what `duration()` makes of them.
#[tokio::test]
async fn the_code_reads_what_cel_reads() -> Result<()> {
    const AT_ONCE: usize = 400;
    let desk = Desk::new("durations").await?;
    let probe = resource("probe.intune.msgraph.dev", "DurationProbe", "durationprobes");
    let name = format!("{}.{}", probe.plural, probe.group);
    let text = json!({ "type": "string", "maxLength": 18 });
    let (pattern, rule) = pattern_and_rule()?;
    let rule = rule.replace("self", "self.text");
    // The seconds are what the code has read, and nothing where it has read nothing.
    let agreed = format!(
        "(self.text.matches('{pattern}') && ({rule})) ? \
         (self.seconds != '' && duration(self.text) == duration(self.seconds)) : self.seconds == ''"
    );
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
                    "pairs": { "type": "array", "maxItems": AT_ONCE, "items": {
                        "type": "object",
                        "required": ["text", "seconds"],
                        "properties": { "text": text, "seconds": text },
                        "x-kubernetes-validations": [{ "rule": agreed }],
                    } },
                } } } } },
            }],
        },
    }))?;
    Api::all(desk.client.clone())
        .create(&PostParams::default(), &crd)
        .await?;
    desk.plane.until_established(&[&name]).await?;
    let api = Api::namespaced_with(desk.client.clone(), &desk.namespace, &probe);
    let judge = async |pairs: Value| {
        desk.post(&api, object(&probe, "probe", &json!({ "pairs": pairs })))
            .await
    };

    // A CRD that is established may be not found for a moment more.
    let first = harness::wait_for("the probe", std::time::Duration::from_secs(20), async || {
        judge(json!([{ "text": "1h", "seconds": "3600s" }])).await
    });
    accepted(first.await?)?;
    for (text, seconds) in [
        ("1h", "3601s"),
        ("1h", ""),
        ("59s", "59s"),
        ("1d", "86400s"),
        ("", "60s"),
    ] {
        let message = refused(judge(json!([{ "text": text, "seconds": seconds }])).await?)
            .with_context(|| format!("the probe proves nothing: {text:?}"))?;
        ensure_contains(&message, &["spec.pairs[0]"])?;
    }

    let mut texts: Vec<String> = TAKEN.iter().chain(&REFUSED).map(|text| (*text).to_owned()).collect();
    texts.extend(combinations());
    texts.extend(short_texts());
    texts.extend(long_texts(6_000));
    let mut read = 0;
    for texts in texts.chunks(AT_ONCE) {
        let pairs = texts.iter().map(|text| {
            let seconds = parse_sync_interval(text).map(|interval| format!("{}s", interval.as_secs()));
            read += usize::from(seconds.is_some());
            json!({ "text": text, "seconds": seconds.unwrap_or_default() })
        });
        let pairs: Vec<Value> = pairs.collect();
        if let Err(refusal) = judge(json!(pairs)).await? {
            let wrong = |index: &usize| refusal.message.contains(&format!("spec.pairs[{index}]"));
            let wrong: Vec<_> = (0..pairs.len()).filter(wrong).map(|index| &pairs[index]).collect();
            bail!("CEL reads otherwise: {wrong:?}: {refusal}");
        }
    }
    ensure!(
        read > 700 && texts.len() - read > 4_000,
        "{read} of {} are read",
        texts.len()
    );
    Ok(())
}
