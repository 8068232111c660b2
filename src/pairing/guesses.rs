//! How many wrong codes are let through: per player, per address, and altogether.
//!
//! The first two are buckets. The third is a budget of *chance*: a wrong code costs what its chance of
//! hitting somebody's pairing was, open pairings divided by codes, and the budget grows by
//! [`HITS_PER_DAY`] a day. So however many players and addresses somebody has, all guesses of all of
//! them together hit so many strangers' pairings on average, at most; with more open pairings, fewer
//! guesses are let through. `docs/PAIRING.md` has the figures.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

use super::PairingError;
use super::code::space;
use super::options::{PairingOptions, WrongCodes, millis};
use crate::id::UserId;

/// Strangers' pairings that guessing may hit on average, in all and in a hundred days: one.
const HITS_PER_DAY: Ratio = Ratio(1, 100);
/// How much of the budget can be saved up, nanoseconds of its growth: an hour.
const SAVED_NS_MAX: u64 = 3_600 * 1_000_000_000;
/// Most players and most addresses that are remembered; when they have all given wrong codes lately,
/// nobody else is let through.
const GUESSERS_MAX: usize = 65_536;
/// Between two times that those are forgotten whose buckets are full again, milliseconds.
const SWEEP_MS: u64 = 10_000;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_DAY: u128 = 86_400 * 1_000_000_000;

struct Ratio(u128, u128);

/// Who gives a code.
#[derive(Clone, Copy, Debug)]
pub struct Guesser<'a> {
    /// The player.
    pub player: &'a UserId,
    /// Where the request came from, if that is known.
    pub address: Option<IpAddr>,
    /// When it was asked, monotonic milliseconds.
    pub now_ms: u64,
}

/// All that was guessed wrong lately.
#[derive(Debug)]
pub(super) struct Guesses {
    players: Buckets<UserId>,
    addresses: Buckets<IpAddr>,
    /// Codes that there are.
    space: u128,
    /// When the budget is saved up again, monotonic nanoseconds.
    saved_ns: u64,
}

impl Guesses {
    pub(super) fn new(options: &PairingOptions) -> Self {
        Self {
            players: Buckets::new(options.wrong_codes_per_player),
            addresses: Buckets::new(options.wrong_codes_per_address),
            space: space(options.code_length),
            saved_ns: 0,
        }
    }

    /// Whether somebody may give a code, with so many pairings open to anybody.
    ///
    /// Errors: [`PairingError::TooManyGuesses`]. It says how long for, not whose guesses they were.
    pub(super) fn check(&self, by: Guesser<'_>, open: usize) -> Result<(), PairingError> {
        let now_ns = by.now_ms.saturating_mul(NS_PER_MS);
        let ahead_ns = self.saved_ns.saturating_sub(now_ns);
        let over_ns = (ahead_ns + self.cost_ns(open)).saturating_sub(SAVED_NS_MAX);
        let altogether = match ahead_ns {
            // A single guess may cost more than can be saved.
            0 => 0,
            _ => over_ns.div_ceil(NS_PER_MS),
        };
        let player = self.players.wait_ms(by.player, by.now_ms);
        let address = by.address.map_or(0, |address| {
            self.addresses.wait_ms(&network(address), by.now_ms)
        });
        match altogether.max(player).max(address) {
            0 => Ok(()),
            retry_after_ms => Err(PairingError::TooManyGuesses { retry_after_ms }),
        }
    }

    /// Counts a wrong code of somebody who was let through.
    pub(super) fn charge(&mut self, by: Guesser<'_>, open: usize) {
        let now_ns = by.now_ms.saturating_mul(NS_PER_MS);
        self.saved_ns = self.saved_ns.max(now_ns).saturating_add(self.cost_ns(open));
        self.players.charge(by.player.clone(), by.now_ms);
        if let Some(address) = by.address {
            self.addresses.charge(network(address), by.now_ms);
        }
    }

    /// What one guess costs: the time in which the budget grows by its chance, nanoseconds.
    fn cost_ns(&self, open: usize) -> u64 {
        let Ratio(hits, days) = HITS_PER_DAY;
        let open = open.max(1) as u128;
        let cost = (open * NS_PER_DAY * days).div_ceil(self.space * hits);
        u64::try_from(cost)
            .unwrap_or(u64::MAX / 4)
            .min(u64::MAX / 4)
    }
}

/// The address, or the network of which somebody has all addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// One bucket for each of those who were wrong lately: when it is full again, monotonic milliseconds.
#[derive(Debug)]
struct Buckets<K> {
    interval_ms: u64,
    burst: u64,
    full_ms: HashMap<K, u64>,
    swept_ms: u64,
}

impl<K: Eq + Hash> Buckets<K> {
    fn new(rate: WrongCodes) -> Self {
        Self {
            interval_ms: millis(rate.interval),
            burst: u64::from(rate.burst.max(1)),
            full_ms: HashMap::new(),
            swept_ms: 0,
        }
    }

    /// How long somebody has to wait for the next, milliseconds.
    fn wait_ms(&self, key: &K, now_ms: u64) -> u64 {
        let Some(full_ms) = self.full_ms.get(key) else {
            let is_full = self.full_ms.len() >= GUESSERS_MAX;
            return if is_full { self.interval_ms.max(1) } else { 0 };
        };
        let used_ms = full_ms.saturating_sub(now_ms);
        let most_ms = self.interval_ms.saturating_mul(self.burst - 1);
        used_ms.saturating_sub(most_ms)
    }

    fn charge(&mut self, key: K, now_ms: u64) {
        if now_ms.saturating_sub(self.swept_ms) >= SWEEP_MS {
            self.swept_ms = now_ms;
            self.full_ms.retain(|_, full_ms| *full_ms > now_ms);
        }
        let full_ms = self.full_ms.entry(key).or_insert(0);
        *full_ms = (*full_ms).max(now_ms).saturating_add(self.interval_ms);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const GENEROUS: WrongCodes = WrongCodes {
        burst: u32::MAX,
        interval: Duration::ZERO,
    };

    fn guesses(player: WrongCodes, address: WrongCodes) -> Guesses {
        Guesses::new(&PairingOptions {
            wrong_codes_per_player: player,
            wrong_codes_per_address: address,
            ..PairingOptions::default()
        })
    }

    /// How many wrong codes get through before one is refused, and how long it has to wait.
    fn burst(guesses: &mut Guesses, by: Guesser<'_>, open: usize) -> (u64, u64) {
        for count in 0.. {
            match guesses.check(by, open) {
                Ok(()) => guesses.charge(by, open),
                Err(PairingError::TooManyGuesses { retry_after_ms }) => {
                    return (count, retry_after_ms);
                }
                Err(other) => panic!("{other}"),
            }
        }
        unreachable!()
    }

    #[test]
    fn a_player_has_a_burst_and_then_one_each_interval() {
        let rate = PairingOptions::default().wrong_codes_per_player;
        let mut guesses = guesses(rate, GENEROUS);
        let (ann, bob) = (UserId::from("ann"), UserId::from("bob"));
        let mut by = Guesser {
            player: &ann,
            address: None,
            now_ms: 1000,
        };
        assert_eq!(burst(&mut guesses, by, 1), (5, 60_000));
        by.now_ms += 59_999;
        assert_eq!(burst(&mut guesses, by, 1), (0, 1));
        by.now_ms += 1;
        assert_eq!(burst(&mut guesses, by, 1), (1, 60_000));
        by.player = &bob;
        assert_eq!(
            burst(&mut guesses, by, 1).0,
            5,
            "another player is not concerned"
        );
    }

    #[test]
    fn an_address_is_one_guesser_and_so_is_a_64_of_ipv6() {
        let rate = PairingOptions::default().wrong_codes_per_address;
        let mut guesses = guesses(GENEROUS, rate);
        let players: Vec<UserId> = (0..30).map(|n| format!("p{n}").into()).collect();
        let mut through = 0;
        for (number, player) in players.iter().enumerate() {
            let by = Guesser {
                player,
                address: Some(format!("2001:db8::{number}").parse().unwrap()),
                now_ms: 0,
            };
            if guesses.check(by, 1).is_ok() {
                guesses.charge(by, 1);
                through += 1;
            }
        }
        assert_eq!(through, 20);
        let mapped = network("::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(mapped, network("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn all_guesses_together_hit_one_pairing_in_a_hundred_days() {
        const DAYS: u64 = 4;
        for open in [1, 100, 10_000, 1_000_000] {
            let mut guesses = guesses(GENEROUS, GENEROUS);
            let player = UserId::from("everybody");
            let mut count = 0;
            // Not each millisecond: the burst in between is let through as well.
            for minute in 0..DAYS * 24 * 60 {
                let by = Guesser {
                    player: &player,
                    address: None,
                    now_ms: minute * 60_000,
                };
                // The many of a nearly empty server are only counted.
                if open == 1 && minute > 2 {
                    break;
                }
                count += burst(&mut guesses, by, open).0;
            }
            let hits = count as f64 * open as f64 / space(6) as f64;
            // Plus what is saved up, and one guess that may cost more than that.
            let bound = 0.01 * (DAYS as f64 + 1.0 / 24.0) + open as f64 / space(6) as f64;
            assert!(
                hits <= bound,
                "{open} open: {count} guesses hit {hits}, not {bound}"
            );
            assert!(count > 0, "{open} open: some guess is let through");
        }
    }

    #[test]
    fn the_tables_are_bounded_and_forget() {
        let rate = WrongCodes {
            burst: 1,
            interval: Duration::from_millis(1000),
        };
        let mut buckets = Buckets::new(rate);
        for key in 0..GUESSERS_MAX {
            assert_eq!(buckets.wait_ms(&key, 0), 0);
            buckets.charge(key, 0);
        }
        assert_eq!(buckets.wait_ms(&GUESSERS_MAX, 0), 1000, "there is no place");
        buckets.charge(0, SWEEP_MS);
        assert_eq!(buckets.full_ms.len(), 1);
    }
}
