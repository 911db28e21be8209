//! The item that a closed auction leaves, from `PENDING` to its decision.
//! A little longer than 400 lines: fields, digest and attributes of one item must be read side by side.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use super::digest::Fields;
use super::replay::Replay;
use crate::attr::{Attr, AttrError, Attrs, count, map, maps, millis, money, n, number, s, text};
use crate::bid::RankKey;
use crate::geometry::Ranking;
use crate::ids::{AccountId, BidId, Region, SequenceNumber, SettlementId, ShardId, SlotId};
use crate::keys;
use crate::money::{BasisPoints, Money, Price};
use crate::time::Millis;

/// A bid that may win, with the place where its record lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The bid.
    pub bid_id: BidId,
    /// Who bids.
    pub account_id: AccountId,
    /// Where its edge stands.
    pub region: Region,
    /// What is offered.
    pub amount: Price,
    /// Quality as a share of one.
    pub quality: BasisPoints,
    /// When it was made.
    pub event_time: Millis,
    /// The shard its record lies in.
    pub shard_id: ShardId,
    /// Its record's number.
    pub sequence: SequenceNumber,
    /// Its place in the record, from 0.
    pub sub_sequence: u32,
}

/// What one region bid in one auction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionStats {
    /// Counted bids.
    pub bids: u64,
    /// Sum of their amounts.
    pub amount_sum: Money,
    /// The highest amount.
    pub amount_max: Price,
    /// Sum of their latencies, in ms.
    pub latency_ms_sum: u64,
    /// The highest latency, in ms.
    pub latency_ms_max: u32,
    /// The region's best bid.
    pub best: Candidate,
}

/// Where an auction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Awaits settlement.
    Pending,
    /// Sold.
    Settled,
    /// Not sold, for a stated reason.
    NoSale,
    /// Set aside with its error until released.
    Held,
}

impl State {
    /// The word in the item.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Settled => "SETTLED",
            Self::NoSale => "NO_SALE",
            Self::Held => "HELD",
        }
    }
}

impl FromStr for State {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Pending, Self::Settled, Self::NoSale, Self::Held]
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or(())
    }
}

/// What was decided, as the ledger's row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sold.
    Sale {
        /// Who pays.
        winner: AccountId,
        /// What is paid.
        clearing_price: Price,
    },
    /// Not sold.
    NoSale {
        /// Why.
        reason: String,
    },
}

/// The decision that an item copies from its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The row's key.
    pub settlement_id: SettlementId,
    /// When the row was made.
    pub settled_at: Millis,
    /// What was decided.
    pub outcome: Outcome,
}

/// A closed auction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// What was auctioned.
    pub slot_id: SlotId,
    /// Start of the window, inclusive.
    pub window_start: Millis,
    /// End of the window, exclusive.
    pub window_end: Millis,
    /// Counted bids.
    pub bids: u64,
    /// Distinct accounts among them.
    pub bidders: u64,
    /// Sum of amounts.
    pub amount_sum: Money,
    /// The lowest amount.
    pub amount_min: Price,
    /// The highest amount.
    pub amount_max: Price,
    /// Copies that were not counted.
    pub duplicates: u64,
    /// What each region bid; what is more than an item can hold stands under [`Region::OTHERS`].
    pub regions: BTreeMap<Region, RegionStats>,
    /// The best bids of distinct accounts, best first.
    pub candidates: Vec<Candidate>,
    /// The amount of the account that follows the last candidate.
    pub next_amount: Option<Price>,
    /// Its score.
    pub next_score: Option<u128>,
    /// The shard that closed it.
    pub shard_id: ShardId,
    /// From where its log is read again, when others bid than the candidates.
    pub replay: Option<Arc<Replay>>,
    /// Where it stands.
    pub state: State,
    /// What was decided, when it was.
    pub decision: Option<Decision>,
    /// Why it is held, when it is.
    pub held_error: Option<String>,
    /// When it may go, in seconds since the epoch; never while it awaits settlement.
    pub ttl: Option<u64>,
}

impl Candidate {
    /// Where its bid stands among the candidates of its auction.
    #[must_use]
    pub fn rank_key(&self, ranking: Ranking) -> RankKey {
        let ids = (self.bid_id, self.account_id);
        RankKey::new(ranking, (self.amount, self.quality), self.event_time, ids)
    }

    fn digest(&self, fields: Fields) -> Fields {
        fields
            .with(self.bid_id)
            .with(self.account_id)
            .with(self.region)
            .with(self.amount.units())
            .with(self.quality.get())
            .with(self.event_time.0)
            .with(&self.shard_id)
            .with(&self.sequence)
            .with(self.sub_sequence)
    }

    fn to_attrs(&self) -> Attrs {
        Attrs::from([
            ("bid_id".to_owned(), s(self.bid_id)),
            ("account_id".to_owned(), s(self.account_id)),
            ("region".to_owned(), s(self.region)),
            ("amount".to_owned(), n(self.amount)),
            ("quality".to_owned(), n(self.quality)),
            ("event_time".to_owned(), s(self.event_time)),
            ("shard".to_owned(), s(&self.shard_id)),
            ("sequence".to_owned(), s(&self.sequence)),
            ("sub_sequence".to_owned(), n(self.sub_sequence)),
        ])
    }

    fn from_attrs(attrs: &Attrs) -> Result<Self, AttrError> {
        Ok(Self {
            bid_id: text(attrs, "bid_id")?,
            account_id: text(attrs, "account_id")?,
            region: text(attrs, "region")?,
            amount: price(attrs, "amount")?,
            quality: quality(attrs, "quality")?,
            event_time: millis(attrs, "event_time")?,
            shard_id: ShardId(text(attrs, "shard")?),
            sequence: text(attrs, "sequence")?,
            sub_sequence: number(attrs, "sub_sequence")?,
        })
    }
}

pub(super) fn price(attrs: &Attrs, name: &str) -> Result<Price, AttrError> {
    let units = u64::try_from(money(attrs, name)?.0).ok();
    let price = units.and_then(|units| Price::from_units(units).ok());
    price.ok_or_else(|| AttrError { name: name.to_owned(), wanted: "a price" })
}

fn quality(attrs: &Attrs, name: &str) -> Result<BasisPoints, AttrError> {
    let points = u16::try_from(money(attrs, name)?.0).ok();
    points
        .and_then(BasisPoints::new)
        .ok_or_else(|| AttrError { name: name.to_owned(), wanted: "a share of one" })
}

impl RegionStats {
    fn to_attrs(&self) -> Attrs {
        Attrs::from([
            ("bids".to_owned(), n(self.bids)),
            ("amount_sum".to_owned(), n(self.amount_sum)),
            ("amount_max".to_owned(), n(self.amount_max)),
            ("latency_ms_sum".to_owned(), n(self.latency_ms_sum)),
            ("latency_ms_max".to_owned(), n(self.latency_ms_max)),
            ("best".to_owned(), Attr::M(self.best.to_attrs())),
        ])
    }

    fn from_attrs(attrs: &Attrs) -> Result<Self, AttrError> {
        Ok(Self {
            bids: count(attrs, "bids")?,
            amount_sum: money(attrs, "amount_sum")?,
            amount_max: price(attrs, "amount_max")?,
            latency_ms_sum: number(attrs, "latency_ms_sum")?,
            latency_ms_max: number(attrs, "latency_ms_max")?,
            best: Candidate::from_attrs(map(attrs, "best")?)?,
        })
    }
}

impl Aggregate {
    /// PK and SK.
    #[must_use]
    pub fn key(&self) -> (String, String) {
        (keys::slot_pk(&self.slot_id), keys::window_sk(self.window_start))
    }

    /// The digest over everything that the log decides, and nothing that comes later.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut fields = Fields::new("aggregate")
            .with(self.slot_id)
            .with(self.window_start.0)
            .with(self.window_end.0)
            .with(self.bids)
            .with(self.bidders)
            .with(self.amount_sum.0)
            .with(self.amount_min.units())
            .with(self.amount_max.units())
            .with(self.duplicates)
            .with(self.regions.len());
        for (region, stats) in &self.regions {
            fields = fields
                .with(region)
                .with(stats.bids)
                .with(stats.amount_sum.0)
                .with(stats.amount_max.units())
                .with(stats.latency_ms_sum)
                .with(stats.latency_ms_max);
            fields = stats.best.digest(fields);
        }
        fields = fields.with(self.candidates.len());
        for candidate in &self.candidates {
            fields = candidate.digest(fields);
        }
        fields.with_option(self.next_amount.map(Price::units)).with_option(self.next_score).finish()
    }

    /// The item as it is written. `buckets` is the pipeline's number of outbox buckets.
    #[must_use]
    pub fn to_attrs(&self, buckets: u32) -> Attrs {
        let (pk, sk) = self.key();
        let regions =
            self.regions.iter().map(|(region, stats)| (region.to_string(), Attr::M(stats.to_attrs())));
        let candidates = self.candidates.iter().map(|candidate| Attr::M(candidate.to_attrs()));
        let mut attrs = Attrs::from([
            ("PK".to_owned(), s(pk)),
            ("SK".to_owned(), s(sk)),
            ("slot_id".to_owned(), s(self.slot_id)),
            ("window_start".to_owned(), s(self.window_start)),
            ("window_end".to_owned(), s(self.window_end)),
            ("bids".to_owned(), n(self.bids)),
            ("bidders".to_owned(), n(self.bidders)),
            ("amount_sum".to_owned(), n(self.amount_sum)),
            ("amount_min".to_owned(), n(self.amount_min)),
            ("amount_max".to_owned(), n(self.amount_max)),
            ("duplicates".to_owned(), n(self.duplicates)),
            ("regions".to_owned(), Attr::M(regions.collect())),
            ("candidates".to_owned(), Attr::L(candidates.collect())),
            ("digest".to_owned(), s(self.digest())),
            ("shard_id".to_owned(), s(&self.shard_id)),
            ("state".to_owned(), s(self.state.as_str())),
        ]);
        if let Some(replay) = &self.replay {
            replay.put(&mut attrs);
        }
        let mut optional =
            |name: &str, value: Option<Attr>| value.map(|value| attrs.insert(name.to_owned(), value));
        optional("next_amount", self.next_amount.map(n));
        optional("next_score", self.next_score.map(n));
        optional("ttl", self.ttl.map(n));
        optional("held_error", self.held_error.as_ref().map(s));
        if let Some(decision) = &self.decision {
            optional("settlement_id", Some(s(decision.settlement_id)));
            optional("settled_at", Some(s(decision.settled_at)));
            match &decision.outcome {
                Outcome::Sale { winner, clearing_price } => {
                    optional("winner", Some(s(winner)));
                    optional("clearing_price", Some(n(clearing_price)));
                }
                Outcome::NoSale { reason } => drop(optional("no_sale_reason", Some(s(reason)))),
            }
        }
        if let (State::Pending, Some(first)) = (self.state, self.candidates.first()) {
            let bucket = keys::outbox_bucket(&first.account_id, buckets);
            optional("outbox_pk", Some(s(keys::outbox_pk(bucket, keys::outbox_sub(&self.slot_id)))));
            optional("outbox_sk", Some(s(keys::outbox_sk(self.window_end, &self.slot_id))));
        }
        attrs
    }

    /// Reads an item; the digest attribute is read by [`Aggregate::stored_digest`].
    ///
    /// # Errors
    /// The first attribute that is absent or of another form.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, AttrError> {
        let mut regions = BTreeMap::new();
        for name in map(attrs, "regions")?.keys() {
            let region = if name == Region::OTHERS.as_str() { Ok(Region::OTHERS) } else { name.parse() };
            let region =
                region.map_err(|_| AttrError { name: "regions".into(), wanted: "a map of regions" })?;
            regions.insert(region, RegionStats::from_attrs(map(map(attrs, "regions")?, name)?)?);
        }
        let candidates: Result<_, _> =
            maps(attrs, "candidates")?.into_iter().map(Candidate::from_attrs).collect();
        let present = |name: &str| attrs.contains_key(name);
        let when = |name: &str| if present(name) { price(attrs, name).map(Some) } else { Ok(None) };
        Ok(Self {
            slot_id: text(attrs, "slot_id")?,
            window_start: millis(attrs, "window_start")?,
            window_end: millis(attrs, "window_end")?,
            bids: count(attrs, "bids")?,
            bidders: count(attrs, "bidders")?,
            amount_sum: money(attrs, "amount_sum")?,
            amount_min: price(attrs, "amount_min")?,
            amount_max: price(attrs, "amount_max")?,
            duplicates: count(attrs, "duplicates")?,
            regions,
            candidates: candidates?,
            next_amount: when("next_amount")?,
            next_score: if present("next_score") { Some(number(attrs, "next_score")?) } else { None },
            shard_id: ShardId(text(attrs, "shard_id")?),
            replay: Replay::take(attrs)?.map(Arc::new),
            state: text(attrs, "state")?,
            decision: decision(attrs)?,
            held_error: if present("held_error") { Some(text(attrs, "held_error")?) } else { None },
            ttl: if present("ttl") { Some(number(attrs, "ttl")?) } else { None },
        })
    }

    /// The digest that an item carries.
    ///
    /// # Errors
    /// When there is none.
    pub fn stored_digest(attrs: &Attrs) -> Result<String, AttrError> {
        text(attrs, "digest")
    }
}

fn decision(attrs: &Attrs) -> Result<Option<Decision>, AttrError> {
    if !attrs.contains_key("settlement_id") {
        return Ok(None);
    }
    let outcome = if attrs.contains_key("winner") {
        Outcome::Sale { winner: text(attrs, "winner")?, clearing_price: price(attrs, "clearing_price")? }
    } else {
        Outcome::NoSale { reason: text(attrs, "no_sale_reason")? }
    };
    let (settlement_id, settled_at) = (text(attrs, "settlement_id")?, millis(attrs, "settled_at")?);
    Ok(Some(Decision { settlement_id, settled_at, outcome }))
}
