//! Every target over every input of its corpus, and over a few that are as large as an answer may be.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use fuzz::{LARGEST, TARGETS, Target};

/// One at a time: what one takes of memory is measured.
static TURN: Mutex<()> = Mutex::new(());

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn replay(name: &str) -> io::Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let target = Target::named(name).ok_or(io::ErrorKind::NotFound)?;
    let folder = corpus().join(name);
    let mut inputs = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    inputs.sort();
    assert!(inputs.len() >= 5, "{name} has hardly any corpus");
    for input in inputs {
        // Shown where the target fails.
        println!("{name}: {}", input.display());
        target.run(&fs::read(folder.join(input))?, LARGEST);
    }
    Ok(())
}

#[test]
fn pages_are_read_as_they_should_be() -> io::Result<()> {
    replay("page")
}

#[test]
fn entities_are_read_as_they_should_be() -> io::Result<()> {
    replay("entity")
}

#[test]
fn refusals_of_graph_are_read_as_they_should_be() -> io::Result<()> {
    replay("error")
}

#[test]
fn refusals_of_entra_are_read_as_they_should_be() -> io::Result<()> {
    replay("token-error")
}

#[test]
fn waits_are_read_as_they_should_be() -> io::Result<()> {
    replay("retry-after")
}

#[test]
fn tokens_are_read_as_they_should_be() -> io::Result<()> {
    replay("token")
}

#[test]
fn answers_of_the_metadata_service_are_read_as_they_should_be() -> io::Result<()> {
    replay("metadata")
}

#[test]
fn certificates_are_read_as_they_should_be() -> io::Result<()> {
    replay("certificate")
}

#[test]
fn foreign_texts_are_shown_as_they_should_be() -> io::Result<()> {
    replay("text")
}

#[test]
fn durations_are_read_as_they_should_be() -> io::Result<()> {
    replay("duration")
}

#[test]
fn each_target_has_a_corpus_and_each_corpus_a_target() {
    let mut names: Vec<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let mut folders: Vec<String> = fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    folders.sort();
    assert_eq!(folders, names);
}

/// A target that does not look, or a measure that does not measure, would pass everything.
#[test]
fn a_target_that_takes_memory_without_end_fails() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let hoard = Target {
        name: "hoard",
        check: |input| {
            let hoard: Vec<Vec<u64>> = input.iter().map(|_| vec![0_u64; 1024]).collect();
            assert_eq!(hoard.len(), input.len());
        },
    };
    hoard.run(b"small", LARGEST);
    let failed = std::panic::catch_unwind(|| hoard.run(b"repeat 10000\n\n~\nx\n~\n", LARGEST));
    let why = failed.unwrap_err().downcast::<String>().unwrap();
    assert!(why.contains("of memory"), "{why}");
}
