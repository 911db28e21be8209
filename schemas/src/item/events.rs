//! Single bids for analysts, and the geometry that every stage reads.

use crate::attr::{AttrError, Attrs, n, number, s, text};
use crate::bid::Bid;
use crate::geometry::{Geometry, Pricing, Ranking};
use crate::keys;
use crate::time::Millis;

/// One bid, kept for analysts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BidEvent {
    /// The bid.
    pub bid: Bid,
    /// Start of its window.
    pub window_start: Millis,
    /// When the item may go, in seconds since the epoch.
    pub ttl: u64,
}

impl BidEvent {
    /// PK and SK.
    #[must_use]
    pub fn key(&self) -> (String, String) {
        (keys::slot_pk(&self.bid.slot_id), keys::bid_event_sk(&self.bid.region, &self.bid.bid_id))
    }

    /// The item as it is written.
    #[must_use]
    pub fn to_attrs(&self) -> Attrs {
        let (pk, sk) = self.key();
        Attrs::from([
            ("PK".to_owned(), s(pk)),
            ("SK".to_owned(), s(sk)),
            ("bid_amount".to_owned(), n(self.bid.amount)),
            ("latency_ms".to_owned(), n(self.bid.latency_ms)),
            ("quality_score".to_owned(), n(self.bid.quality)),
            ("timestamp".to_owned(), s(self.bid.event_time)),
            ("account_id".to_owned(), s(self.bid.account_id)),
            ("window_start".to_owned(), s(self.window_start)),
            ("ttl".to_owned(), n(self.ttl)),
        ])
    }
}

/// What all stages of a pipeline agree on, as one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeometryItem {
    /// Windows, ranking, pricing.
    pub geometry: Geometry,
    /// How long after a window's end an item may go, in ms; at least retention and a day.
    pub ttl_after_ms: u64,
    /// Buckets of the outbox.
    pub outbox_buckets: u32,
}

impl GeometryItem {
    /// TTL of an item of a window, in seconds since the epoch.
    #[must_use]
    pub fn ttl(&self, window_end: Millis) -> u64 {
        window_end.plus(self.ttl_after_ms).seconds()
    }

    /// PK and SK.
    #[must_use]
    pub fn key(&self) -> (String, String) {
        (keys::GEOMETRY.0.to_owned(), keys::GEOMETRY.1.to_owned())
    }

    /// The item as it is written.
    #[must_use]
    pub fn to_attrs(&self) -> Attrs {
        let (pk, sk) = self.key();
        let geometry = &self.geometry;
        let ranking = match geometry.ranking {
            Ranking::Amount => "amount",
            Ranking::AmountQuality => "amount_quality",
        };
        let pricing = match geometry.pricing {
            Pricing::First => "first",
            Pricing::Second => "second",
        };
        Attrs::from([
            ("PK".to_owned(), s(pk)),
            ("SK".to_owned(), s(sk)),
            ("window_ms".to_owned(), n(geometry.window_ms)),
            ("grace_ms".to_owned(), n(geometry.grace_ms)),
            ("ahead_max_ms".to_owned(), n(geometry.ahead_max_ms)),
            ("ranking".to_owned(), s(ranking)),
            ("pricing".to_owned(), s(pricing)),
            ("candidates".to_owned(), n(geometry.candidates)),
            ("ttl_after_ms".to_owned(), n(self.ttl_after_ms)),
            ("outbox_buckets".to_owned(), n(self.outbox_buckets)),
        ])
    }

    /// Reads the item.
    ///
    /// # Errors
    /// The first attribute that is absent, of another form or out of its range.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, AttrError> {
        let wrong = |name: &str, wanted| AttrError { name: name.to_owned(), wanted };
        let ranking = match text::<String>(attrs, "ranking")?.as_str() {
            "amount" => Ranking::Amount,
            "amount_quality" => Ranking::AmountQuality,
            _ => return Err(wrong("ranking", "amount or amount_quality")),
        };
        let pricing = match text::<String>(attrs, "pricing")?.as_str() {
            "first" => Pricing::First,
            "second" => Pricing::Second,
            _ => return Err(wrong("pricing", "first or second")),
        };
        let geometry = Geometry {
            window_ms: number(attrs, "window_ms")?,
            grace_ms: number(attrs, "grace_ms")?,
            ahead_max_ms: number(attrs, "ahead_max_ms")?,
            ranking,
            pricing,
            candidates: number(attrs, "candidates")?,
        };
        Ok(Self {
            geometry: geometry
                .check()
                .map_err(|_| wrong("window_ms", "part of a geometry within its ranges"))?,
            ttl_after_ms: number(attrs, "ttl_after_ms")?,
            outbox_buckets: number(attrs, "outbox_buckets")?,
        })
    }
}
