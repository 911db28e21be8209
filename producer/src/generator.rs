//! Load from the `nexmark` crate: its bids mapped onto slots and accounts, with its skew.
//!
//! The same seed and region give the same bids but for their times, which are the caller's. Slots and accounts do not
//! depend on the seed, so that what was provisioned once serves every load.

use std::str::FromStr;

use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::{Event, EventType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schemas::bid::Bid;
use schemas::ids::{AccountId, BidId, Region, SlotId};
use schemas::money::{BasisPoints, Money, Price};
use schemas::time::Millis;
use uuid::Uuid;

use crate::error::Error;

const SLOTS: Uuid = Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0010);
const ACCOUNTS: Uuid = Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0020);
/// How far off a bid is dated that is meant to be late or early: further than any sensible grace.
const OFF_MS: u64 = 600_000;
/// Bids of which a duplicate may be made.
const RECENT: usize = 256;
/// NEXMark's own price is in cents; higher ones are cut here, so that sample accounts last.
const CENTS_MAX: usize = 1_000_000;

/// The slot of a number.
#[must_use]
pub fn slot(number: u32) -> SlotId {
    SlotId(Uuid::new_v5(&SLOTS, &number.to_be_bytes()))
}

/// The account of a number.
#[must_use]
pub fn account(number: u32) -> AccountId {
    AccountId(Uuid::new_v5(&ACCOUNTS, &number.to_be_bytes()))
}

/// A share of all bids, from 0 to 1, in steps of 1/10,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(u16);

impl FromStr for Share {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let units = text.parse::<Money>().ok().and_then(|units| u16::try_from(units.0).ok());
        units.filter(|units| *units <= 10_000).map(Self).ok_or("a share is 0 to 1 with at most 4 decimals")
    }
}

/// A region of the mix: `REGION=WEIGHT` or `REGION=WEIGHT@SKEW`, the skew of its clock in ms. A word without a weight is
/// more likely a slip than a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mixed {
    /// The region.
    pub region: Region,
    /// How many bids it has for each one of a region of weight 1; above 0.
    pub weight: u32,
    /// How far its clock is ahead of ours, in ms; below 0 when it is behind.
    pub skew_ms: i64,
}

impl FromStr for Mixed {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "the mix is REGION=WEIGHT or REGION=WEIGHT@SKEW_MS, as in eu-west-1=3@-400";
        let (region, rest) = text.split_once('=').ok_or(FORM)?;
        let (weight, skew_ms) = rest.split_once('@').unwrap_or((rest, "0"));
        let region = region.parse().map_err(|_| FORM)?;
        let weight = weight.parse().ok().filter(|weight| (1..=1_000_000).contains(weight)).ok_or(FORM)?;
        Ok(Self { region, weight, skew_ms: skew_ms.parse().map_err(|_| FORM)? })
    }
}

/// What load to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratorConfig {
    /// Bids a second.
    pub rate: u32,
    /// How long, in ms; without end when absent.
    pub duration_ms: Option<u64>,
    /// How many bids; without end when absent.
    pub count: Option<u64>,
    /// Slots, at least 1.
    pub slots: u32,
    /// Accounts, at least 1.
    pub accounts: u32,
    /// The seed.
    pub seed: u64,
    /// NEXMark's hot ratio of slots: all but one in so many bids go to the hot slot of the moment; 1 is no skew.
    pub hot_slots: u32,
    /// The same for accounts.
    pub hot_accounts: u32,
    /// Bids sent twice.
    pub duplicates: Share,
    /// Bids dated too early to count.
    pub late: Share,
    /// Bids dated in the future.
    pub early: Share,
    /// Lines that are no bid.
    pub invalid: Share,
    /// Regions that bid, with their weights and clocks; the producer's own when there are none.
    pub mix: Vec<Mixed>,
}

impl Default for GeneratorConfig {
    fn default() -> Self {
        Self {
            rate: 1_000,
            duration_ms: None,
            count: None,
            slots: 200,
            accounts: 1_000,
            seed: 1,
            hot_slots: 2,
            hot_accounts: 4,
            duplicates: Share(0),
            late: Share(0),
            early: Share(0),
            invalid: Share(0),
            mix: Vec::new(),
        }
    }
}

impl GeneratorConfig {
    /// Checks that the shares are parts of one whole: every piece of load is one of them, or a good bid.
    ///
    /// # Errors
    /// [`Error::Usage`] when they are more than one.
    pub fn check(self) -> Result<Self, Error> {
        let shares = [self.duplicates, self.late, self.early, self.invalid];
        let sum: u32 = shares.iter().map(|share| u32::from(share.0)).sum();
        if sum <= 10_000 {
            return Ok(self);
        }
        let sum = Money(i128::from(sum));
        let message =
            format!("--duplicates, --late, --early and --invalid are {sum} together; they may be at most 1");
        Err(Error::Usage { message })
    }
}

/// One piece of load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// A bid.
    Bid(Bid),
    /// A copy of an earlier bid.
    Duplicate(Bid),
    /// A line that is no bid.
    Invalid(String),
}

/// Load without end.
#[derive(Debug)]
pub struct Generator {
    config: GeneratorConfig,
    events: EventGenerator,
    chance: StdRng,
    slots: Vec<SlotId>,
    accounts: Vec<AccountId>,
    /// At least one.
    mix: Vec<Mixed>,
    weights: u32,
    recent: Vec<Bid>,
    made: u64,
}

impl Generator {
    /// Load of one region.
    #[must_use]
    pub fn new(config: GeneratorConfig, region: Region) -> Self {
        let mix = |sum: u64, byte: u8| sum.wrapping_mul(31).wrapping_add(u64::from(byte));
        let seed = region.as_str().bytes().fold(config.seed, mix);
        let mut chance = StdRng::seed_from_u64(seed);
        let ratio = |number: u32| usize::try_from(number.max(1)).unwrap_or(1);
        let nexmark = NexmarkConfig {
            hot_auction_ratio: ratio(config.hot_slots),
            hot_bidder_ratio: ratio(config.hot_accounts),
            // No padding text: nothing here reads it.
            avg_bid_byte_size: 0,
            base_time: 0,
            ..NexmarkConfig::default()
        };
        let mix = match config.mix.clone() {
            none if none.is_empty() => vec![Mixed { region, weight: 1, skew_ms: 0 }],
            some => some,
        };
        // NEXMark draws an event from its number alone: where counting starts is what the seed decides.
        let start = chance.random_range(0..1_u64 << 40);
        Self {
            events: EventGenerator::new(nexmark).with_offset(start).with_type_filter(EventType::Bid),
            chance,
            slots: (0..config.slots.max(1)).map(slot).collect(),
            accounts: (0..config.accounts.max(1)).map(account).collect(),
            weights: mix.iter().fold(0, |sum, one| sum.saturating_add(one.weight)),
            mix,
            config,
            recent: Vec::new(),
            made: 0,
        }
    }

    /// The next piece, made at `now`.
    pub fn next(&mut self, now: Millis) -> Made {
        let GeneratorConfig { duplicates, late, early, invalid, .. } = self.config;
        let drawn = self.chance.random_range(0..10_000_u16);
        let mut bounds = [duplicates, late, early, invalid].into_iter().scan(0_u16, |sum, share| {
            *sum = sum.saturating_add(share.0);
            Some(*sum)
        });
        match bounds.position(|bound| drawn < bound) {
            Some(0) if !self.recent.is_empty() => {
                Made::Duplicate(self.recent[self.chance.random_range(0..self.recent.len())])
            }
            Some(1) => Made::Bid(self.bid(Millis(now.0.saturating_sub(OFF_MS)))),
            Some(2) => Made::Bid(self.bid(now.plus(OFF_MS))),
            Some(3) => Made::Invalid(format!(r#"{{"amount":"-{}"}}"#, self.made)),
            _ => {
                let bid = self.bid(now);
                match self.recent.len() {
                    RECENT => self.recent[usize::try_from(self.made).unwrap_or(0) % RECENT] = bid,
                    _ => self.recent.push(bid),
                }
                Made::Bid(bid)
            }
        }
    }

    fn bid(&mut self, event_time: Millis) -> Bid {
        self.made += 1;
        let bid = loop {
            if let Some(Event::Bid(bid)) = self.events.next() {
                break bid;
            }
        };
        let Mixed { region, skew_ms, .. } = self.edge();
        let cents = u64::try_from(bid.price.clamp(1, CENTS_MAX)).expect("clamped");
        // Parts of a cent keep equal prices rare.
        let units = cents * 100 + self.chance.random_range(0..100);
        Bid {
            bid_id: BidId(uuid::Builder::from_random_bytes(self.chance.random()).into_uuid()),
            slot_id: self.slots[bid.auction % self.slots.len()],
            account_id: self.accounts[bid.bidder % self.accounts.len()],
            region,
            amount: Price::from_units(units).expect("from 100 to 100,000,099 units"),
            latency_ms: self.chance.random_range(5..120),
            quality: BasisPoints::new(self.chance.random_range(5_000..=10_000)).expect("at most one"),
            event_time: Millis(event_time.0.saturating_add_signed(skew_ms)),
        }
    }

    /// The edge that takes the next bid.
    fn edge(&mut self) -> Mixed {
        if self.mix.len() == 1 {
            return self.mix[0];
        }
        let mut drawn = self.chance.random_range(0..self.weights);
        let hit = |one: &&Mixed| match drawn.checked_sub(one.weight) {
            Some(rest) => {
                drawn = rest;
                false
            }
            None => true,
        };
        *self.mix.iter().find(hit).expect("drawn below the sum of weights")
    }
}

/// How many pieces are due, so that the rate holds over the whole and a slow turn is made up for.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rate: u32,
    duration_ms: Option<u64>,
    count: Option<u64>,
    made: u64,
}

impl Pace {
    /// Nothing made yet.
    #[must_use]
    pub fn new(config: &GeneratorConfig) -> Self {
        let &GeneratorConfig { rate, duration_ms, count, .. } = config;
        Self { rate, duration_ms, count, made: 0 }
    }

    /// How many are due so long after the start, at most `most`; none when all is made.
    pub fn poll(&mut self, elapsed_ms: u64, most: u64) -> Option<u64> {
        let Self { rate, duration_ms, count, .. } = *self;
        let elapsed_ms = duration_ms.map_or(elapsed_ms, |duration_ms| elapsed_ms.min(duration_ms));
        let reached = elapsed_ms.saturating_mul(u64::from(rate)) / 1_000;
        let due = count.map_or(reached, |count| reached.min(count));
        let over = duration_ms.is_some_and(|duration_ms| elapsed_ms >= duration_ms) || count == Some(due);
        if over && self.made >= due {
            return None;
        }
        let now = (due - self.made).min(most);
        self.made += now;
        Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(seed: u64, region: &str, change: impl Fn(&mut GeneratorConfig)) -> Vec<Made> {
        let mut config = GeneratorConfig { seed, ..GeneratorConfig::default() };
        change(&mut config);
        let mut generator = Generator::new(config, region.parse().unwrap());
        (0..10_000).map(|_| generator.next(Millis(OFF_MS * 2))).collect()
    }

    #[test]
    fn shares_are_parts_of_one_whole() {
        let share = |text: &str| text.parse().unwrap();
        let load = |late, early| GeneratorConfig {
            late: share(late),
            early: share(early),
            ..GeneratorConfig::default()
        };
        assert!(load("0.4", "0.6").check().is_ok());
        let refused = load("0.4", "0.6001").check().unwrap_err();
        assert_eq!(refused.exit_code(), schemas::exit::USAGE);
        assert!(refused.to_string().contains("1.0001 together"), "{refused}");
    }

    #[test]
    fn a_seed_and_a_region_give_one_load() {
        assert_eq!(load(7, "eu-west-1", |_| ()), load(7, "eu-west-1", |_| ()));
        assert_ne!(load(7, "eu-west-1", |_| ()), load(8, "eu-west-1", |_| ()));
        assert_ne!(load(7, "eu-west-1", |_| ()), load(7, "us-east-1", |_| ()));
    }

    #[test]
    fn some_slots_are_hot_unless_told_otherwise() {
        let busiest = |made: Vec<Made>| {
            let mut counts = std::collections::BTreeMap::new();
            for one in made {
                let Made::Bid(bid) = one else { continue };
                *counts.entry(bid.slot_id).or_insert(0_u32) += 1;
            }
            counts.into_values().max().unwrap()
        };
        assert!(busiest(load(7, "eu-west-1", |_| ())) > 1_500);
        assert!(busiest(load(7, "eu-west-1", |config| config.hot_slots = 1)) < 400);
    }

    #[test]
    fn shares_are_kept() {
        let made = load(7, "eu-west-1", |config| {
            config.duplicates = "0.1".parse().unwrap();
            config.late = "0.05".parse().unwrap();
            config.early = "0.02".parse().unwrap();
            config.invalid = "0.01".parse().unwrap();
        });
        let count = |test: &dyn Fn(&Made) -> bool| made.iter().filter(|one| test(one)).count();
        let dated = |at: u64| count(&|one| matches!(one, Made::Bid(bid) if bid.event_time.0 == at));
        assert!((900..1_100).contains(&count(&|one| matches!(one, Made::Duplicate(_)))));
        assert!((420..580).contains(&dated(OFF_MS)));
        assert!((150..250).contains(&dated(OFF_MS * 3)));
        assert!((60..140).contains(&count(&|one| matches!(one, Made::Invalid(_)))));
        assert!("1.1".parse::<Share>().is_err() && "-0.1".parse::<Share>().is_err());
    }

    #[test]
    fn regions_bid_by_their_weights_and_by_their_own_clocks() {
        let mix = ["us-east-1=3@-400", "eu-west-1=1@250"].map(|text| text.parse::<Mixed>().unwrap());
        let made = load(7, "sa-east-1", |config| config.mix = mix.to_vec());
        let bids = made.iter().filter_map(|one| match one {
            Made::Bid(bid) => Some((bid.region.to_string(), bid.event_time.0)),
            _ => None,
        });
        let (us, eu): (Vec<_>, Vec<_>) = bids.partition(|(region, _)| region == "us-east-1");
        assert!((7_300..7_700).contains(&us.len()), "{}", us.len());
        assert!(us.iter().all(|(_, at)| *at == OFF_MS * 2 - 400));
        assert!(eu.iter().all(|(region, at)| region == "eu-west-1" && *at == OFF_MS * 2 + 250));
        for bad in ["", "EU", "foo", "eu-west-1", "eu-west-1=", "eu-west-1=0", "eu-west-1=1@x", "eu-west-1=x"]
        {
            assert!(bad.parse::<Mixed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_pace_makes_up_for_slow_turns_and_ends() {
        let config = GeneratorConfig { rate: 100, duration_ms: Some(1_000), ..GeneratorConfig::default() };
        let mut pace = Pace::new(&config);
        assert_eq!(
            [pace.poll(15, 512), pace.poll(500, 30), pace.poll(500, 30)],
            [Some(1), Some(30), Some(19)]
        );
        assert_eq!([pace.poll(9_000, 512), pace.poll(9_000, 512)], [Some(50), None]);
        let mut pace = Pace::new(&GeneratorConfig { count: Some(5), ..config });
        assert_eq!([pace.poll(60_000, 512), pace.poll(60_000, 512)], [Some(5), None]);
    }
}
