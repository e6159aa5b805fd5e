//! Every target over every input of its corpus, and over a few that are as large as an answer may be.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use fuzz::{LARGEST, TARGETS, Target};

/// One at a time: what one takes of memory is measured.
static TURN: Mutex<()> = Mutex::new(());

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// What lies in a folder, sorted.
fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

#[test]
fn every_target_reads_its_corpus_as_it_should() -> io::Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut expected: Vec<OsString> = TARGETS.iter().map(|target| target.name.into()).collect();
    expected.sort();
    // A corpus that is nobody's would be replayed by none, and a target without one would pass.
    assert_eq!(names(&corpus())?, expected);
    for target in &TARGETS {
        let folder = corpus().join(target.name);
        let inputs = names(&folder)?;
        assert!(inputs.len() >= 5, "{} has hardly any corpus", target.name);
        for input in inputs {
            // Shown where the target fails.
            println!("{}: {}", target.name, input.display());
            target.run(&fs::read(folder.join(input))?, LARGEST);
        }
    }
    Ok(())
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
