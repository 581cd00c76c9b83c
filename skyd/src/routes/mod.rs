//! The handlers: parse, one call into the library, respond.

pub(crate) mod api;
pub(crate) mod capture;
pub(crate) mod config;
pub(crate) mod login;
pub(crate) mod resource;
pub(crate) mod status;
pub(crate) mod topology;
