//! The kernel, wrapped once: every system call that needs `unsafe` stands here behind a safe type.

pub mod socket;
