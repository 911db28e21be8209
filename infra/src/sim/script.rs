//! A history as a list of operations that can be read, shortened and run again.
//!
//! `seed 7 calm 9000` stands first: the seed decides everything that no line says, such as geometry, accounts and
//! latencies, and after the time of calm nothing goes wrong any more. Each further line is one operation with its
//! time, or the fate of one call of one process.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::words::{Edit, Fate, Foreign, Refusable, RefusalEnd, Role, Service};

/// A process of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor {
    /// What it does.
    pub role: Role,
    /// Which of its kind, from 0.
    pub index: usize,
}

/// One thing that happens to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// An edge hands a new bid to a producer.
    Bid(BidOp),
    /// The edge hands the same bid in again.
    Again {
        /// The bid.
        number: u32,
        /// To which producer.
        producer: usize,
    },
    /// Another writer puts a record.
    Foreign {
        /// What it puts.
        kind: Foreign,
        /// The slot whose key it uses.
        slot: usize,
    },
    /// The open shard of this place is split at this 256th of its range.
    Split {
        /// Its place among the open shards, modulo their number.
        shard: usize,
        /// 1 to 255.
        at: u8,
    },
    /// The open shard of this place is merged with its upper neighbour.
    Merge {
        /// Its place among the open shards, modulo their number.
        shard: usize,
    },
    /// A process dies and is started again after a while.
    Crash {
        /// Which.
        actor: Actor,
        /// How long it is down.
        for_ms: u64,
    },
    /// A process is asked to stop, does so in order, and is started again after a while.
    Stop {
        /// Which.
        actor: Actor,
        /// How long after the request it is started again.
        for_ms: u64,
    },
    /// A process stands still for a while and then goes on, knowing nothing of it.
    Pause {
        /// Which.
        actor: Actor,
        /// How long.
        for_ms: u64,
    },
    /// A service is away for a while.
    Outage {
        /// Which.
        service: Service,
        /// How long.
        for_ms: u64,
    },
    /// An operator adds money to an account: a transaction of someone else.
    Deposit {
        /// Whose.
        account: usize,
        /// How much, in ten-thousandths.
        units: u64,
    },
    /// An operator changes the ledger's schema, which conflicts with every open transaction.
    Schema,
    /// DynamoDB deletes every item whose TTL is past.
    Expire,
    /// The stream removes records that are older than its retention.
    Trim,
    /// Someone deletes the lease table's rows.
    LoseLeases,
    /// Another tool changes the lease row of this place.
    Edit {
        /// Its place among the rows, modulo their number.
        row: usize,
        /// What it does.
        edit: Edit,
        /// Its place among the records that may be meant, modulo their number.
        record: usize,
    },
    /// Someone switches the stream to service-managed distribution for a while.
    Manage {
        /// How long, in ms.
        for_ms: u64,
    },
    /// The table refuses an item for a while.
    Refuse(RefuseOp),
    /// Someone changes the pending item of this place, and not its digest.
    Corrupt {
        /// Its place among the pending items, modulo their number.
        item: usize,
    },
}

/// A refusal as the script names it: the next item of a kind that is put is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefuseOp {
    /// Its kind.
    pub item: Refusable,
    /// How long, in ms.
    pub for_ms: u64,
    /// What ends it.
    pub end: RefusalEnd,
}

/// A bid as the script names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BidOp {
    /// Unique in the script.
    pub number: u32,
    /// To which producer.
    pub producer: usize,
    /// For which slot.
    pub slot: usize,
    /// Whose.
    pub account: usize,
    /// How much, in ten-thousandths.
    pub units: u64,
    /// Basis points.
    pub quality: u16,
    /// Event time less the producer's wall clock, in ms.
    pub offset_ms: i64,
}

/// An operation and when it happens, in ms since the world's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed {
    /// When.
    pub at_ms: u64,
    /// What.
    pub op: Op,
}

/// A history to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Decides what no line says.
    pub seed: u64,
    /// When faults cease, in ms since the world's beginning.
    pub calm_ms: u64,
    /// Operations in the order of their times.
    pub ops: Vec<Timed>,
    /// What happens to the nth call of a process, where it is not simply served.
    pub fates: BTreeMap<(Actor, u64), Fate>,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.role, self.index)
    }
}

impl FromStr for Actor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (role, index) = text.rsplit_once('-').ok_or_else(|| format!("{text} is no process"))?;
        Ok(Self { role: role.parse()?, index: index.parse().map_err(|_| format!("{text} is no process"))? })
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bid(bid) => {
                let BidOp { number, producer, slot, account, units, quality, offset_ms } = bid;
                write!(f, "bid {number} to {producer} slot {slot} account {account} units {units} ")?;
                write!(f, "quality {quality} offset {offset_ms}")
            }
            Self::Again { number, producer } => write!(f, "again {number} to {producer}"),
            Self::Foreign { kind, slot } => write!(f, "foreign {kind} slot {slot}"),
            Self::Split { shard, at } => write!(f, "split {shard} at {at}"),
            Self::Merge { shard } => write!(f, "merge {shard}"),
            Self::Crash { actor, for_ms } => write!(f, "crash {actor} for {for_ms}"),
            Self::Stop { actor, for_ms } => write!(f, "stop {actor} for {for_ms}"),
            Self::Pause { actor, for_ms } => write!(f, "pause {actor} for {for_ms}"),
            Self::Outage { service, for_ms } => write!(f, "outage {service} for {for_ms}"),
            Self::Deposit { account, units } => write!(f, "deposit {account} units {units}"),
            Self::Schema => f.write_str("schema"),
            Self::Expire => f.write_str("expire"),
            Self::Trim => f.write_str("trim"),
            Self::LoseLeases => f.write_str("lose-leases"),
            Self::Edit { row, edit, record } => write!(f, "edit {row} {edit} record {record}"),
            Self::Manage { for_ms } => write!(f, "manage for {for_ms}"),
            Self::Refuse(RefuseOp { item, for_ms, end }) => {
                write!(f, "refuse {item} for {for_ms} then {end}")
            }
            Self::Corrupt { item } => write!(f, "corrupt {item}"),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} calm {}", self.seed, self.calm_ms)?;
        for Timed { at_ms, op } in &self.ops {
            writeln!(f, "at {at_ms} {op}")?;
        }
        for ((actor, call), fate) in &self.fates {
            writeln!(f, "call {actor} {call} {fate}")?;
        }
        Ok(())
    }
}

/// Reads what a value's words say.
fn word<T: FromStr>(words: &[&str], at: usize) -> Result<T, String> {
    let text = words.get(at).ok_or_else(|| format!("{} is cut short", words.join(" ")))?;
    text.parse().map_err(|_| format!("{text} does not fit in: {}", words.join(" ")))
}

impl FromStr for Op {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let w = words.as_slice();
        Ok(match w.first().copied().unwrap_or_default() {
            "bid" => Self::Bid(BidOp {
                number: word(w, 1)?,
                producer: word(w, 3)?,
                slot: word(w, 5)?,
                account: word(w, 7)?,
                units: word(w, 9)?,
                quality: word(w, 11)?,
                offset_ms: word(w, 13)?,
            }),
            "again" => Self::Again { number: word(w, 1)?, producer: word(w, 3)? },
            "foreign" => Self::Foreign { kind: word(w, 1)?, slot: word(w, 3)? },
            "split" => Self::Split { shard: word(w, 1)?, at: word(w, 3)? },
            "merge" => Self::Merge { shard: word(w, 1)? },
            "crash" => Self::Crash { actor: word(w, 1)?, for_ms: word(w, 3)? },
            "stop" => Self::Stop { actor: word(w, 1)?, for_ms: word(w, 3)? },
            "pause" => Self::Pause { actor: word(w, 1)?, for_ms: word(w, 3)? },
            "outage" => Self::Outage { service: word(w, 1)?, for_ms: word(w, 3)? },
            "deposit" => Self::Deposit { account: word(w, 1)?, units: word(w, 3)? },
            "schema" => Self::Schema,
            "expire" => Self::Expire,
            "trim" => Self::Trim,
            "lose-leases" => Self::LoseLeases,
            "edit" => Self::Edit { row: word(w, 1)?, edit: word(w, 2)?, record: word(w, 4)? },
            "manage" => Self::Manage { for_ms: word(w, 2)? },
            "refuse" => Self::Refuse(RefuseOp { item: word(w, 1)?, for_ms: word(w, 3)?, end: word(w, 5)? }),
            "corrupt" => Self::Corrupt { item: word(w, 1)? },
            other => return Err(format!("{other} is no operation")),
        })
    }
}

impl FromStr for Script {
    type Err = String;
    /// Reads a script; empty lines and those that begin with `#` say nothing.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            let words: Vec<&str> = rest.split_whitespace().collect();
            match kind {
                "seed" => (script.seed, script.calm_ms) = (word(&words, 0)?, word(&words, 2)?),
                "at" => {
                    let (at, op) = rest.split_once(' ').ok_or_else(|| format!("{line} is cut short"))?;
                    script.ops.push(Timed { at_ms: word(&[at], 0)?, op: op.parse()? });
                }
                "call" => {
                    script.fates.insert((word(&words, 0)?, word(&words, 1)?), word(&words, 2)?);
                }
                other => return Err(format!("{other} begins no line of a script")),
            }
        }
        Ok(script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_survives_its_own_text() {
        let text = "seed 9 calm 50\nat 10 bid 1 to 0 slot 2 account 3 units 400 quality 9000 offset -50\n\
            at 11 again 1 to 1\nat 12 foreign stray slot 1\nat 13 split 0 at 128\nat 14 merge 1\n\
            at 15 crash processor-1 for 900\nat 16 stop settler-0 for 20\nat 17 pause producer-1 for 30\n\
            at 18 outage table for 40\nat 19 deposit 1 units 5\nat 20 schema\nat 21 expire\nat 22 trim\n\
            at 23 lose-leases\nat 24 corrupt 3\nat 25 edit 1 forward record 7\n\
            at 26 refuse totals for 900 then skipped\nat 27 manage for 700\ncall producer-0 7 lost-reply\ncall settler-1 9 crash-after\n";
        let script: Script = text.parse().unwrap();
        assert_eq!((script.ops.len(), script.fates.len()), (18, 2));
        assert_eq!(script.to_string(), text);
        assert!("at 1 fly".parse::<Script>().is_err());
    }
}
