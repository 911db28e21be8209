//! What a shard counted in a window: totals by region, and its busiest slots.

use super::aggregate::price;
use super::digest::Fields;
use crate::attr::{Attr, AttrError, Attrs, count, maps, millis, money, n, number, s, text};
use crate::ids::{Region, ShardId, SlotId};
use crate::keys;
use crate::money::{Money, Price};
use crate::time::Millis;

/// One region in one window of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionTotals {
    /// The region, `-` when it could not be read.
    pub region: Region,
    /// Start of the window.
    pub window_start: Millis,
    /// The shard that counted.
    pub shard_id: ShardId,
    /// Counted bids.
    pub bids: u64,
    /// Sum of their amounts.
    pub amount_sum: Money,
    /// The highest amount, none without counted bids.
    pub amount_max: Option<Price>,
    /// Auctions whose first candidate came from here.
    pub top_ranked: u64,
    /// Sum of latencies, in ms.
    pub latency_ms_sum: u64,
    /// Bids that arrived after the close of their window.
    pub late: u64,
    /// Bids dated too far ahead.
    pub early: u64,
    /// Bids in a shard that does not own their slot.
    pub stray: u64,
    /// Copies of counted bids.
    pub duplicates: u64,
    /// Bids that are not valid.
    pub rejected: u64,
    /// When the item may go, in seconds since the epoch.
    pub ttl: u64,
}

impl RegionTotals {
    /// PK and SK.
    #[must_use]
    pub fn key(&self) -> (String, String) {
        (keys::region_pk(&self.region), keys::region_sk(self.window_start, &self.shard_id))
    }

    /// The digest over everything that the log decides.
    #[must_use]
    pub fn digest(&self) -> String {
        Fields::new("region")
            .with(self.region)
            .with(self.window_start.0)
            .with(&self.shard_id)
            .with(self.bids)
            .with(self.amount_sum.0)
            .with_option(self.amount_max.map(Price::units))
            .with(self.top_ranked)
            .with(self.latency_ms_sum)
            .with(self.late)
            .with(self.early)
            .with(self.stray)
            .with(self.duplicates)
            .with(self.rejected)
            .finish()
    }

    /// The item as it is written.
    #[must_use]
    pub fn to_attrs(&self) -> Attrs {
        let (pk, sk) = self.key();
        let mut attrs = Attrs::from([
            ("PK".to_owned(), s(pk)),
            ("SK".to_owned(), s(sk)),
            ("region".to_owned(), s(self.region)),
            ("window_start".to_owned(), s(self.window_start)),
            ("shard_id".to_owned(), s(&self.shard_id)),
            ("bids".to_owned(), n(self.bids)),
            ("amount_sum".to_owned(), n(self.amount_sum)),
            ("top_ranked".to_owned(), n(self.top_ranked)),
            ("latency_ms_sum".to_owned(), n(self.latency_ms_sum)),
            ("late".to_owned(), n(self.late)),
            ("early".to_owned(), n(self.early)),
            ("stray".to_owned(), n(self.stray)),
            ("duplicates".to_owned(), n(self.duplicates)),
            ("rejected".to_owned(), n(self.rejected)),
            ("digest".to_owned(), s(self.digest())),
            ("ttl".to_owned(), n(self.ttl)),
        ]);
        if let Some(amount) = self.amount_max {
            attrs.insert("amount_max".to_owned(), n(amount));
        }
        attrs
    }

    /// Reads an item.
    ///
    /// # Errors
    /// The first attribute that is absent or of another form.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, AttrError> {
        let region: String = text(attrs, "region")?;
        let region = Region::of_totals(&region);
        Ok(Self {
            region: region.map_err(|_| AttrError { name: "region".to_owned(), wanted: "a region" })?,
            window_start: millis(attrs, "window_start")?,
            shard_id: ShardId(text(attrs, "shard_id")?),
            bids: count(attrs, "bids")?,
            amount_sum: money(attrs, "amount_sum")?,
            amount_max: if attrs.contains_key("amount_max") {
                Some(price(attrs, "amount_max")?)
            } else {
                None
            },
            top_ranked: count(attrs, "top_ranked")?,
            latency_ms_sum: number(attrs, "latency_ms_sum")?,
            late: count(attrs, "late")?,
            early: count(attrs, "early")?,
            stray: count(attrs, "stray")?,
            duplicates: count(attrs, "duplicates")?,
            rejected: count(attrs, "rejected")?,
            ttl: number(attrs, "ttl")?,
        })
    }
}

/// A slot among the busiest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotSlot {
    /// The slot.
    pub slot_id: SlotId,
    /// Counted bids.
    pub bids: u64,
    /// The highest amount.
    pub amount_max: Price,
}

/// The busiest slots of one window of one shard, busiest first, then by slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotSlots {
    /// Start of the window.
    pub window_start: Millis,
    /// The shard that counted.
    pub shard_id: ShardId,
    /// At most [`crate::limits::HOT_SLOTS`].
    pub slots: Vec<HotSlot>,
    /// When the item may go, in seconds since the epoch.
    pub ttl: u64,
}

impl HotSlots {
    /// PK and SK.
    #[must_use]
    pub fn key(&self) -> (String, String) {
        (keys::hot_pk(self.window_start), self.shard_id.to_string())
    }

    /// The digest over everything that the log decides.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut fields =
            Fields::new("hot").with(self.window_start.0).with(&self.shard_id).with(self.slots.len());
        for slot in &self.slots {
            fields = fields.with(slot.slot_id).with(slot.bids).with(slot.amount_max.units());
        }
        fields.finish()
    }

    /// The item as it is written.
    #[must_use]
    pub fn to_attrs(&self) -> Attrs {
        let (pk, sk) = self.key();
        let one = |slot: &HotSlot| {
            Attr::M(Attrs::from([
                ("slot_id".to_owned(), s(slot.slot_id)),
                ("bids".to_owned(), n(slot.bids)),
                ("amount_max".to_owned(), n(slot.amount_max)),
            ]))
        };
        Attrs::from([
            ("PK".to_owned(), s(pk)),
            ("SK".to_owned(), s(sk)),
            ("window_start".to_owned(), s(self.window_start)),
            ("shard_id".to_owned(), s(&self.shard_id)),
            ("slots".to_owned(), Attr::L(self.slots.iter().map(one).collect())),
            ("digest".to_owned(), s(self.digest())),
            ("ttl".to_owned(), n(self.ttl)),
        ])
    }

    /// Reads an item.
    ///
    /// # Errors
    /// The first attribute that is absent or of another form.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, AttrError> {
        let one = |attrs: &Attrs| {
            Ok(HotSlot {
                slot_id: text(attrs, "slot_id")?,
                bids: count(attrs, "bids")?,
                amount_max: price(attrs, "amount_max")?,
            })
        };
        Ok(Self {
            window_start: millis(attrs, "window_start")?,
            shard_id: ShardId(text(attrs, "shard_id")?),
            slots: maps(attrs, "slots")?.into_iter().map(one).collect::<Result<_, _>>()?,
            ttl: number(attrs, "ttl")?,
        })
    }
}
