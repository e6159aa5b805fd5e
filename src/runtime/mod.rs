//! What keeps passes running: watches, index, queue, backoff, metrics, and the treatment of foreign text.

pub mod admin;
pub mod backoff;
pub mod client;
pub mod context;
pub mod controller;
pub mod events;
pub mod health;
pub mod index;
pub mod log;
pub mod look;
pub mod metrics;
pub mod object;
pub mod queue;
pub mod schema;
pub mod text;
pub mod watch;
pub mod write;
