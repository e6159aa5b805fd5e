//! Log lines, to standard output: one a record, whatever is in it.
//!
//! What the libraries log at their lowest levels may hold headers and bodies with secrets: the operator's own level can
//! be set as low as one likes, theirs stays at warnings.

use std::io::{self, Write};

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::text;

/// Begins to log. A second call changes nothing.
pub fn init(level: LevelFilter, json: bool) {
    let done = if json {
        json_lines(level, io::stdout).try_init()
    } else {
        text_lines(level, io::stdout).try_init()
    };
    // Only a second subscriber in one process is refused, and then there is one already.
    drop(done);
}

/// Makes a panic a record of the log too: its text may hold what somebody else wrote, and may have several lines.
pub fn record_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let payload = panic.payload();
        let detail = payload.downcast_ref::<&str>().copied();
        let detail = detail.or(payload.downcast_ref::<String>().map(String::as_str));
        let detail = text::clean(detail.unwrap_or("no text"), text::CONDITION_MESSAGE_CHARS);
        tracing::error!(place, detail, "a panic: this is a fault of the operator");
    }));
}

fn text_lines<W>(level: LevelFilter, sink: fn() -> W) -> impl Subscriber + Send + Sync
where
    W: Write + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_ansi(false);
    tracing_subscriber::registry()
        .with(targets(level))
        .with(lines.with_writer(OneLine(sink)))
}

fn json_lines<W>(level: LevelFilter, sink: fn() -> W) -> impl Subscriber + Send + Sync
where
    W: Write + 'static,
{
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true);
    tracing_subscriber::registry()
        .with(targets(level))
        .with(lines.with_writer(OneLine(sink)))
}

fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("compliance_partner_operator", level)
        .with_target("audit", level.max(LevelFilter::INFO))
        // It warns with the whole of an answer that it cannot read, and that may be a Secret.
        .with_target("kube_client::client", LevelFilter::ERROR)
}

/// The last door before the log: whatever a field, a message or a library has let through, a record is one line of text
/// that may be shown.
#[derive(Clone, Copy, Debug)]
struct OneLine<S>(S);

impl<'a, W: Write + 'a> MakeWriter<'a> for OneLine<fn() -> W> {
    type Writer = OneLine<W>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine(self.0())
    }
}

impl<W: Write> Write for OneLine<W> {
    /// Takes one record, which comes whole and with its line end.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let mut line = text::clean(text.strip_suffix('\n').unwrap_or(&text), usize::MAX);
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::foreign_tests::hostile;

    thread_local! {
        static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }

    struct Kept;

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            WRITTEN.with_borrow_mut(|written| written.extend_from_slice(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Four records with a text in each place that a record has.
    fn log(text: &str) {
        let error = io::Error::other(text);
        tracing::info!("{text}");
        tracing::warn!(detail = text, %error, "a plain message");
        tracing::error!(?error, "a plain message");
        tracing::info!(target: "audit", "{}", serde_json::json!({ "fields": text }));
    }

    fn lines(logged: impl Subscriber + Send + Sync, text: &str) -> Vec<String> {
        WRITTEN.with_borrow_mut(Vec::clear);
        tracing::subscriber::with_default(logged, || log(text));
        let written = String::from_utf8(WRITTEN.take()).unwrap();
        assert!(written.ends_with('\n'));
        written.split_terminator('\n').map(str::to_owned).collect()
    }

    proptest! {
        #[test]
        fn a_record_is_one_line_that_may_be_shown_whatever_is_in_it(text in hostile()) {
            for told in [lines(text_lines(LevelFilter::INFO, || Kept), &text), lines(json_lines(LevelFilter::INFO, || Kept), &text)] {
                prop_assert_eq!(told.len(), 4);
                for line in told {
                    prop_assert_eq!(&text::clean(&line, usize::MAX), &line);
                }
            }
        }

        #[test]
        fn a_record_in_json_reads_back_with_its_own_level_and_message(text in hostile()) {
            let told = lines(json_lines(LevelFilter::INFO, || Kept), &text);
            for (line, level) in told.iter().zip(["INFO", "WARN", "ERROR", "INFO"]) {
                let record: Value = serde_json::from_str(line).unwrap();
                prop_assert_eq!(record["level"].as_str(), Some(level));
            }
            let record: Value = serde_json::from_str(&told[1]).unwrap();
            let detail = text::clean(record["detail"].as_str().unwrap(), usize::MAX);
            prop_assert_eq!(detail, text::clean(&text, usize::MAX));
            let record: Value = serde_json::from_str(&told[3]).unwrap();
            let audit: Value = serde_json::from_str(record["message"].as_str().unwrap()).unwrap();
            prop_assert!(audit["fields"].is_string());
        }
    }

    #[test]
    fn a_panic_is_a_record_too() {
        WRITTEN.with_borrow_mut(Vec::clear);
        let before = std::panic::take_hook();
        record_panics();
        let ended = tracing::subscriber::with_default(json_lines(LevelFilter::INFO, || Kept), || {
            std::panic::catch_unwind(|| panic!("of {}\nthe row", "\u{1b}[31m"))
        });
        std::panic::set_hook(before);
        assert!(ended.is_err());
        let record: Value = serde_json::from_slice(&WRITTEN.take()).unwrap();
        assert_eq!(record["level"], "ERROR");
        assert_eq!(record["detail"], "of \u{fffd}[31m\u{fffd}the row");
        assert!(record["place"].as_str().unwrap().contains("log.rs"), "{record}");
    }

    #[test]
    fn an_answer_that_the_client_cannot_read_is_not_repeated() {
        WRITTEN.with_borrow_mut(Vec::clear);
        tracing::subscriber::with_default(text_lines(LevelFilter::TRACE, || Kept), || {
            tracing::warn!(target: "kube_client::client", "{{\"kind\":\"Secret\",\"data\":{{}}, no end");
            tracing::warn!(target: "kube_client::client::tls", "roots");
            tracing::error!(target: "kube_client::client::builder", "failed with status 500");
        });
        let written = String::from_utf8(WRITTEN.take()).unwrap();
        assert!(
            !written.contains("Secret") && written.contains("status 500"),
            "{written}"
        );
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_the_log() {
        WRITTEN.with_borrow_mut(Vec::clear);
        OneLine(Kept).write_all(b"a\xffb\x1b\nc\n").unwrap();
        assert_eq!(WRITTEN.take(), "a\u{fffd}b\u{fffd}\u{fffd}c\n".as_bytes());
    }
}
