//! Draws the script of a seed: bids, and among them whatever may go wrong.
//!
//! Each world leaves some kinds of faults out altogether and has more of others: a fault that needs two rare things is
//! found where one of them is common.

use super::chance::Chance;
use super::model::stream::TRIMS_LATE_MS;
use super::script::{Actor, BidOp, Op, RefuseOp, Script, Timed};
use super::setting::Setting;
use super::words::{Edit, Fate, Foreign, Refusable, RefusalEnd, Role, Service};

/// How often each kind of operation is drawn, in parts of their sum.
#[derive(Debug)]
struct Weights(Vec<(Kind, u64)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bid,
    Again,
    Foreign,
    Split,
    Merge,
    Crash,
    Stop,
    Pause,
    Outage,
    Deposit,
    Schema,
    Expire,
    Refuse,
    Manage,
    Trim,
    LoseLeases,
    Corrupt,
    Edit,
}

impl Weights {
    fn draw(seed: u64, chance: &mut Chance, setting: &Setting) -> Self {
        let mut kinds = vec![(Kind::Bid, 100)];
        let may = [
            (Kind::Again, 12),
            (Kind::Foreign, 6),
            (Kind::Split, 5),
            (Kind::Merge, 5),
            (Kind::Crash, 4),
            (Kind::Stop, 2),
            (Kind::Pause, 4),
            (Kind::Outage, 3),
            (Kind::Deposit, 4),
            (Kind::Schema, 3),
            (Kind::Expire, 4),
            (Kind::Refuse, 3),
            (Kind::Manage, 1),
        ];
        kinds.extend(may.into_iter().filter(|_| chance.happens(550)));
        // Rare: after either of them much of what was written is gone, and less is left to be checked.
        if setting.trims() {
            kinds.extend([(Kind::Trim, 4), (Kind::Crash, 2)]);
        }
        if chance.happens(120) {
            kinds.push((Kind::LoseLeases, 2));
        }
        if chance.happens(120) {
            kinds.push((Kind::Corrupt, 3));
        }
        // Drawn apart, so that worlds without it stay as they were. Where arrivals go back, the first record of a place
        // need not have the clock of the shard there, and nothing in the log tells: a limit, as at the edge of retention.
        if setting.arrival_jitter_ms == 0 && Chance::of(seed, [11, 0, 0]).happens(240) {
            kinds.push((Kind::Edit, 4));
        }
        Self(kinds)
    }

    fn pick(&self, chance: &mut Chance) -> Kind {
        let mut left = chance.below(self.0.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in &self.0 {
            if left < *weight {
                return *kind;
            }
            left -= weight;
        }
        Kind::Bid
    }
}

/// How often a call meets each fate, in parts of a thousand.
#[derive(Clone, Debug)]
pub struct Rates(Vec<(Fate, u32)>);

impl Rates {
    /// The rates of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::of(seed, [2, 0, 0]);
        let mut rates = Vec::new();
        for fate in Fate::ALL {
            if chance.happens(450) {
                let rate = match fate {
                    Fate::CrashBefore | Fate::CrashAfter => chance.pick(&[1, 2, 6]),
                    Fate::Conflict => chance.pick(&[50, 300]),
                    _ => chance.pick(&[4, 10, 30, 100]),
                };
                rates.push((*fate, rate));
            }
        }
        Self(rates)
    }

    /// The fate of a call, none when it is served.
    pub fn draw(&self, chance: &mut Chance) -> Option<Fate> {
        let drawn = self.0.iter().filter(|(_, rate)| chance.happens(*rate));
        drawn.map(|(fate, _)| *fate).next()
    }
}

/// How often the log is trimmed after readers come back, and how long passes between.
const TRIMS: u64 = 24;
const TRIM_EVERY_MS: u64 = 150;

/// The script of a seed, with this many operations and without fates of calls: those are drawn as the world runs.
#[must_use]
pub fn script(seed: u64, ops: usize, setting: &Setting) -> Script {
    let mut chance = Chance::of(seed, [3, 0, 0]);
    let weights = Weights::draw(seed, &mut chance, setting);
    let pace: &[u64] = chance.pick(&[&[0, 1, 5, 20, 60], &[0, 0, 2, 8], &[10, 40, 90]]);
    let idle = chance.pick(&[0, 8, 30]);
    let mut plan = Plan { chance, setting, bids: 0 };
    let (mut timed, mut at_ms, mut last_ms) = (Vec::with_capacity(ops), 0, 0);
    for _ in 0..ops {
        let gap = plan.chance.pick(pace);
        let longer = if plan.chance.happens(idle) { plan.chance.between(300, 4_000) } else { 0 };
        at_ms += gap + longer;
        let kind = weights.pick(&mut plan.chance);
        timed.push(Timed { at_ms, op: plan.op(kind) });
        if setting.trims() && kind == Kind::Crash {
            // All readers are down for so long that the log is trimmed behind what they stored, or under them when they
            // are back.
            let gap_ms = setting.retention_ms + TRIMS_LATE_MS + plan.chance.below(3_000) - 2_000;
            let for_ms = gap_ms - setting.failover_ms + plan.chance.below(2_000);
            let all = (0..setting.processors.len()).map(|index| Actor { role: Role::Processor, index });
            timed.extend(all.map(|actor| Timed { at_ms, op: Op::Crash { actor, for_ms } }));
            at_ms += gap_ms;
            // Retention does not stop while they catch up.
            let trims = (0..TRIMS).map(|n| Timed { at_ms: at_ms + n * TRIM_EVERY_MS, op: Op::Trim });
            timed.extend(trims);
            last_ms = at_ms + TRIMS * TRIM_EVERY_MS;
        }
    }
    timed.sort_by_key(|timed| timed.at_ms);
    Script { seed, calm_ms: at_ms.max(last_ms) + 500, ops: timed, fates: std::collections::BTreeMap::new() }
}

struct Plan<'a> {
    chance: Chance,
    setting: &'a Setting,
    bids: u32,
}

impl Plan<'_> {
    fn op(&mut self, kind: Kind) -> Op {
        let chance = &mut self.chance;
        match kind {
            Kind::Bid => self.bid(),
            Kind::Again if self.bids == 0 => self.bid(),
            Kind::Again => {
                let back = u32::try_from(chance.below(12)).expect("below 12");
                Op::Again { number: self.bids.saturating_sub(back).max(1), producer: self.producer() }
            }
            Kind::Foreign => {
                let slot = chance.index(self.setting.slots.len());
                Op::Foreign { kind: chance.pick(Foreign::ALL), slot }
            }
            Kind::Split => {
                let at = u8::try_from(chance.between(1, 255)).expect("at most 255");
                Op::Split { shard: chance.index(8), at: if chance.happens(500) { 128 } else { at } }
            }
            Kind::Merge => Op::Merge { shard: chance.index(8) },
            Kind::Crash => Op::Crash { for_ms: chance.pick(&[0, 100, 1_000, 4_000]), actor: self.actor() },
            Kind::Stop => Op::Stop { for_ms: chance.pick(&[300, 1_000, 3_000]), actor: self.actor() },
            Kind::Pause => {
                Op::Pause { for_ms: self.setting.failover_ms * chance.between(1, 6) / 2, actor: self.actor() }
            }
            Kind::Outage => {
                Op::Outage { service: chance.pick(Service::ALL), for_ms: chance.between(50, 3_000) }
            }
            Kind::Deposit => Op::Deposit {
                account: chance.index(self.setting.accounts.len()),
                units: chance.between(1, 500),
            },
            Kind::Schema => Op::Schema,
            Kind::Expire => Op::Expire,
            Kind::Manage => Op::Manage { for_ms: chance.pick(&[50, 400, 2_000]) },
            Kind::Refuse => Op::Refuse(RefuseOp {
                item: chance.pick(Refusable::ALL),
                for_ms: chance.pick(&[50, 1_000, 5_000, 15_000]),
                end: chance.pick(RefusalEnd::ALL),
            }),
            Kind::Trim => Op::Trim,
            Kind::LoseLeases => Op::LoseLeases,
            Kind::Corrupt => Op::Corrupt { item: chance.index(8) },
            Kind::Edit => {
                Op::Edit { row: chance.index(8), edit: chance.pick(Edit::ALL), record: chance.index(64) }
            }
        }
    }

    fn bid(&mut self) -> Op {
        self.bids += 1;
        let chance = &mut self.chance;
        let geometry = self.setting.agreed.geometry;
        let back = |ms: u64| -i64::try_from(ms).expect("a margin fits");
        let offset_ms = match chance.below(100) {
            0..70 => back(chance.below(20)),
            70..80 => back(chance.below(geometry.window_ms + geometry.grace_ms)),
            80..90 => back(geometry.grace_ms + chance.below(2 * geometry.window_ms + 1)),
            90..95 => -back(geometry.ahead_max_ms + chance.below(30)),
            _ => -back(geometry.ahead_max_ms.saturating_sub(chance.below(30))),
        };
        // Few amounts, so that ties are common, and some that are powers of two, so that a double count shows.
        let units =
            if chance.happens(400) { chance.pick(&[100, 200, 400]) } else { 1 << chance.between(0, 12) };
        let quality = u16::try_from(chance.pick(&[10_000, 5_000, 2_500, 0])).expect("at most 10,000");
        let slot = chance.index(self.setting.slots.len());
        let account = chance.index(self.setting.accounts.len());
        let producer = self.producer();
        Op::Bid(BidOp { number: self.bids, producer, slot, account, units, quality, offset_ms })
    }

    fn producer(&mut self) -> usize {
        self.chance.index(self.setting.producers.len())
    }

    fn actor(&mut self) -> Actor {
        let role = self.chance.pick(&[Role::Producer, Role::Processor, Role::Processor, Role::Settler]);
        let many = match role {
            Role::Producer => self.setting.producers.len(),
            Role::Processor => self.setting.processors.len(),
            Role::Settler => self.setting.settlers,
        };
        Actor { role, index: self.chance.index(many) }
    }
}
