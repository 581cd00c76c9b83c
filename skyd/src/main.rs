//! The daemon and command line of `skylib`.

fn main() {}
