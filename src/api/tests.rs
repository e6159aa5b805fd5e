//! The documents that users read, held against the code.

mod reference;
