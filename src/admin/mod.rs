//! The admin surface: an HTTP server for operators and machines, and the client that talks to it.
//!
//! It shows and passes on, and never decides: whatever it tells comes from the closures in [`Sources`], which the
//! driver makes, and what operators say goes to the driver by one of them. It answers on a TCP address and on a
//! Unix socket; both alike, but that a change by TCP needs a token.

pub mod administration;
pub mod bind;
mod changing;
pub mod client;
pub mod events;
mod negotiation;
mod page;
mod problem;
mod reloading;
mod requests;
mod routes;
pub mod server;
pub mod status;
pub mod table;
pub mod targets;
mod telling;
pub mod token;

pub use administration::{Answer, Change, Operator, Refusal, Words};
pub use bind::{BindError, SocketListener, bind_socket, bind_tcp};
pub use client::{ClientError, Target, change, fetch_events, fetch_status, follow_events, reload};
pub use events::Entry;
pub use reloading::{NotReloaded, ReloadAnswer, Reloaded};
pub use requests::RequestCounts;
pub use server::{Listeners, MetricsFormat, Sources, serve};
pub use status::Status;
pub use token::{Token, TokenError, read_token, read_token_text};
