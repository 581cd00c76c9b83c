//! The handlers: parse, one call into the library, respond.

pub(crate) mod api;
pub(crate) mod capture;
pub(crate) mod config;
<<<<<<< HEAD
pub(crate) mod pcap;
=======
pub(crate) mod resource;
>>>>>>> main
pub(crate) mod status;
pub(crate) mod topology;
