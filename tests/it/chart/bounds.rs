//! Values of the right form that could never work: no pod has to fail for somebody to be told.

use anyhow::{Result, ensure};
use clap::Parser as _;
use compliance_partner_operator::options::CommandLine;
use harness::Helm;
use serde_json::json;

use super::{RELEASE, chart, object, rendered};

/// What Helm says of a value that it refuses; nothing of one that it takes.
async fn refusal(helm: &Helm, value: &str, text: &str) -> Result<Option<String>> {
    let assignment = format!("{value}={}", json!(text));
    let chart = chart();
    let output = helm
        .run(&["template", RELEASE, &chart, "--set-json", &assignment])
        .await?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((!output.status.success()).then_some(told))
}

/// Whether the operator itself starts with a flag.
fn starts_with(flag: &str, text: &str) -> bool {
    CommandLine::try_parse_from([RELEASE, "run", &format!("--{flag}={text}")]).is_ok()
}

#[tokio::test]
async fn a_duration_is_taken_where_the_operator_takes_it() -> Result<()> {
    let helm = Helm::alone().await?;
    for (value, flag) in [
        ("syncInterval", "sync-interval"),
        ("heartbeatStaleAfter", "heartbeat-stale-after"),
        ("heartbeatResolution", "heartbeat-resolution"),
        ("abandonCleanupAfter", "abandon-cleanup-after"),
    ] {
        let mut taken = 0;
        for text in [
            "0s",
            "1s",
            "999ms",
            "1h08m",
            "24h",
            "24h1ms",
            "876000h",
            "876000h1ms",
            "3153600000000ms",
            "3153600000001ms",
            "1000000000h",
            "99999999999h",
            "5124095576030432h",
            "18446744073709551617s",
            "never",
        ] {
            let refusal = refusal(&helm, value, text).await?;
            let operator = starts_with(flag, text);
            ensure!(
                refusal.is_none() == operator,
                "{value}={text}: {refusal:?}, but the operator: {operator}"
            );
            ensure!(refusal.is_none_or(|told| told.contains(value)), "{value}={text}");
            taken += usize::from(operator);
        }
        ensure!(taken >= 3, "{value}");
    }
    Ok(())
}

#[tokio::test]
async fn an_admin_address_is_one_that_probes_reach_and_an_image_is_a_name_without_tag() -> Result<()> {
    let helm = Helm::alone().await?;
    for text in ["0.0.0.0:8080", "0.0.0.0:65535", "[::]:1"] {
        assert_eq!(refusal(&helm, "adminAddress", text).await?, None, "{text}");
        ensure!(starts_with("admin-address", text), "{text}");
    }
    for text in [
        "registry.example/x",
        "host:5000/a/x",
        "localhost/x",
        "Registry.example:5000/a.b/c_d/e--f",
        "[::1]:5000/x",
    ] {
        assert_eq!(refusal(&helm, "image.repository", text).await?, None, "{text}");
    }
    let long = format!("x@sha256:{}", "0".repeat(64));
    for (value, texts) in [
        (
            "adminAddress",
            &[
                "999.1.1.1:99999",
                "127.0.0.1:8080",
                "[::1]:8080",
                "[::::]:80",
                "0.0.0.0:65536",
                "0.0.0.0:0",
                "0.0.0.0",
            ][..],
        ),
        (
            "image.repository",
            &[
                "registry.example/x:1.0",
                "Reg Example/x y",
                "registry.example/X",
                "host:5000/x:1.0",
                "/x",
                "x/",
                &long,
            ],
        ),
    ] {
        for text in texts {
            let told = refusal(&helm, value, text).await?.unwrap_or_default();
            let place = format!("at '/{}': ", value.replace('.', "/"));
            ensure!(told.contains(&place), "{value}={text}: {told:?}");
        }
    }
    Ok(())
}

/// As the Prometheus operator does, but where somebody sees it.
#[tokio::test]
async fn a_scrape_that_may_take_longer_than_its_interval_is_refused() -> Result<()> {
    let (helm, chart) = (Helm::alone().await?, chart());
    for monitor in ["serviceMonitor", "podMonitor"] {
        for (interval, timeout, longer) in [
            ("30s", "30s", false),
            ("1m", "59s", false),
            ("1d", "24h", false),
            ("1m", "61s", true),
            ("1h", "1d", true),
        ] {
            let set = format!("{monitor}.enabled=true,{monitor}.interval={interval},{monitor}.scrapeTimeout={timeout}");
            let output = helm.run(&["template", RELEASE, &chart, "--set", &set]).await?;
            let told = String::from_utf8_lossy(&output.stderr);
            let sentence =
                format!("{monitor}.scrapeTimeout is {timeout}: it has to be at most {monitor}.interval, {interval}");
            ensure!(
                output.status.success() != longer && told.contains(&sentence) == longer,
                "{set}: {told}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_network_that_is_none_or_is_the_metadata_service_is_refused() -> Result<()> {
    let (helm, chart) = (Helm::alone().await?, chart());
    for value in ["networkPolicy.apiServer.cidrs", "networkPolicy.microsoft.cidrs"] {
        for (cidr, expected) in [
            ("300.0.0.0/8", "/cidrs/0': "),
            ("10.0.0.0/33", "/cidrs/0': "),
            ("010.0.0.0/8", "/cidrs/0': "),
            ("10.0.0/8", "/cidrs/0': "),
            ("::/129", "/cidrs/0': "),
            ("::ffff:169.254.169.254/128", "/cidrs/0': "),
            ("::ffff:a9fe:a9fe/128", "/cidrs/0': "),
            ("0:0:0:0:0:ffff:a9fe:a9fe/128", "/cidrs/0': "),
            (
                "169.254.169.254/32",
                "that is what networkPolicy.managedIdentity is for",
            ),
        ] {
            let set = format!("networkPolicy.enabled=true,{value}={{{cidr}}}");
            let told = helm.refused(&["template", RELEASE, &chart, "--set", &set]).await?;
            ensure!(told.contains(expected), "{set}: {told}");
        }
    }
    Ok(())
}

/// A Service's is a DNS label, and it begins with a letter; a release's is neither.
#[tokio::test]
async fn every_release_gets_names_that_all_of_its_objects_can_have() -> Result<()> {
    let (helm, chart) = (Helm::alone().await?, chart());
    let template = ["--set", "service.enabled=true"];
    let text = helm
        .ok(&[&["template", "team.a.intune", &chart], &template[..]].concat())
        .await?;
    let objects = harness::yaml_documents(&text)?;
    for kind in ["Service", "Deployment", "ServiceAccount", "ClusterRoleBinding"] {
        let name = object(&objects, kind).map(|object| &object["metadata"]["name"]);
        assert_eq!(
            name,
            Some(&json!("team-a-intune-compliance-partner-operator")),
            "{kind}"
        );
    }
    let refused = helm
        .refused(&[&["template", "1st", &chart], &template[..]].concat())
        .await?;
    ensure!(
        refused.contains("1st-compliance-partner-operator") && refused.contains("fullnameOverride"),
        "{refused}"
    );
    helm.ok(&["template", "1st", &chart]).await?;
    let named = rendered(&helm, &[&template[..], &["--set", "fullnameOverride=1st"]].concat()).await;
    ensure!(named.is_err(), "{named:?}");
    Ok(())
}
