//! Whole clusters of cores on one virtual clock: what the steady state is, and what never happens on the way.

mod acts;
mod adoption;
mod client;
mod clock;
mod cluster;
mod daemon;
mod envelope;
mod faults;
mod gossip;
mod guard;
mod healed;
mod judge;
mod judged;
mod kernel;
mod machine;
mod majority;
mod network;
mod operators;
mod random;
mod reloads;
mod run;
mod settled;
mod sweep;
mod trace;
mod vectors;
mod world;
