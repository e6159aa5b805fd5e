//! One target under libFuzzer. `run`, beside this file, builds it and starts it; `FUZZ_TARGET` names the target.

#![no_main]

use std::sync::LazyLock;

use fuzz::Target;
use libfuzzer_sys::fuzz_target;

/// Largest input that is written out, in bytes: more makes an attempt slow, and teaches nothing that less does not.
const LARGEST: usize = 64 * 1024;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| {
        eprintln!("FUZZ_TARGET names no target: '{name}'");
        std::process::exit(2)
    })
});

fuzz_target!(|input: &[u8]| TARGET.run(input, LARGEST));
