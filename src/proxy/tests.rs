//! The proxy between real sockets on the loopback.

mod bulk;
mod ending;
mod enduring;
mod failing;
mod harness;
mod relaying;
mod replanning;
mod sharing;
