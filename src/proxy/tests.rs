//! The proxy between real sockets on the loopback.

mod ending;
mod enduring;
mod failing;
mod harness;
mod relaying;
mod sharing;
