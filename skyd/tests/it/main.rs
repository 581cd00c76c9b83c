//! The daemon as a process, spoken to over raw sockets.

mod captures;
mod client;
mod daemon;
mod hostile;
mod http;
mod process;
mod publisher;
mod subscriber;
mod websocket;
