//! The rules of the house that no compiler holds: who knows whom. They are read off the source.

use std::fs;
use std::path::{Path, PathBuf};

/// The files that touch no clock, no network and no client: what they need of these comes in as an argument.
const PURE: [&str; 8] = [
    "api/",
    "graph/throttle/ledger.rs",
    "partner/claim.rs",
    "partner/plan.rs",
    "partner/status.rs",
    "partner/report.rs",
    "runtime/backoff.rs",
    "runtime/queue.rs",
];

/// One file of the source, without comments and without its tests.
struct Source {
    path: String,
    code: String,
}

impl Source {
    /// The paths that `use` declarations name, with what stands in their braces written out.
    fn uses(&self) -> Vec<String> {
        let mut uses = Vec::new();
        for item in self.code.split(';') {
            let Some(start) = item.rfind("use ") else { continue };
            let before = item[..start].trim_end();
            if before.is_empty() || before.ends_with(['}', '{', ']', ')']) || before.ends_with("pub") {
                let path: String = item[start + 4..].split_whitespace().collect::<Vec<_>>().join(" ");
                write_out("", &path, &mut uses);
            }
        }
        uses
    }

    /// Whether a path is named, by `use` or where it is called.
    fn names(&self, path: &str) -> bool {
        let named = |text: &str| {
            text.match_indices(path).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                let after = text[at + path.len()..].chars().next();
                let part_of_a_word = |letter: Option<char>| letter.is_some_and(|it| it.is_alphanumeric() || it == '_');
                !part_of_a_word(before) && !part_of_a_word(after)
            })
        };
        named(&self.code) || self.uses().iter().any(|used| named(used))
    }
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d` and `a::c::e`.
fn write_out(prefix: &str, path: &str, uses: &mut Vec<String>) {
    let Some(open) = path.find('{') else {
        uses.push(format!("{prefix}{}", path.trim()));
        return;
    };
    let inner = path[open + 1..].trim_end().strip_suffix('}').unwrap();
    let prefix = format!("{prefix}{}", path[..open].trim());
    let (mut depth, mut from) = (0, 0);
    for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[from..at].trim().is_empty() {
                    write_out(&prefix, inner[from..at].trim(), uses);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        Source {
            path: path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/"),
            code: code.join("\n"),
        }
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !name.ends_with("tests.rs") {
            paths.push(path);
        }
    }
}

#[test]
fn braces_are_written_out() {
    let source = Source {
        path: String::new(),
        code: "use a::{b, c::{d, e as f}, self};\npub use g::h;\nfn i() {\n    use j::*;\n}".to_owned(),
    };
    assert_eq!(
        source.uses(),
        ["a::b", "a::c::d", "a::c::e as f", "a::self", "g::h", "j::*"]
    );
}

#[test]
fn graph_knows_no_kubernetes() {
    let sources = sources();
    let graph: Vec<_> = sources
        .iter()
        .filter(|source| source.path.starts_with("graph/"))
        .collect();
    assert!(graph.len() > 5);
    for source in graph {
        for path in [
            "kube",
            "k8s_openapi",
            "crate::api",
            "crate::partner",
            "crate::connection",
            "crate::credentials",
        ] {
            assert!(!source.names(path), "{} names {path}", source.path);
        }
    }
}

#[test]
fn secrets_are_read_in_one_place() {
    let mut readers = Vec::new();
    for source in sources() {
        // Libraries of Microsoft, and graph/, have types of these names: what counts are Kubernetes' own.
        let kubernetes = |used: &String| {
            let ours = ["Secret", "TokenRequest", "SecretList"]
                .iter()
                .any(|name| used.contains(&format!("::{name}")));
            used.starts_with("k8s_openapi::") && (ours || used.ends_with('*'))
        };
        let called = [
            "core::v1::Secret",
            "authentication::v1::TokenRequest",
            "create_token_request",
        ];
        if source.uses().iter().any(kubernetes) || called.iter().any(|path| source.names(path)) {
            readers.push(source.path);
        }
    }
    assert_eq!(readers, ["credentials.rs"]);
}

/// What a secret is kept in.
const KEEPERS: [&str; 5] = ["Zeroizing", "EncodingKey", "ByteString", "Credential", "Proof"];

#[test]
fn what_holds_a_secret_shows_and_stores_itself_nowhere() {
    let mut holders = Vec::new();
    for source in sources() {
        let items = ["struct ", "enum "].map(|kind| source.code.match_indices(kind).map(|(at, _)| at).collect());
        for at in items.into_iter().flat_map(|places: Vec<usize>| places) {
            let (before, item) = source.code.split_at(at);
            let end = item.find("\n}").or(item.find(");")).unwrap_or(item.len());
            let body = item.get(..end).unwrap_or(item);
            let keeps = |keeper: &&str| {
                let shapes = [format!("{keeper}<"), format!(" {keeper},"), format!("({keeper})")];
                shapes.iter().any(|shape| body.contains(shape))
            };
            if !KEEPERS.iter().any(keeps) {
                continue;
            }
            let attributes = before.rsplit("\n\n").next().unwrap_or_default();
            for derived in ["Debug", "Serialize", "Display"] {
                assert!(
                    !attributes.contains(derived),
                    "{}: {attributes}{}",
                    source.path,
                    &item[..end]
                );
            }
            let name = item.split([' ', '(', '<', '{']).nth(1).unwrap_or_default();
            holders.push(name.to_owned());
        }
    }
    for known in ["Token", "Credential", "Certificate", "Versioned", "Assertion"] {
        assert!(
            holders.iter().any(|holder| holder == known),
            "{known} is not among {holders:?}"
        );
    }
}

#[test]
fn the_core_is_pure() {
    let sources = sources();
    for pure in PURE {
        let mut found = sources.iter().filter(|source| source.path.starts_with(pure)).peekable();
        assert!(found.peek().is_some(), "{pure} is nowhere");
        for source in found {
            for path in [
                "Instant::now",
                "Timestamp::now",
                "SystemTime",
                "Zoned::now",
                "elapsed()",
                "tokio",
                "reqwest",
                "hyper",
                "std::net",
                "std::fs",
                "fastrand",
                "kube::Client",
                "kube::client",
                "kube::Api",
                "crate::graph::client",
                "crate::graph::session",
                "crate::runtime::client",
                "async fn",
            ] {
                assert!(!source.names(path), "{} names {path}", source.path);
            }
        }
    }
}

#[test]
fn whatever_is_told_goes_out_by_a_door_that_cleans_it() {
    let sources = sources();
    for (paths, doors) in [
        (&["patch_status", "replace_status"][..], &["runtime/write.rs"][..]),
        (
            &["events::v1::Event", "core::v1::Event", "events::Recorder"],
            &["runtime/events.rs"],
        ),
        (
            &["tracing_subscriber::fmt", "io::stdout", "io::stderr", "set_hook"],
            &["runtime/log.rs"],
        ),
        (&["print!", "println!", "eprint!", "eprintln!", "dbg!"], &["main.rs"]),
    ] {
        for path in paths {
            let others = sources.iter().filter(|source| !doors.contains(&source.path.as_str()));
            let told: Vec<_> = others
                .filter(|source| source.names(path))
                .map(|source| &source.path)
                .collect();
            assert!(told.is_empty(), "{path} belongs in {doors:?}, and is in {told:?}");
        }
        let found = |door: &&str| sources.iter().any(|source| source.path == **door);
        assert!(doors.iter().all(found), "{doors:?}");
    }
}

/// The fields of log lines that are shown as they are, by `%` or `?`: none of them holds what somebody else wrote.
const SHOWN_AS_THEY_ARE: [&str; 5] = ["name", "key", "list", "method", "K::kind"];

#[test]
fn log_fields_are_words_of_ours_or_cleaned_and_cut() {
    let sources = sources();
    let mut lines = 0;
    for source in &sources {
        for (at, _) in source.code.match_indices("tracing::") {
            let call = &source.code[at..];
            let call = &call[..call.find(");").unwrap_or(call.len())];
            // The message, and what stands in it, comes after the fields.
            let fields = call.split('"').next().unwrap_or_default();
            lines += 1;
            for field in fields
                .split(['(', ',', '='])
                .map(str::trim)
                .filter(|field| field.starts_with(['%', '?']))
            {
                let last = field[1..].rsplit('.').next().unwrap_or_default();
                let known = SHOWN_AS_THEY_ARE.contains(&last);
                assert!(known, "{}: {field} in {call}: log it by text::clean", source.path);
            }
        }
    }
    assert!(lines > 10, "{lines}");
}
