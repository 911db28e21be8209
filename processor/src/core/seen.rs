//! Who bid before, and with which bids: what finds copies exactly.
//!
//! Most accounts bid once in an auction, so the first bid of a pair of both lies beside it and costs one access to
//! one index; further ones have an index of their own. Nothing is forgotten before the window is closed, and nothing
//! that leaves a window depends on the order here.

use schemas::bid::Bid;

use super::index::{Index, Put, Tag, emptied, place, wide};
use super::mutant::{self, Mutant};

/// An account in an auction, and its first bid there.
#[derive(Clone, Copy, Debug)]
struct Pair {
    auction: u32,
    account: [u8; 16],
    first: [u8; 16],
}

impl Pair {
    #[inline]
    fn is_of(&self, auction: u32, account: &[u8; 16]) -> bool {
        self.auction == auction && self.account == *account
    }
}

/// A bid after a pair's first.
#[derive(Clone, Copy, Debug)]
struct Further {
    pair: u32,
    bid: [u8; 16],
}

/// What a bid is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The first of its account in its auction.
    NewBidder,
    /// Another one of a known account.
    NewBid,
    /// One that was seen.
    Copy,
}

/// Where to look for a bid's pair and for the bid.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tags {
    pub(super) pair: Tag,
    pub(super) bid: Tag,
}

/// All counted bids of a window.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pairs: Vec<Pair>,
    further: Vec<Further>,
    pair_index: Index<5>,
    further_index: Index<5>,
}

impl Seen {
    /// Takes a bid in whose pair was guessed, and answers with the pair's number; a copy changes nothing.
    #[inline]
    pub(super) fn enter(&mut self, auction: u32, bid: &Bid, tags: Tags, guess: u32) -> (Entry, u32) {
        let (account, bid) = (bid.account_id.as_bytes(), bid.bid_id.as_bytes());
        let guess = guess.wrapping_sub(1);
        let pair = match self.pairs.get(wide(guess)) {
            Some(pair) if pair.is_of(auction, account) => guess,
            _ => match self.put_pair(auction, (account, bid), tags.pair) {
                Put::Found(pair) => pair,
                Put::New => return (Entry::NewBidder, place(self.pairs.len() - 1)),
            },
        };
        (self.put_further(pair, bid, tags.bid), pair)
    }

    #[inline]
    fn put_pair(&mut self, auction: u32, (account, first): (&[u8; 16], &[u8; 16]), tag: Tag) -> Put {
        let pairs = &mut self.pairs;
        let put = self.pair_index.find_or_put(tag, |at| pairs[wide(at)].is_of(auction, account));
        if put == Put::New {
            pairs.push(Pair { auction, account: *account, first: *first });
        }
        put
    }

    #[inline]
    fn put_further(&mut self, pair: u32, bid: &[u8; 16], tag: Tag) -> Entry {
        let further = &mut self.further;
        let same = |at: u32| further[wide(at)].pair == pair && further[wide(at)].bid == *bid;
        if self.pairs[wide(pair)].first == *bid || self.further_index.find_or_put(tag, same) != Put::New {
            return if mutant::is(Mutant::DuplicateCounted) { Entry::NewBid } else { Entry::Copy };
        }
        further.push(Further { pair, bid: *bid });
        Entry::NewBid
    }

    /// Begins to fetch where a bid and its pair are looked for.
    #[inline]
    pub(super) fn touch(&self, tags: Tags) -> u32 {
        self.pair_index.touch(tags.pair) ^ self.further_index.touch(tags.bid)
    }

    /// Where a bid's pair most likely is: its place plus one, or 0.
    #[inline]
    pub(super) fn guess(&self, tags: Tags) -> u32 {
        self.pair_index.guess(tags.pair)
    }

    /// Begins to fetch a pair that was guessed; without a guess the first one, so that no branch depends on it.
    #[inline]
    pub(super) fn touch_pair(&self, guess: u32) -> u32 {
        self.pairs.get(wide(guess.saturating_sub(1))).map_or(0, |pair| pair.auction)
    }

    /// Bids.
    pub(super) fn len(&self) -> usize {
        self.pairs.len() + self.further.len()
    }

    /// Takes the bids of another window, whose auctions have new places or are not moved. `tags` answers with those of
    /// an auction's account and bid. Answers with the new number of each pair, 0 for one that is not moved.
    pub(super) fn take_moved(
        &mut self,
        other: &Seen,
        auctions: &[Option<u32>],
        tags: impl Fn(u32, &[u8; 16], &[u8; 16]) -> Tags,
    ) -> Vec<u32> {
        let take = |pair: &Pair| {
            let Some(auction) = auctions[wide(pair.auction)] else { return 0 };
            let tag = tags(auction, &pair.account, &pair.first).pair;
            match self.put_pair(auction, (&pair.account, &pair.first), tag) {
                Put::Found(pair) => pair,
                Put::New => place(self.pairs.len() - 1),
            }
        };
        let moved: Vec<u32> = other.pairs.iter().map(take).collect();
        for further in &other.further {
            let pair = &other.pairs[wide(further.pair)];
            let Some(auction) = auctions[wide(pair.auction)] else { continue };
            let tag = tags(auction, &pair.account, &further.bid).bid;
            self.put_further(moved[wide(further.pair)], &further.bid, tag);
        }
        moved
    }

    /// Empty, with memory that is worth keeping.
    pub(super) fn emptied(self) -> Self {
        Self {
            pairs: emptied(self.pairs),
            further: emptied(self.further),
            pair_index: self.pair_index.emptied(),
            further_index: self.further_index.emptied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::bid::Bid;
    use schemas::ids::{AccountId, BidId, SlotId};
    use schemas::money::{BasisPoints, Price};
    use schemas::time::Millis;

    use super::*;
    use crate::core::index::Key;

    fn bid(account: u8, id: u8) -> Bid {
        Bid {
            bid_id: BidId::from_bytes([id; 16]),
            slot_id: SlotId::from_bytes([1; 16]),
            account_id: AccountId::from_bytes([account; 16]),
            region: "eu-central-1".parse().unwrap(),
            amount: Price::from_units(1).unwrap(),
            latency_ms: 0,
            quality: BasisPoints::new(0).unwrap(),
            event_time: Millis(0),
        }
    }

    fn tags(auction: u8, bid: &Bid) -> Tags {
        let key = Key::default();
        let pair = key.begin(&[auction; 16]).id(bid.account_id.as_bytes(), key);
        Tags { pair: pair.tag(), bid: pair.id(bid.bid_id.as_bytes(), key).tag() }
    }

    #[test]
    fn first_and_further_bids_are_known_again_and_nobody_elses_are() {
        let mut seen = Seen::default();
        let mut enter = |auction: u8, bid: Bid| {
            let tags = tags(auction, &bid);
            let guess = seen.guess(tags);
            let (entry, pair) = seen.enter(auction.into(), &bid, tags, guess);
            // A copy is one however often it comes, and whatever was guessed.
            for guess in [seen.guess(tags), guess, 0, 1, 1_000] {
                assert_eq!(seen.enter(auction.into(), &bid, tags, guess), (Entry::Copy, pair));
            }
            entry
        };
        assert_eq!(enter(0, bid(1, 1)), Entry::NewBidder);
        assert_eq!(enter(0, bid(1, 2)), Entry::NewBid);
        assert_eq!(enter(0, bid(1, 3)), Entry::NewBid);
        assert_eq!([1, 2, 3].map(|id| enter(0, bid(1, id))), [Entry::Copy; 3]);
        // The same ids of another account, and of the same account in another auction.
        assert_eq!(enter(0, bid(2, 2)), Entry::NewBidder);
        assert_eq!(enter(0, bid(2, 1)), Entry::NewBid);
        assert_eq!(enter(1, bid(1, 2)), Entry::NewBidder);
        assert_eq!(seen.len(), 6);
        let emptied = seen.emptied();
        assert_eq!(emptied.len(), 0);
    }
}
