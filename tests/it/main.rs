//! Tests against a real API server: one binary, a module a topic.

mod binary;
mod claims;
mod connections;
mod contract;
mod control_plane;
mod crd;
mod deletion;
mod faults;
mod foreign;
mod kubectl;
mod roles;
mod sync;
