//! The block: bids as columns, by slot, then event time, then bid id.
//!
//! `B1 | CRC-32 of the rest (4 bytes, little-endian) | bincode 2 of [`Body`]`. A record whose checksum differs is no
//! block but a plain record, whole; past the checksum a body that does not hold together is one rejected bid, and a
//! value that no bid may have rejects its own bid alone. Never trusts a count: at most [`BIDS_PER_RECORD_MAX`] bids,
//! and columns are read to exactly the length that was promised.

use std::borrow::Cow;

use bincode::{BorrowDecode, Encode};
use hashbrown::HashMap;

use super::column::{Broken, Column};
use super::ids::Ids;
use super::plain::Values;
use super::{Kind, Rejected};
use crate::bid::Bid;
use crate::ids::{AccountId, Region};
use crate::limits::{BIDS_PER_RECORD_MAX, BLOCK_BIDS_FREE};

/// The first byte of a block of version 1.
pub(super) const MARK: u8 = 0xB1;
const HEAD_BYTES: usize = 5;
/// Between the codes of the region dictionary; no code has one.
const COMMA: char = ',';
/// The limit is [`BIDS_PER_RECORD_MAX`].
const TOO_MANY: &str = "a block of more than 65536 bids";
const DENSE: Broken = Broken("a block of far more bids than it has bytes");
const UNEVEN: Broken = Broken("the bids of a block's slots are not its bids");

/// What a block holds, in the order in which it is stored. Columns have one value per bid unless it says otherwise.
#[derive(Encode, BorrowDecode)]
struct Body<'a> {
    bids: u32,
    slots: u32,
    accounts: u32,
    /// Region codes by first appearance, with commas between them.
    regions: Cow<'a, str>,
    /// The lowest event time.
    start: u64,
    /// One per slot, ascending.
    slot_ids: Ids<'a>,
    /// One per slot: how many bids follow the first one.
    slot_more: Column<'a>,
    /// One per account, by first appearance.
    account_ids: Ids<'a>,
    /// 0 for the next account of the dictionary, else 1 + the place of one that has appeared.
    account_refs: Column<'a>,
    region_refs: Column<'a>,
    /// From the slot's bid before, or from `start` at a slot's first bid.
    time_steps: Column<'a>,
    amounts: Column<'a>,
    latencies: Column<'a>,
    qualities: Column<'a>,
    /// Beside the event times.
    bid_ids: Ids<'a>,
}

pub(super) fn encode<'a>(bids: impl IntoIterator<Item = &'a Bid>) -> Vec<u8> {
    let mut out = vec![MARK, 0, 0, 0, 0];
    bincode::encode_into_std_write(body_of(&sorted(bids)), &mut out, bincode::config::standard())
        .expect("memory takes every write");
    let checksum = crc32fast::hash(&out[HEAD_BYTES..]);
    out[1..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// The order of a block. Keys are sorted beside references, since a bid is four times as large as both.
fn sorted<'a>(bids: impl IntoIterator<Item = &'a Bid>) -> Vec<&'a Bid> {
    let key = |bid: &'a Bid| (u128::from_be_bytes(*bid.slot_id.as_bytes()), bid.event_time.0, bid);
    let mut keyed: Vec<(u128, u64, &Bid)> = bids.into_iter().map(key).collect();
    keyed.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| a.2.bid_id.cmp(&b.2.bid_id)));
    keyed.into_iter().map(|(_, _, bid)| bid).collect()
}

fn body_of(bids: &[&Bid]) -> Body<'static> {
    let column = |value: fn(&Bid) -> u64| Column::of(&bids.iter().map(|bid| value(bid)).collect::<Vec<_>>());
    let start = bids.iter().map(|bid| bid.event_time.0).min().unwrap_or_default();
    let slots: Vec<&[&Bid]> = bids.chunk_by(|a, b| a.slot_id == b.slot_id).collect();
    let slot_more: Vec<u64> = slots.iter().map(|run| count_of(run.len() - 1)).collect();
    let time_steps: Vec<u64> = slots.iter().flat_map(|run| steps(run, start)).collect();
    let times: Vec<u64> = bids.iter().map(|bid| bid.event_time.0).collect();
    let (accounts, account_refs) = accounts_of(bids);
    let (regions, region_refs) = regions_of(bids);
    Body {
        bids: small(bids.len()),
        slots: small(slots.len()),
        accounts: small(accounts.len()),
        regions: Cow::Owned(regions),
        start,
        slot_ids: Ids::of(slots.iter().map(|run| *run[0].slot_id.as_bytes())),
        slot_more: Column::of(&slot_more),
        account_ids: Ids::of(accounts.iter().map(|account| *account.as_bytes())),
        account_refs: Column::of(&account_refs),
        region_refs: Column::of(&region_refs),
        time_steps: Column::of(&time_steps),
        amounts: column(|bid| bid.amount.units()),
        latencies: column(|bid| u64::from(bid.latency_ms)),
        qualities: column(|bid| u64::from(bid.quality.get())),
        bid_ids: Ids::of_timed(bids.iter().map(|bid| *bid.bid_id.as_bytes()), &times),
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("at most BIDS_PER_RECORD_MAX")
}

fn count_of(count: usize) -> u64 {
    u64::try_from(count).expect("at most BIDS_PER_RECORD_MAX")
}

/// The run is in the order of event time, and nothing in it is before `start`.
fn steps(run: &[&Bid], start: u64) -> impl Iterator<Item = u64> {
    let before = std::iter::once(start).chain(run.iter().map(|bid| bid.event_time.0));
    run.iter().zip(before).map(|(bid, before)| bid.event_time.0 - before)
}

fn accounts_of(bids: &[&Bid]) -> (Vec<AccountId>, Vec<u64>) {
    let mut places = HashMap::new();
    let mut accounts = Vec::new();
    let refer = |bid: &&Bid| match places.get(&bid.account_id) {
        Some(&place) => place,
        None => {
            accounts.push(bid.account_id);
            places.insert(bid.account_id, count_of(accounts.len()));
            0
        }
    };
    let refs = bids.iter().map(refer).collect();
    (accounts, refs)
}

/// Few regions, most often one: a search is shorter than a hash.
fn regions_of(bids: &[&Bid]) -> (String, Vec<u64>) {
    let mut regions: Vec<Region> = Vec::new();
    let refer = |bid: &&Bid| {
        let place = regions.iter().position(|region| *region == bid.region).unwrap_or_else(|| {
            regions.push(bid.region);
            regions.len() - 1
        });
        count_of(place)
    };
    let refs = bids.iter().map(refer).collect();
    let texts: Vec<&str> = regions.iter().map(Region::as_str).collect();
    (texts.join(","), refs)
}

/// Reads a block.
///
/// # Errors
/// Why the record is none.
pub(super) fn decode(data: &[u8], items: &mut Vec<Result<Bid, Rejected>>) -> Result<Kind, &'static str> {
    let (head, rest) = data.split_first_chunk::<HEAD_BYTES>().ok_or("a block is cut short")?;
    let [_, checksum @ ..] = head;
    if crc32fast::hash(rest) != u32::from_le_bytes(*checksum) {
        return Err("a block's checksum is wrong");
    }
    if let Err(Broken(reason)) = read(rest, items) {
        items.clear();
        items.push(Err(Rejected::because(reason)));
    }
    Ok(Kind::Block)
}

fn read(bytes: &[u8], items: &mut Vec<Result<Bid, Rejected>>) -> Result<(), Broken> {
    let (body, used) = bincode::borrow_decode_from_slice::<Body<'_>, _>(bytes, bincode::config::standard())
        .map_err(|_| Broken("a block's fields cannot be read"))?;
    let [bids, slots, accounts] =
        [body.bids, body.slots, body.accounts].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    if used != bytes.len() {
        return Err(Broken("bytes follow the block"));
    }
    if bids > BIDS_PER_RECORD_MAX {
        return Err(Broken(TOO_MANY));
    }
    if bids > BLOCK_BIDS_FREE.max(bytes.len()) {
        return Err(DENSE);
    }
    if slots > bids || accounts > bids {
        return Err(Broken("a block has more slots or accounts than bids"));
    }
    let slot_ids = body.slot_ids.read(slots, &[])?;
    let runs = runs(&body.slot_more.read(slots)?, bids)?;
    let times = times(body.start, &body.time_steps.read(bids)?, &runs);
    let regions: Vec<Option<Region>> =
        body.regions.split(COMMA).take(bids).map(|code| code.parse().ok()).collect();
    let accounts = Accounts { ids: body.account_ids.read(accounts, &[])?, seen: 0 };
    let mut dictionaries = Dictionaries { accounts, regions };
    let bid_ids = body.bid_ids.read(bids, &times)?;
    let (account_refs, region_refs) = (body.account_refs.read(bids)?, body.region_refs.read(bids)?);
    let (amounts, latencies) = (body.amounts.read(bids)?, body.latencies.read(bids)?);
    let qualities = body.qualities.read(bids)?;
    let mut slots = Vec::with_capacity(bids);
    for (slot, run) in slot_ids.into_iter().zip(runs) {
        slots.extend(std::iter::repeat_n(slot, run));
    }
    let ids = slots.iter().zip(&bid_ids);
    let references = account_refs.iter().zip(&region_refs);
    let numbers = amounts.iter().zip(&latencies).zip(&qualities).zip(&times);
    // All have a value per bid, so that one length is looked at for all of them.
    items.extend(ids.zip(references).zip(numbers).map(|((ids, references), numbers)| {
        let (account_id, region) = dictionaries.look(*references.0, *references.1)?;
        let (((amount, latency_ms), quality), event_time) = numbers;
        let values = Values {
            bid_id: ids.1,
            slot_id: ids.0,
            account_id,
            region,
            amount: *amount,
            latency_ms: *latency_ms,
            quality: *quality,
            event_time: *event_time,
        };
        values.check()
    }));
    Ok(())
}

/// How many bids each slot has; together they are all.
fn runs(more: &[u64], bids: usize) -> Result<Vec<usize>, Broken> {
    let mut left = bids;
    let mut runs = Vec::with_capacity(more.len());
    for more in more {
        let run = usize::try_from(*more).ok().and_then(|more| more.checked_add(1)).ok_or(UNEVEN)?;
        left = left.checked_sub(run).ok_or(UNEVEN)?;
        runs.push(run);
    }
    if left == 0 { Ok(runs) } else { Err(UNEVEN) }
}

fn times(start: u64, steps: &[u64], runs: &[usize]) -> Vec<u64> {
    let mut times = Vec::with_capacity(steps.len());
    let mut steps = steps.iter();
    for run in runs {
        let mut time = start;
        for step in steps.by_ref().take(*run) {
            time = time.wrapping_add(*step);
            times.push(time);
        }
    }
    times
}

/// What bids refer to.
struct Dictionaries {
    accounts: Accounts,
    /// None where the text is no code.
    regions: Vec<Option<Region>>,
}

struct Accounts {
    ids: Vec<[u8; 16]>,
    /// Those that have appeared.
    seen: usize,
}

impl Dictionaries {
    /// The next bid's account and region.
    #[inline]
    fn look(&mut self, account: u64, region: u64) -> Result<(&[u8; 16], &Region), Rejected> {
        let account = self.accounts.look(account);
        let region = usize::try_from(region).ok().and_then(|place| self.regions.get(place));
        match (account, region) {
            (Some(account), Some(Some(region))) => Ok((account, region)),
            (_, None | Some(None)) => Err(Rejected::because("the region is no region code")),
            (None, Some(region)) => {
                Err(Rejected { region: *region, reason: "the account is not in the dictionary" })
            }
        }
    }
}

impl Accounts {
    #[inline]
    fn look(&mut self, reference: u64) -> Option<&[u8; 16]> {
        let is_next = reference == 0;
        let place = if is_next { self.seen } else { usize::try_from(reference - 1).unwrap_or(usize::MAX) };
        self.seen += usize::from(is_next);
        self.ids.get(place)
    }
}
