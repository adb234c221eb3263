//! The admin surface: an HTTP server for operators and machines, and the client that reads it.
//!
//! It shows and never decides: whatever it tells comes from the closures in [`Sources`], which the driver
//! makes. It answers on a TCP address and on a Unix socket, both alike.

pub mod bind;
pub mod client;
mod problem;
mod routes;
pub mod server;
pub mod status;
pub mod table;

pub use bind::{BindError, SocketListener, bind_socket, bind_tcp};
pub use client::{ClientError, Target, fetch_status};
pub use server::{Listeners, Sources, serve};
pub use status::Status;
