//! The container image that `make image` has made: `make test-image`.
//!
//! What a pod would run is run here without a cluster: the image's own files as a root that nothing can be written to, as
//! the image's user, with an environment that holds what a test gives it and nothing else.

mod contents;
mod running;
mod unpacked;
