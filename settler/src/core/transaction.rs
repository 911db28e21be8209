//! The transaction runner's decisions: a state machine of one batch. Events and time in, effects out.
//!
//! An attempt reads its own keys, plans, and writes together with COMMIT. Whatever goes wrong, the whole attempt is made
//! again after full jitter, and because it begins by reading, a conflict, a lost reply and a second settler share one
//! path. What is absent: any way to decide an auction without having read its key in the same transaction.
//!
//! | what happened | what follows |
//! |---|---|
//! | conflict | again; after [`Rules::halve_after`] of them the batch is halved, unless its conflict is one account |
//! | no answer | again, on a new connection |
//! | the schema changed under a prepared statement | again, on a new connection |
//! | the ledger is away, or lets nobody in | again, slowly, until the deadline; a batch is not halved for it |
//! | refused, several auctions | halved, down to the culprit |
//! | refused, one auction | held |
//! | attempts or time are used up | given back: it stays in the outbox and is found again |

use std::time::Duration;

use runtime::backoff::Backoff;
use schemas::mutant::{self, Mutant};
use schemas::time::Millis;

use super::attempt::{Attempt, Failure, Meaning};
use super::choose::Terms;
use super::jitter::{SETTLER, Strategy};
use super::plan::{Done, Job};
use super::rows::{Reads, Snapshot, Writes};

/// How a batch is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What was agreed about order and price.
    pub terms: Terms,
    /// How attempts are spaced.
    pub strategy: Strategy,
    /// Base and cap of the spacing.
    pub backoff: Backoff,
    /// Base and cap while the ledger is away.
    pub away: Backoff,
    /// Attempts after which a part is given back.
    pub attempts_max: u32,
    /// Conflicts of a part after which it is halved.
    pub halve_after: u32,
    /// How long a batch may take, all its parts together.
    pub deadline: Duration,
    /// How long reading, or writing, may go unanswered: DSQL ends a transaction after 5 minutes, ours are short.
    pub flight: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            terms: Terms::default(),
            strategy: Strategy::Full,
            backoff: SETTLER,
            away: Backoff { base: ms(100), cap: ms(5_000) },
            attempts_max: 16,
            halve_after: 5,
            deadline: ms(60_000),
            flight: ms(10_000),
        }
    }
}

/// How many powers of two an overloaded ledger's pause starts ahead.
const SLOWER: u32 = 5;

/// Both clocks: the wall's, for what is written, and one that never jumps, for deadlines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Time of day.
    pub wall: Millis,
    /// Since any fixed point.
    pub steady: Duration,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The last effect was taken note of: a start, a pause that is over, an end that was dealt with.
    Ready,
    /// What stood at the keys.
    Seen(Snapshot),
    /// Everything was written and committed.
    Committed,
    /// The attempt did not end well.
    Failed(Failure),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Begin a transaction and read, in one flight.
    Read(Reads),
    /// Write and commit, in one flight.
    Write(Writes),
    /// Wait.
    Pause(Duration),
    /// A part has ended; deal with it and say that you are ready.
    Ended(Ended),
    /// Nothing is left.
    Finished,
}

/// A part and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What was to be done.
    pub job: Job,
    /// What came of it.
    pub end: End,
    /// Attempts that did not end well, since the last part that ended.
    pub attempts: Vec<Attempt>,
    /// Attempts of this part, the last one included.
    pub tries: u32,
}

/// How a part ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Well.
    Done(Done),
    /// Out of attempts or time: later again. What the last attempt met.
    GivenBack(Meaning),
    /// Refused for good, and there is no half to blame.
    Refused(String),
    /// Whatever the work is, the ledger refuses: someone must act.
    Broken(String),
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Transaction {
    rules: Rules,
    /// Parts that are still to be done, the next one last.
    work: Vec<Job>,
    part: Option<Part>,
    attempts: Vec<Attempt>,
    deadline: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Part {
    job: Job,
    tries: u32,
    conflicts: u32,
    /// Attempts in a row that found no ledger: they cost time and are no tries.
    away: u32,
    waited: Duration,
    /// What the attempt in flight will have done, and how many accounts it changes.
    planned: Option<(Done, usize)>,
}

impl Part {
    fn of(job: Job) -> Self {
        Self { job, tries: 0, conflicts: 0, away: 0, waited: Duration::ZERO, planned: None }
    }
}

impl Transaction {
    /// A machine that has yet to hear [`Event::Ready`].
    #[must_use]
    pub fn new(job: Job, rules: Rules) -> Self {
        let work = if job.is_empty() { Vec::new() } else { vec![job] };
        Self { rules, work, part: None, attempts: Vec::new(), deadline: None }
    }

    /// The rules it was made with.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Brings the deadline forward: a stop was asked for, and what was begun may take only this long.
    pub fn hurry(&mut self, now: Moment, grace: Duration) {
        let soon = now.steady + grace;
        self.deadline = Some(self.deadline.map_or(soon, |deadline| deadline.min(soon)));
    }

    /// Takes an event; `unit` is drawn from `[0, 1)`.
    #[must_use]
    pub fn on(&mut self, event: Event, now: Moment, unit: f64) -> Effect {
        let deadline = *self.deadline.get_or_insert(now.steady + self.rules.deadline);
        match event {
            Event::Ready => self.read(now, deadline),
            Event::Seen(snapshot) => self.write(&snapshot, now),
            Event::Committed => {
                let part = self.part.take().expect("only a part in flight is committed");
                let (done, _) = part.planned.clone().expect("what is committed was planned");
                self.end(part, End::Done(done))
            }
            Event::Failed(failure) => self.failed(failure, now, unit),
        }
    }

    fn read(&mut self, now: Moment, deadline: Duration) -> Effect {
        let Some(part) = self.part.take().or_else(|| self.work.pop().map(Part::of)) else {
            return Effect::Finished;
        };
        if now.steady >= deadline {
            return self.end(part, End::GivenBack(Meaning::Unknown));
        }
        let reads = part.job.reads();
        self.part = Some(part);
        Effect::Read(reads)
    }

    fn write(&mut self, snapshot: &Snapshot, now: Moment) -> Effect {
        let mut part = self.part.take().expect("only a part in flight has read");
        match part.job.plan(snapshot, self.rules.terms, now.wall) {
            Ok(plan) if plan.writes.fits() => {
                part.planned = Some((plan.done, plan.writes.changes.len()));
                self.part = Some(part);
                Effect::Write(plan.writes)
            }
            Ok(plan) => {
                let (rows, bytes) = (plan.writes.rows(), plan.writes.bytes());
                self.halve_or_refuse(
                    part,
                    format!("{rows} rows of {bytes} bytes are beyond one transaction"),
                    now,
                )
            }
            Err(reason) => self.halve_or_refuse(part, reason, now),
        }
    }

    fn failed(&mut self, failure: Failure, now: Moment, unit: f64) -> Effect {
        let mut part = self.part.take().expect("only a part in flight fails");
        let (meaning, text) = (failure.meaning, format!("{} ({})", failure.text, failure.sqlstate));
        let (done, accounts) =
            part.planned.take().map_or((None, 0), |(done, accounts)| (Some(done), accounts));
        let meaning = if meaning == Meaning::Conflict && mutant::is(Mutant::ConflictIsRefusal) {
            Meaning::Refused
        } else {
            meaning
        };
        let number = part.tries;
        if let (Meaning::Unknown, Some(done), true) = (meaning, done, mutant::is(Mutant::UnknownTakenAsDone))
        {
            return self.end(part, End::Done(done));
        }
        let mut note = |delay| self.attempts.push(Attempt { number, failure: failure.clone(), delay });
        match meaning {
            Meaning::Refused => {
                note(Duration::ZERO);
                return self.halve_or_refuse(part, text, now);
            }
            Meaning::Broken => {
                note(Duration::ZERO);
                return self.end(part, End::Broken(text));
            }
            Meaning::Conflict => part.conflicts += 1,
            Meaning::Unknown | Meaning::Slower | Meaning::Away | Meaning::Unauthorized | Meaning::Stale => {}
        }
        let is_away = matches!(meaning, Meaning::Away | Meaning::Unauthorized);
        let delay = match meaning {
            // An outage costs time, not attempts, and is not asked after in a hurry.
            Meaning::Away | Meaning::Unauthorized => self.rules.away.delay(part.away, unit.max(0.5)),
            Meaning::Slower => self.rules.backoff.delay(number + SLOWER, unit.max(0.5)),
            _ => self.rules.strategy.delay(&self.rules.backoff, number, part.waited, unit),
        };
        part.away = if is_away { part.away + 1 } else { 0 };
        part.tries += u32::from(!is_away);
        let is_late = self.deadline.is_some_and(|deadline| now.steady + delay >= deadline);
        if part.tries >= self.rules.attempts_max || is_late {
            note(Duration::ZERO);
            return self.end(part, End::GivenBack(meaning));
        }
        note(delay);
        if part.conflicts >= self.rules.halve_after && part.job.len() > 1 && accounts != 1 {
            let (first, second) = part.job.halves().expect("more than one");
            self.work.extend([second, first]);
        } else {
            part.waited = delay;
            self.part = Some(part);
        }
        Effect::Pause(delay)
    }

    fn halve_or_refuse(&mut self, part: Part, reason: String, now: Moment) -> Effect {
        match part.job.clone().halves().filter(|_| !mutant::is(Mutant::BatchHeldWhole)) {
            Some((first, second)) => {
                self.work.extend([second, first]);
                let deadline = self.deadline.unwrap_or(now.steady);
                self.read(now, deadline)
            }
            None => self.end(part, End::Refused(reason)),
        }
    }

    fn end(&mut self, part: Part, end: End) -> Effect {
        let attempts = std::mem::take(&mut self.attempts);
        let tries = part.tries + u32::from(matches!(end, End::Done(_)));
        Effect::Ended(Ended { job: part.job, end, attempts, tries })
    }
}

#[cfg(test)]
mod tests;
