//! Runs a program that dies with its parent.
fn main() {}
