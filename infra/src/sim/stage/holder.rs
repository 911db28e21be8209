//! One held lease: the holding core, with the reading, writing and ticking that it asks for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use processor::core::holding::{Effect, Holding, Now, Raw, Taken, Timing, Written};
use processor::core::trimmed::Read;
use processor::core::{BidEvents, Closed};
use runtime::backoff::Backoff;
use schemas::attr::Attrs;
use schemas::ids::ShardId;
use schemas::item::GeometryItem;
use schemas::lease::{Checkpoint, Lease};
use schemas::time::Millis;

use crate::sim::call::{Answer, Call, Life, Page, Reply, Trouble};
use crate::sim::coverage::Met;
use crate::sim::net::Net;

/// Between two tries of a put.
const PUT_BACKOFF: Backoff = Backoff { base: Duration::from_millis(20), cap: Duration::from_secs(1) };
/// Between two tries of an item that the table refuses.
const REFUSED_BACKOFF: Backoff = Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(4) };
/// Between two tries of a read.
const READ_BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(1) };
/// How often a holding is given time.
const TIME_EVERY_MS: u64 = 50;

/// An answer and when it came.
#[derive(Debug)]
pub struct Heard {
    /// The answer.
    pub reply: Reply,
    /// The process's clocks.
    pub now: Now,
}

/// What a request was for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Iterator,
    Records,
    Put(u64, usize),
    Row,
    Tick,
}

/// A place from which records are read.
#[derive(Debug)]
struct Reader {
    shard_id: ShardId,
    from: Checkpoint,
    iterator: Option<u64>,
    at_ms: u64,
    asked: Millis,
    attempt: u32,
    /// The tag of the request under way.
    under_way: Option<u64>,
}

/// What a window left, on its way into the table.
#[derive(Debug)]
struct Putting {
    /// Items still to be put, by phase: aggregates, then totals and hot slots, then bid events.
    phases: VecDeque<Vec<Attrs>>,
    /// Items of the phases begun, each where it was first put.
    items: Vec<Item>,
    /// How many of them are not durable, and how many of these the table refuses.
    left: usize,
    refused: usize,
    /// Whether the holding knows of what is refused.
    told: bool,
}

/// An item on its way.
#[derive(Debug)]
struct Item {
    attrs: Attrs,
    /// When it is tried next; none while it is under way, and when it is durable.
    due_ms: Option<u64>,
    attempt: u32,
    refused: bool,
}

/// One held lease.
#[derive(Debug)]
pub struct Holder {
    life: Life,
    holding: Holding,
    reader: Option<Reader>,
    puts: BTreeMap<u64, Putting>,
    asked: BTreeMap<u64, Asked>,
    finished: bool,
    /// Records before the next one may be gone.
    gap: bool,
}

impl Holder {
    /// Holds a lease whose row stands.
    #[must_use]
    pub fn new(life: Life, row: Lease, agreed: (GeometryItem, BidEvents), timing: Timing, now: Now) -> Self {
        let holding = Holding::new(row, life.to_string(), agreed, timing, now);
        Self {
            life,
            holding,
            reader: None,
            puts: BTreeMap::new(),
            asked: BTreeMap::new(),
            finished: false,
            gap: false,
        }
    }

    /// Whether the lease is no longer held.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// A stop was asked for.
    pub fn on_stop(&mut self) {
        self.holding.on_stop();
    }

    /// The row as a look saw it.
    pub fn on_seen(&mut self, row: &Lease) {
        self.holding.on_seen(row);
    }

    /// An answer came.
    pub fn on_hear(&mut self, tag: u64, heard: Heard, net: &mut Net) {
        match self.asked.remove(&tag) {
            Some(Asked::Iterator | Asked::Records) => self.on_read(tag, heard, net),
            Some(Asked::Put(ticket, at)) => self.on_put(ticket, at, &heard.reply, net),
            Some(Asked::Row) => self.holding.on_row(match heard.reply {
                Ok(Answer::Done) => Written::Done,
                Ok(Answer::Stands(row)) => {
                    Written::Refused(row.and_then(|row| Lease::from_attrs(&row).ok()).map(Box::new))
                }
                _ => Written::Unknown,
            }),
            Some(Asked::Tick) | None => {}
        }
    }

    fn on_read(&mut self, tag: u64, heard: Heard, net: &mut Net) {
        let unit = net.unit(self.life.actor);
        let Some(reader) = self.reader.as_mut().filter(|reader| reader.under_way == Some(tag)) else {
            return;
        };
        reader.under_way = None;
        match heard.reply {
            Ok(Answer::Iterator(iterator)) => {
                (reader.iterator, reader.at_ms, reader.attempt) = (Some(iterator), net.now_ms, 0);
            }
            Ok(Answer::Page(page)) => {
                (reader.iterator, reader.at_ms, reader.attempt) =
                    (page.next, net.now_ms + net.setting.poll_ms, 0);
                let asked = reader.asked;
                self.on_page(page, (asked, heard.now), net);
            }
            Err(Trouble::Expired) => (reader.iterator, reader.at_ms) = (None, net.now_ms),
            Err(Trouble::Refused("ResourceNotFoundException")) => {
                self.reader = None;
                self.holding.on_gone();
            }
            _ => {
                reader.at_ms = net.now_ms + ms(READ_BACKOFF.delay(reader.attempt, unit));
                reader.attempt = reader.attempt.saturating_add(1);
            }
        }
    }

    fn on_page(&mut self, page: Page, (asked, now): (Millis, Now), net: &mut Net) {
        let is_empty = page.records.is_empty();
        let kept = net.setting.kept();
        if self.holding.on_page(Read::new(&kept, asked, now.service.latest, page.behind_ms)) {
            self.gap = true;
            net.coverage.meet(Met::Gap);
            net.tell(|| format!("{} may have missed records of {}", self.life, self.holding.row().shard_id));
        }
        for (arrival, sequence, data) in page.records {
            let raw = Raw {
                arrival: Millis(arrival),
                sequence: sequence.to_string().parse().expect("digits are a number"),
                data,
            };
            let taken = self.holding.on_record(&raw);
            if std::mem::take(&mut self.gap) {
                net.services.checker.on_cut(&self.holding.row().shard_id, self.holding.clock().0);
            }
            if let Some(reader) = &mut self.reader {
                reader.from = Checkpoint::After(raw.sequence);
            }
            meet(taken, net);
        }
        if page.next.is_none() {
            self.reader = None;
            self.holding.on_end(page.children);
        } else if is_empty && page.behind_ms == 0 {
            self.holding.on_tip(now);
        }
    }

    fn on_put(&mut self, ticket: u64, at: usize, reply: &Reply, net: &mut Net) {
        let Some(putting) = self.puts.get_mut(&ticket) else { return };
        let unit = net.unit(self.life.actor);
        putting.on_reply(at, reply, (net.now_ms, unit));
        while putting.left == putting.refused && putting.next_phase(net.now_ms) {}
        if putting.left == 0 {
            self.puts.remove(&ticket);
            self.holding.on_written(ticket);
        } else if putting.left == putting.refused && !std::mem::replace(&mut putting.told, true) {
            self.holding.on_refused(ticket, putting.left);
        }
    }

    /// Everything that is due and waits for nothing. `ask` sends a request and answers its tag.
    pub fn turn(&mut self, now: Now, net: &mut Net, ask: &mut dyn FnMut(Call, &mut Net) -> u64) {
        self.holding.on_time(now);
        while let Some(effect) = self.holding.poll_effect() {
            match effect {
                Effect::Read { shard_id, from } => {
                    let at_ms = net.now_ms;
                    self.reader = Some(Reader {
                        shard_id,
                        from,
                        iterator: None,
                        at_ms,
                        asked: now.service.earliest,
                        attempt: 0,
                        under_way: None,
                    });
                }
                Effect::Put(closed) => self.put(&closed, net),
                Effect::Write { row, seen } => {
                    let tag = ask(Call::WriteLease { lease: *row, seen }, net);
                    self.asked.insert(tag, Asked::Row);
                }
                Effect::Tick { hash_key } => {
                    net.coverage.meet(Met::Tick);
                    net.coverage.meet(Met::Idle);
                    let tag = ask(Call::Tick(hash_key), net);
                    self.asked.insert(tag, Asked::Tick);
                }
                Effect::Finish(finish) => {
                    net.tell(|| format!("{} leaves {}: {finish:?}", self.life, self.holding.row().shard_id));
                    self.finished = true;
                    return;
                }
            }
        }
        self.read(now, net, ask);
        for (ticket, putting) in &mut self.puts {
            for (at, item) in putting.items.iter_mut().enumerate() {
                if item.due_ms.is_some_and(|due_ms| due_ms <= net.now_ms) {
                    item.due_ms = None;
                    let tag = ask(Call::Put(item.attrs.clone()), net);
                    self.asked.insert(tag, Asked::Put(*ticket, at));
                }
            }
        }
    }

    fn put(&mut self, closed: &Closed, net: &Net) {
        let buckets = net.setting.agreed.outbox_buckets;
        let aggregates = closed.aggregates.iter().map(|one| one.to_attrs(buckets)).collect();
        let totals = closed.totals.iter().map(|one| one.to_attrs());
        let totals = totals.chain(closed.hot.iter().map(|hot| hot.to_attrs())).collect();
        let events = closed.events.iter().map(|event| event.to_attrs()).collect();
        let phases = VecDeque::from([aggregates, totals, events]);
        let mut putting = Putting { phases, items: Vec::new(), left: 0, refused: 0, told: false };
        if putting.next_phase(net.now_ms) {
            self.puts.insert(closed.ticket, putting);
        } else {
            self.holding.on_written(closed.ticket);
        }
    }

    fn read(&mut self, now: Now, net: &mut Net, ask: &mut dyn FnMut(Call, &mut Net) -> u64) {
        let wants = self.holding.wants_records();
        let Some(reader) = &mut self.reader else { return };
        if !wants || reader.under_way.is_some() || net.now_ms < reader.at_ms {
            return;
        }
        let shard_id = reader.shard_id.clone();
        let (call, asked) = match reader.iterator {
            Some(after) => (Call::Records { shard_id, after }, Asked::Records),
            None => (Call::Iterator { shard_id, from: reader.from.clone() }, Asked::Iterator),
        };
        let tag = ask(call, net);
        (reader.under_way, reader.asked) = (Some(tag), now.service.earliest);
        self.asked.insert(tag, asked);
    }

    /// When something is due again.
    #[must_use]
    pub fn next_ms(&self, now_ms: u64) -> u64 {
        let reads = self.reader.as_ref().filter(|reader| reader.under_way.is_none()).map(|one| one.at_ms);
        let puts = self.puts.values().flat_map(|putting| &putting.items).filter_map(|item| item.due_ms);
        reads.into_iter().chain(puts).fold(now_ms + TIME_EVERY_MS, u64::min)
    }
}

impl Putting {
    /// Takes the reply to the put of an item.
    fn on_reply(&mut self, at: usize, reply: &Reply, (now_ms, unit): (u64, f64)) {
        let item = &mut self.items[at];
        let is_refused = matches!(reply, Err(Trouble::Refused("ValidationException")));
        self.refused -= usize::from(item.refused);
        item.refused = is_refused || (item.refused && reply.is_err());
        self.refused += usize::from(item.refused);
        if reply.is_ok() {
            // What stands there is compared by whoever put it; the first write stays either way.
            self.left -= 1;
            return;
        }
        let backoff = if item.refused { REFUSED_BACKOFF } else { PUT_BACKOFF };
        item.due_ms = Some(now_ms + ms(backoff.delay(item.attempt, unit)));
        item.attempt += 1;
    }

    /// Moves on to the next phase that has items; answers whether there is one.
    fn next_phase(&mut self, now_ms: u64) -> bool {
        while let Some(items) = self.phases.pop_front() {
            if !items.is_empty() {
                self.left += items.len();
                let begin = |attrs| Item { attrs, due_ms: Some(now_ms), attempt: 0, refused: false };
                self.items.extend(items.into_iter().map(begin));
                return true;
            }
        }
        false
    }
}

fn meet(taken: Taken, net: &mut Net) {
    let Taken::New(judged) = taken else { return };
    let met = [
        (judged.late, Met::Late),
        (judged.early, Met::Early),
        (judged.stray, Met::Stray),
        (judged.duplicates, Met::Duplicate),
    ];
    met.into_iter().filter(|(many, _)| *many > 0).for_each(|(_, met)| net.coverage.meet(met));
}

fn ms(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
}
