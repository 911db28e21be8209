//! What is taken in, and what is refused or kept before it reaches the sender.

use std::collections::VecDeque;
use std::sync::Arc;

use schemas::bid::Bid;
use schemas::intake::OfferedBid;
use schemas::item::Roster;

use super::Drive;
use crate::core::admission::{AdmissionError, Verdict};
use crate::core::delivery::{Moment, Outcome};
use crate::metrics::Metrics;
use crate::metrics::refusals::Reason;
use crate::source::{Feed, Taken};

impl Drive {
    /// Takes what is due of the bids that were kept, and as much of the backlog as there is room for.
    pub(super) fn on_backlog(&mut self, backlog: &mut VecDeque<Taken>, held_max: usize) {
        if backlog.is_empty() && self.admission.kept() == 0 {
            return;
        }
        let now = self.now();
        while let Some((ticket, bid)) = self.admission.poll_due(now.wall) {
            self.sender.on_bid(ticket, bid, now);
        }
        while self.held() < held_max
            && let Some(taken) = backlog.pop_front()
        {
            self.on_taken(taken, now);
        }
    }

    /// From now on the accounts of this roster may bid.
    pub(super) fn on_roster(&mut self, roster: Option<Arc<Roster>>) {
        let version = roster.as_ref().map_or(0, |roster| roster.version());
        Metrics::set(&self.metrics.roster_version, version);
        self.admission.on_roster(roster);
    }

    /// Bids taken and not yet answered.
    pub(super) fn held(&self) -> usize {
        self.sender.held() + self.admission.kept()
    }

    fn on_taken(&mut self, taken: Taken, now: Moment) {
        let (ticket, bid) = match taken {
            Taken::Refused { line, refused } => {
                Metrics::add(&self.metrics.sent);
                self.metrics.on_refused(self.region, Reason::of_field(&refused.field));
                let told = self.answers.on_refused(line, &refused.field, &refused.reason, &refused.text);
                return self.check(told);
            }
            Taken::Call(call) => {
                let (tickets, bids) = self.calls.on_call(call);
                tickets.zip(bids).for_each(|(ticket, read)| self.on_read(ticket, &read, now));
                return;
            }
            Taken::Duplicate { bid, ticket } => {
                Metrics::add(&self.metrics.duplicates_generated);
                (ticket, bid)
            }
            Taken::Bid { bid, ticket } => (ticket, bid),
            Taken::Read { read, ticket } => return self.on_read(ticket, &read, now),
        };
        self.on_bid(ticket, bid, now);
    }

    fn on_read(&mut self, ticket: u64, read: &OfferedBid, now: Moment) {
        if let Some(offered) = read.offered() {
            Metrics::add(&self.metrics.rounded);
            self.answers.on_rounded(ticket, offered);
        }
        self.on_bid(ticket, *read.bid(), now);
    }

    fn on_bid(&mut self, ticket: u64, bid: Bid, now: Moment) {
        Metrics::add(&self.metrics.sent);
        match self.admission.on_bid(ticket, &bid, now.wall) {
            Verdict::Refuse(error) => return self.refuse(ticket, &bid, error, now),
            Verdict::Kept => {}
            Verdict::Send => self.sender.on_bid(ticket, bid, now),
        }
        let recorded = self.answers.on_taken(ticket, &bid);
        self.check(recorded);
    }

    fn refuse(&mut self, ticket: u64, bid: &Bid, error: AdmissionError, now: Moment) {
        self.metrics.on_refused(bid.region, Reason::from(&error));
        self.answer(ticket, bid, Outcome::Refused(error), now);
    }

    /// Tells what became of a bid, once it is counted.
    pub(super) fn answer(&mut self, ticket: u64, bid: &Bid, outcome: Outcome, now: Moment) {
        let told = self.answers.on_outcome(ticket, bid, &outcome, now.wall);
        self.check(told);
        if !self.calls.is_empty() {
            self.calls.on_outcome(ticket, outcome);
        }
    }

    /// Takes no more from the feed but what was read of it.
    pub(super) async fn end(&mut self, feed: &mut Option<Feed>, backlog: &mut VecDeque<Taken>) {
        let Some(mut feed) = feed.take() else { return };
        let (rest, failure) = feed.rest().await;
        backlog.extend(rest);
        if let Some(error) = failure {
            self.fail(error);
        }
    }

    /// Time to stop: every bid that is held is answered as it stands. What is not due yet was never sent.
    pub(super) fn abandon(&mut self, backlog: &mut VecDeque<Taken>) {
        self.on_backlog(backlog, usize::MAX);
        let now = self.now();
        for (ticket, bid) in self.admission.clear() {
            Metrics::add(&self.metrics.undelivered);
            self.answer(ticket, &bid, Outcome::Undelivered, now);
        }
        self.sender.abandon();
    }
}
