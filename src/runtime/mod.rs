//! What keeps passes running: queue, backoff, and the treatment of foreign text.

pub mod backoff;
pub mod queue;
pub mod text;
