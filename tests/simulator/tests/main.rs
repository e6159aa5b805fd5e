//! The simulator held to its promises, over real TLS. A module a topic.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod certificates;
mod common;
mod control_http;
mod entra;
mod federation;
mod identities;
mod limits;
mod metadata;
mod names;
mod reads;
mod scripts;
mod writes;
