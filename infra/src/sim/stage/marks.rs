//! The marks of one batch: each copies a row of the ledger to its item, and is tried some times; holds are tried once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runtime::backoff::Backoff;
use schemas::attr::{Attr, Attrs, n, s};
use schemas::item::{Outcome, State};
use settler::core::rows::{Auction, Decided};

use crate::sim::call::{Answer, Call, Key, Life, Reply, Update};
use crate::sim::coverage::Met;
use crate::sim::net::Net;

/// Between two tries of a mark.
const MARK_BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(1) };
/// Tries of a mark; after them the item is found again in the outbox.
const MARK_TRIES: u32 = 5;

/// What is sent for a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// The mark.
    Mark,
    /// Once it was refused: what stands there.
    Read,
}

/// How far a mark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// To be sent then.
    Due(u64, What),
    /// Sent.
    Sent(What),
    /// Over.
    Over,
}

#[derive(Debug)]
struct Mark {
    auction: Arc<Auction>,
    row: Decided,
    step: Step,
    attempt: u32,
}

/// The marks and holds of one batch.
#[derive(Debug)]
pub struct Marks {
    life: Life,
    marks: Vec<Mark>,
    holds: Vec<Update>,
    /// Marks under way, by tag.
    asked: BTreeMap<u64, usize>,
    /// Holds under way.
    holding: usize,
    left: usize,
}

/// The update that sets an item aside.
#[must_use]
pub fn hold(key: Key, reason: &str) -> Update {
    let set =
        Attrs::from([("state".to_owned(), s(State::Held.as_str())), ("held_error".to_owned(), s(reason))]);
    Update { key, digest: None, state: State::Pending.as_str().to_owned(), set }
}

impl Marks {
    /// Marks for what was decided, and updates that set items aside.
    #[must_use]
    pub fn new(life: Life, decided: Vec<(Arc<Auction>, Decided)>, holds: Vec<Update>) -> Self {
        let mark = |(auction, row)| Mark { auction, row, step: Step::Due(0, What::Mark), attempt: 0 };
        let marks = decided.into_iter().map(mark).collect();
        Self { life, marks, holds, asked: BTreeMap::new(), holding: 0, left: 0 }
    }

    /// How many items left the outbox.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left
    }

    /// An answer came.
    pub fn on_hear(&mut self, tag: u64, reply: Reply, net: &mut Net) {
        let Some(at) = self.asked.remove(&tag) else { return };
        let Some(mark) = self.marks.get_mut(at) else {
            self.holding -= 1;
            if matches!(reply, Ok(Answer::Done)) {
                net.coverage.meet(Met::Held);
                self.left += 1;
            }
            return;
        };
        let Step::Sent(what) = mark.step else { return };
        mark.step = match (what, reply) {
            (What::Mark, Ok(Answer::Done)) => {
                self.left += 1;
                Step::Over
            }
            (What::Mark, Ok(_)) => Step::Due(net.now_ms, What::Read),
            (What::Read, Ok(Answer::Items(items))) => {
                let digest = items.first().and_then(|item| item.get("digest"));
                if digest.is_some_and(|digest| *digest != Attr::S(mark.row.digest.clone())) {
                    self.holds.push(hold(mark.auction.aggregate.key(), "the item carries another digest"));
                }
                Step::Over
            }
            _ if mark.attempt + 1 < MARK_TRIES => {
                let delay = MARK_BACKOFF.delay(mark.attempt, net.unit(self.life.actor));
                mark.attempt += 1;
                Step::Due(net.now_ms + u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), What::Mark)
            }
            _ => Step::Over,
        };
    }

    /// Sends what is due; answers when to look again, nothing when all is over.
    pub fn turn(&mut self, next_tag: &mut u64, net: &mut Net) -> Option<u64> {
        let mut next_ms = u64::MAX;
        for (at, mark) in self.marks.iter_mut().enumerate() {
            let Step::Due(due_ms, what) = mark.step else { continue };
            if due_ms > net.now_ms {
                next_ms = next_ms.min(due_ms);
                continue;
            }
            *next_tag += 1;
            self.asked.insert(*next_tag, at);
            mark.step = Step::Sent(what);
            let call = match what {
                What::Mark => Call::Update(update(&mark.auction, &mark.row, net)),
                What::Read => Call::Item(mark.auction.aggregate.key()),
            };
            net.call(self.life, *next_tag, call);
        }
        for update in std::mem::take(&mut self.holds) {
            *next_tag += 1;
            self.asked.insert(*next_tag, usize::MAX);
            self.holding += 1;
            net.call(self.life, *next_tag, Call::Update(update));
        }
        let over = self.holding == 0 && self.marks.iter().all(|mark| mark.step == Step::Over);
        (!over).then_some(next_ms.min(net.now_ms + 1_000))
    }
}

fn update(auction: &Auction, row: &Decided, net: &Net) -> Update {
    let decision = &row.decision;
    let ttl = net.setting.agreed.ttl(auction.aggregate.window_end);
    let mut set = Attrs::from([
        ("settlement_id".to_owned(), s(decision.settlement_id)),
        ("settled_at".to_owned(), s(decision.settled_at)),
        ("ttl".to_owned(), n(ttl)),
    ]);
    let state = match &decision.outcome {
        Outcome::Sale { winner, clearing_price } => {
            set.insert("winner".to_owned(), s(winner));
            set.insert("clearing_price".to_owned(), n(clearing_price));
            State::Settled
        }
        Outcome::NoSale { reason } => {
            set.insert("no_sale_reason".to_owned(), s(reason));
            State::NoSale
        }
    };
    set.insert("state".to_owned(), s(state.as_str()));
    let pending = State::Pending.as_str().to_owned();
    Update { key: auction.aggregate.key(), digest: Some(row.digest.clone()), state: pending, set }
}
