//! The chart as one of a parent chart's.

use anyhow::Result;
use harness::{Helm, Scratch, yaml_documents};
use serde_json::{Value, json};

use super::{NAMESPACE, RELEASE, copy_chart, rendered};

/// What a parent chart hands to all of its charts is no misspelling.
#[tokio::test]
async fn a_parent_charts_global_values_are_taken_and_change_nothing() -> Result<()> {
    let helm = Helm::alone().await?;
    let with_globals = rendered(&helm, &["--set", "global.registry=registry.example"]).await?;
    assert_eq!(with_globals, rendered(&helm, &[]).await?);
    Ok(())
}

/// By the condition that charts are switched by.
#[tokio::test]
async fn a_parent_chart_switches_it_on_and_off() -> Result<()> {
    let (helm, folder) = (Helm::alone().await?, Scratch::new()?);
    let parent = folder.path().join("parent");
    std::fs::create_dir_all(parent.join("charts"))?;
    copy_chart(&parent.join("charts").join(RELEASE)).await?;
    let metadata = json!({
        "apiVersion": "v2", "name": "parent", "version": "1.0.0",
        "dependencies": [{
            "name": RELEASE, "version": env!("CARGO_PKG_VERSION"), "condition": format!("{RELEASE}.enabled"),
        }],
    });
    std::fs::write(parent.join("Chart.yaml"), metadata.to_string())?;
    let path = parent.display().to_string();
    let mut by_parent: Vec<Vec<Value>> = Vec::new();
    for enabled in ["true", "false"] {
        let condition = format!("{RELEASE}.enabled={enabled}");
        let args = [
            "template",
            RELEASE,
            &path,
            "--namespace",
            NAMESPACE,
            "--set",
            &condition,
        ];
        let text = helm.ok(&args).await?;
        by_parent.push(
            yaml_documents(&text)?
                .into_iter()
                .filter(|object| !object.is_null())
                .collect(),
        );
    }
    assert_eq!(by_parent, [rendered(&helm, &[]).await?, Vec::new()]);
    Ok(())
}
