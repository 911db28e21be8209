//! Which bid of a response it is, as a UUID that comes out the same whenever the response is read.
//!
//! `bid.id` is for the bidder's own logging (OpenRTB 2.6, 4.2.3), and bidders give one id to all of their bids: never
//! is it alone what tells bids apart. The price is part of the identity, so that no two offers of different prices can
//! be taken for copies of one.

use std::fmt::Write;

use uuid::Uuid;

use crate::ids::BidId;

/// The namespace of the names of bids.
const NAMESPACE: Uuid = Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0031);

/// What tells one bid from all others. A text that is not given is empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'a> {
    /// The response's id, which is the bid request's.
    pub(super) response: &'a str,
    /// The buyer's seat.
    pub(super) seat: &'a str,
    /// The bidder's own id of the bid.
    pub(super) bid: &'a str,
    /// The impression.
    pub(super) impid: &'a str,
    /// What was offered, in the one text of that number.
    pub(super) price: &'a str,
    /// The time, where the response has no id; else empty.
    pub(super) time: &'a str,
}

impl Identity<'_> {
    /// Version 5 of [`NAMESPACE`] and all six texts, each as `LENGTH:TEXT,` with its length in bytes, so that two
    /// different identities never make one name.
    pub(super) fn bid_id(&self) -> BidId {
        let mut name = String::new();
        for text in [self.response, self.seat, self.bid, self.impid, self.price, self.time] {
            write!(name, "{}:{text},", text.len()).expect("memory takes every write");
        }
        BidId(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(texts: &[String]) -> BidId {
        let [response, seat, bid, impid, price, time] = std::array::from_fn(|at| texts[at].as_str());
        Identity { response, seat, bid, impid, price, time }.bid_id()
    }

    #[test]
    fn the_id_of_the_readme_comes_out() {
        let texts = ["req-1", "acme", "1", "imp-1", "5.4", ""].map(str::to_owned);
        assert_eq!(id(&texts).to_string(), "1e12584b-a214-5643-8fb0-f9f64add62ec");
    }

    proptest! {
        #[test]
        fn different_texts_are_different_bids(
            one in proptest::collection::vec("[0-9:,a]{0,4}", 6),
            other in proptest::collection::vec("[0-9:,a]{0,4}", 6),
        ) {
            prop_assert_eq!(id(&one) == id(&other), one == other);
            // The same letters cut at other places.
            let whole = one.concat();
            let cut: Vec<String> = (0..6).map(|at| if at == 0 { whole.clone() } else { String::new() }).collect();
            prop_assert_eq!(id(&one) == id(&cut), one == cut);
        }
    }
}
