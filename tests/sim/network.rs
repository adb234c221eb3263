//! The network between machines and clients: who can reach whom, and what becomes of a packet.

use std::time::Duration;

use chinthe::core::Time;

use crate::random::Random;

/// How well the network carries packets, the whole time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weather {
    /// So many of a thousand packets get lost.
    pub(crate) loss: u32,
    /// So many of a thousand come twice.
    pub(crate) duplicates: u32,
    /// So many of a thousand are overtaken by later ones.
    pub(crate) reordered: u32,
    /// One way through the network, at least.
    pub(crate) delay: Duration,
    /// And so much longer at most.
    pub(crate) jitter: Duration,
}

impl Weather {
    /// A quiet switch.
    pub(crate) const CALM: Self = Self {
        loss: 0,
        duplicates: 0,
        reordered: 0,
        delay: Duration::from_micros(150),
        jitter: Duration::from_micros(100),
    };
}

/// An overtaken packet is late by this much at most.
const DETOUR: Duration = Duration::from_millis(60);

/// Everything between the machines (first) and the clients (behind them).
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    stations: usize,
    /// `cut[from * stations + to]`: nothing gets from one to the other.
    cut: Vec<bool>,
    /// Since when packets get through both ways, by pair.
    joined: Vec<Time>,
    /// When all that was wrong with it ended.
    pub(crate) mended_at: Time,
}

impl Network {
    pub(crate) fn new(stations: usize) -> Self {
        Self {
            weather: Weather::CALM,
            stations,
            cut: vec![false; stations * stations],
            joined: vec![Time::ZERO; stations * stations],
            mended_at: Time::ZERO,
        }
    }

    pub(crate) fn reaches(&self, from: usize, to: usize) -> bool {
        !self.cut[from * self.stations + to]
    }

    pub(crate) fn joined(&self, a: usize, b: usize) -> bool {
        self.reaches(a, b) && self.reaches(b, a)
    }

    /// Since when two stations reach each other.
    pub(crate) fn joined_since(&self, a: usize, b: usize) -> Time {
        self.joined[a * self.stations + b]
    }

    pub(crate) fn set(&mut self, from: usize, to: usize, cut: bool, now: Time) {
        if from == to {
            return;
        }
        let was_joined = self.joined(from, to);
        self.cut[from * self.stations + to] = cut;
        if !was_joined && self.joined(from, to) {
            self.joined[from * self.stations + to] = now;
            self.joined[to * self.stations + from] = now;
        }
    }

    /// Only stations of one group reach each other.
    pub(crate) fn partition(&mut self, groups: &[u8], now: Time) {
        for from in 0..self.stations {
            for to in 0..self.stations {
                self.set(from, to, groups[from] != groups[to], now);
            }
        }
    }

    pub(crate) fn heal(&mut self, now: Time) {
        self.partition(&vec![0; self.stations], now);
    }

    /// After which times a packet arrives: never, once, or twice.
    pub(crate) fn carry(&self, from: usize, to: usize, random: &mut Random) -> [Option<Duration>; 2] {
        if !self.reaches(from, to) || random.per_mille(self.weather.loss) {
            return [None, None];
        }
        let mut way = || {
            let detour = if random.per_mille(self.weather.reordered) { DETOUR } else { Duration::ZERO };
            self.weather.delay + random.up_to(self.weather.jitter + detour)
        };
        let first = way();
        let second = way();
        [Some(first), random.per_mille(self.weather.duplicates).then_some(second)]
    }
}
