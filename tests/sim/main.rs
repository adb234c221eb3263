//! Whole clusters of cores on one virtual clock: what the steady state is, and what never happens on the way.

mod cluster;
mod vectors;
