//! The decoders of what comes from outside, each as a target: a function that takes any bytes, hands them to the decoder
//! and looks at what it says. A fault is a panic.
//!
//! They are run by libFuzzer (`make fuzz`), which looks for inputs that lead elsewhere in the code, and by the test
//! `replay` (`make test`) over the inputs that are kept in `corpus/`, a folder for each target.

mod credentials;
mod errors;
mod graph;
mod input;
mod texts;

use peak_alloc::PeakAlloc;

pub use input::grown;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Largest input that is handed to a target, in bytes: as much as the operator reads of an answer of Graph, 8 MiB.
pub const LARGEST: usize = compliance_partner_operator::graph::client::LARGEST_BODY;

/// What a target may take of memory at once, in bytes, whatever its input.
const MEMORY_BASE: usize = 48 * 1024 * 1024;

/// What it may take for each byte of its input beyond that: the input repaired, and copies that the target makes.
const MEMORY_FACTOR: usize = 8;

/// A decoder, with what is expected of it.
pub struct Target {
    /// Its name, which its corpus has too.
    pub name: &'static str,
    /// Hands the bytes to the decoder, and panics where it does not as it should.
    pub check: fn(&[u8]),
}

/// All targets.
pub static TARGETS: [Target; 10] = [
    Target {
        name: "page",
        check: graph::page,
    },
    Target {
        name: "entity",
        check: graph::entity,
    },
    Target {
        name: "error",
        check: errors::error,
    },
    Target {
        name: "token-error",
        check: errors::token_error,
    },
    Target {
        name: "retry-after",
        check: errors::retry_after,
    },
    Target {
        name: "token",
        check: credentials::token,
    },
    Target {
        name: "metadata",
        check: credentials::metadata,
    },
    Target {
        name: "certificate",
        check: credentials::certificate,
    },
    Target {
        name: "text",
        check: texts::text,
    },
    Target {
        name: "duration",
        check: texts::duration,
    },
];

impl Target {
    /// The target with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Runs the target over one input, which may be a short way of writing one of at most `largest` bytes (see
    /// [`grown`]).
    ///
    /// # Panics
    /// Where the decoder does not as it should, or takes more memory than an operator can spare.
    pub fn run(&self, input: &[u8], largest: usize) {
        let input = grown(input, largest);
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        (self.check)(&input);
        let taken = MEMORY.peak_usage().saturating_sub(before);
        let most = MEMORY_BASE + MEMORY_FACTOR * input.len();
        assert!(
            taken <= most,
            "{} takes {taken} bytes of memory for an input of {}: more than {most}",
            self.name,
            input.len()
        );
    }
}

/// Whether a text may be shown as it is, and is no longer than it should be.
fn is_fit(text: &str, max_chars: usize) -> bool {
    compliance_partner_operator::runtime::text::clean(text, max_chars) == text
}
