//! Who is said to have won, and why the others did not.

use schemas::ids::{self, AccountId, BidId};
use schemas::money::Money;
use uuid::Uuid;

use super::*;
use crate::audit::rows::{Entry, Evidence, Settlement};

fn agreed() -> GeometryItem {
    GeometryItem { geometry: Geometry::default(), ttl_after_ms: 0, outbox_buckets: 16 }
}

fn auction() -> (SlotId, Millis) {
    (SlotId(Uuid::from_u128(1)), Millis(10_000))
}

fn seen(rank: i64, passed_over: Option<&str>) -> Evidence {
    let number = u128::try_from(rank).unwrap() + 1;
    Evidence {
        settlement_id: settlement_id(&auction().0, auction().1).0,
        rank,
        bid_id: BidId(Uuid::from_u128(number)),
        account_id: AccountId(Uuid::from_u128(16 * number)),
        region: "eu-west-1".to_owned(),
        amount: Money(80_000 >> rank),
        passed_over: passed_over.map(str::to_owned),
        balance_seen: passed_over.map(|_| Money(10_000)),
        limit_seen: passed_over.map(|_| Money(0)),
        version_seen: passed_over.map(|_| 3),
    }
}

fn decided(winner: Option<&Evidence>, evidence: Vec<Evidence>) -> Rows {
    let (slot, window) = auction();
    let id = settlement_id(&slot, window).0;
    let row = Settlement {
        settlement_id: id,
        slot_id: slot,
        window_start: window,
        window_end: window,
        outcome: if winner.is_some() { "SALE" } else { "NO_SALE" }.to_owned(),
        winner_account: winner.map(|one| one.account_id),
        winning_bid: winner.map(|one| one.bid_id),
        winning_amount: winner.map(|one| one.amount),
        clearing_price: winner.map(|one| one.amount),
        no_sale_reason: winner.is_none().then(|| "below_floor".to_owned()),
        aggregate_digest: String::new(),
        settled_at: Millis(12_345),
        winner_region: None,
        winner_shard: None,
        winner_sequence: None,
        winner_sub_sequence: None,
        floor_price: None,
        publisher_account_id: None,
        log_accounts: None,
        log_unknown: None,
        log_reads: None,
        log_bytes: None,
    };
    Rows { settlements: vec![row], evidence: BTreeMap::from([(id, evidence)]), ..Rows::default() }
}

#[test]
fn a_sale_is_explained_from_the_ledger_alone_when_the_item_is_gone() {
    let evidence = vec![seen(0, Some("insufficient_funds")), seen(1, None), seen(2, None)];
    let explained = explain(auction(), None, &decided(Some(&evidence[1].clone()), evidence), &agreed());
    let verdicts: Vec<&str> = explained.candidates.iter().map(|one| one.verdict.as_str()).collect();
    assert_eq!(
        verdicts,
        [
            "passed over: insufficient_funds, with balance 1.0000 and credit limit 0.0000 at version 3",
            "won",
            "ranked below the winner"
        ]
    );
    let mut printed = Vec::new();
    explained.print(&mut printed).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    assert!(
        printed.contains("sold to 00000000-0000-0000-0000-000000000020 for 4.0000 (first price)"),
        "{printed}"
    );
    assert!(printed.contains("its item is gone"), "{printed}");
}

#[test]
fn an_auction_that_was_not_sold_says_why_and_an_open_one_that_it_waits() {
    let mut rows = decided(None, vec![seen(0, Some("below_floor"))]);
    let said = |rows: &Rows| explain(auction(), None, rows, &agreed()).candidates[0].verdict.clone();
    assert_eq!(said(&rows), "passed over: below_floor", "from before floors were kept");
    let row = &mut rows.settlements[0];
    (row.floor_price, row.publisher_account_id) = (Some(Money(90_000)), Some(AccountId(Uuid::from_u128(9))));
    assert_eq!(said(&rows), "passed over: below_floor, which was 9.0000");
    let mut printed = Vec::new();
    explain(auction(), None, &rows, &agreed()).print(&mut printed).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    let publisher = "the slot's floor was 9.0000, its publisher 00000000-0000-0000-0000-000000000009";
    assert!(printed.contains(publisher), "{printed}");
    rows.settlements[0].no_sale_reason = Some("unknown_slot".to_owned());
    rows.evidence.values_mut().flatten().for_each(|one| one.passed_over = None);
    assert_eq!(said(&rows), "not sold: unknown_slot");
    let one = (AccountId(Uuid::from_u128(16)), BidId(Uuid::from_u128(1)));
    let open = Case { item: None, row: None, evidence: &[], pricing: Pricing::First };
    assert_eq!(open.verdict(one.0, one.1, false), "awaits the decision");
}

#[test]
fn of_two_accounts_whose_bids_have_one_id_only_one_won() {
    let (winner, other) = (seen(0, None), seen(1, None));
    let other = Evidence { bid_id: winner.bid_id, ..other };
    let explained = explain(auction(), None, &decided(Some(&winner.clone()), vec![winner, other]), &agreed());
    let verdicts: Vec<&str> = explained.candidates.iter().map(|one| one.verdict.as_str()).collect();
    assert_eq!(verdicts, ["won", "ranked below the winner"]);
}

#[test]
fn a_candidate_before_the_winner_whose_evidence_is_gone_is_not_said_to_be_behind_it() {
    let row = &decided(Some(&seen(1, None)), Vec::new()).settlements[0];
    let one = (AccountId(Uuid::from_u128(16)), BidId(Uuid::from_u128(1)));
    let case = Case { item: None, row: Some(row), evidence: &[], pricing: Pricing::First };
    assert!(case.verdict(one.0, one.1, false).contains("not in the ledger"));
    assert_eq!(case.verdict(one.0, one.1, true), "ranked below the winner");
}

/// Under second price: what is said of candidates 1 and on, of the price, and the whole as it is printed.
fn priced(
    item: Option<&Aggregate>,
    evidence: &[Evidence],
    floor: Option<i128>,
) -> (Vec<String>, Option<String>, String) {
    let mut agreed = agreed();
    agreed.geometry.pricing = Pricing::Second;
    let mut rows = decided(Some(&evidence[0]), evidence.to_vec());
    rows.settlements[0].floor_price = floor.map(Money);
    let explained = explain(auction(), item, &rows, &agreed);
    let verdicts = explained.candidates.iter().skip(1).map(|one| one.verdict.clone()).collect();
    let mut printed = Vec::new();
    explained.print(&mut printed).unwrap();
    (verdicts, explained.price_set_by, String::from_utf8(printed).unwrap())
}

/// The item of the candidates that this is the evidence of.
fn item(evidence: &[Evidence], next: Option<u64>) -> Aggregate {
    let price = |units: u64| schemas::money::Price::from_units(units).unwrap();
    let candidate = |one: &Evidence| schemas::item::Candidate {
        bid_id: one.bid_id,
        account_id: one.account_id,
        region: one.region.parse().unwrap(),
        amount: price(u64::try_from(one.amount.0).unwrap()),
        quality: schemas::money::BasisPoints::ONE,
        event_time: Millis(10_001),
        shard_id: ids::ShardId("s".to_owned()),
        sequence: "1".parse().unwrap(),
        sub_sequence: 0,
    };
    Aggregate {
        slot_id: auction().0,
        window_start: auction().1,
        window_end: Millis(20_000),
        bids: 1,
        bidders: 1,
        amount_sum: Money(1),
        amount_min: price(1),
        amount_max: price(1),
        duplicates: 1,
        regions: BTreeMap::new(),
        candidates: evidence.iter().map(candidate).collect(),
        next_amount: next.map(price),
        next_score: None,
        shard_id: ids::ShardId("s".to_owned()),
        replay: None,
        state: schemas::item::State::Settled,
        decision: None,
        held_error: None,
        ttl: None,
    }
}

#[test]
fn under_second_price_it_says_who_set_the_price_and_who_was_skipped_for_it() {
    let (won, poor) = (seen(0, None), seen(1, Some("insufficient_funds")));
    let (sets, rest) = (seen(2, None), seen(3, None));
    let evidence = [won.clone(), poor.clone(), sets.clone()];
    let skipped = "ranked below the winner, and skipped for the price: insufficient_funds, \
                   with balance 1.0000 and credit limit 0.0000 at version 3";
    let set = "ranked below the winner, and set the price";
    let setter = sets.account_id.to_string();
    let all = item(&[won.clone(), poor.clone(), sets, rest], None);
    for (item, behind) in
        [(None, vec![skipped, set]), (Some(&all), vec![skipped, set, "ranked below the winner"])]
    {
        let (verdicts, by, printed) = priced(item, &evidence, Some(1));
        assert_eq!((verdicts, by), (behind.iter().map(ToString::to_string).collect(), Some(setter.clone())));
        assert!(printed.contains(&format!("the price was set by {setter}")), "{printed}");
    }
    // By quality one with a higher amount may stand behind the winner.
    let dear = Evidence { amount: Money(90_000), ..seen(1, None) };
    let (_, by, _) = priced(None, &[won.clone(), dear.clone()], Some(1));
    let more = format!("the winner's own amount, because {} offered more", dear.account_id);
    assert_eq!(by, Some(more));

    let by = |next, floor| {
        priced(Some(&item(&[won.clone(), poor.clone()], next)), &[won.clone(), poor.clone()], floor).1
    };
    assert_eq!(by(Some(9), Some(9)).as_deref(), Some("the account that follows the last candidate"));
    assert_eq!(by(Some(8), Some(9)).as_deref(), Some("the floor"));
    assert_eq!(by(None, Some(9)).as_deref(), Some("the floor"));
    assert_eq!(by(None, None), None, "from before floors were kept");
    let (verdicts, by, _) = priced(Some(&item(&[won.clone(), poor], None)), &[won], Some(9));
    assert_eq!((verdicts, by), (vec!["ranked below the winner".to_owned()], None), "not kept");
}

#[test]
fn one_of_a_kind_is_counted_in_the_singular() {
    let evidence = [seen(0, None)];
    let (_, _, printed) = priced(Some(&item(&evidence, None)), &evidence, Some(1));
    assert!(printed.contains("SETTLED, 1 bid of 1 account, 1 duplicate, ranked by amount"), "{printed}");
}

#[test]
fn what_nobody_knows_is_told_with_a_hint_that_was_not_asked_for() {
    let geometry = Geometry { window_ms: 10_000, ..Geometry::default() };
    let (slot, start) = auction();
    let told = unknown(&slot, start, &geometry);
    assert_eq!(told.matches(&start.to_string()).count(), 1, "{told}");
    assert!(told.ends_with("nobody bid in it, or it is not closed yet"), "{told}");
    let told = unknown(&slot, Millis(start.0 + 7), &geometry);
    assert!(told.ends_with(&format!("every 10000 ms, the one of that time at {start}")), "{told}");
}

/// A sale whose sources agree, and its parts to spoil.
struct Agreed {
    item: Aggregate,
    digest: String,
    rows: Rows,
}

fn agreeing() -> Agreed {
    let evidence = vec![seen(0, Some("insufficient_funds")), seen(1, None), seen(2, None)];
    let mut rows = decided(Some(&evidence[1].clone()), evidence.clone());
    let mut item = item(&evidence, None);
    let row = &mut rows.settlements[0];
    let winner = item.candidates[1].clone();
    row.winner_region = Some(winner.region.to_string());
    row.winner_shard = Some(winner.shard_id.to_string());
    row.winner_sequence = Some(winner.sequence.to_string());
    row.winner_sub_sequence = Some(i64::from(winner.sub_sequence));
    let publisher = AccountId(Uuid::from_u128(99));
    (row.floor_price, row.publisher_account_id) = (Some(Money(1)), Some(publisher));
    let outcome = schemas::item::Outcome::Sale { winner: winner.account_id, clearing_price: winner.amount };
    let settlement_id = settlement_id(&auction().0, auction().1);
    item.decision = Some(schemas::item::Decision { settlement_id, settled_at: row.settled_at, outcome });
    let digest = item.digest();
    row.aggregate_digest.clone_from(&digest);
    let entry = |direction: &str, account_id| Entry {
        entry_id: Uuid::from_u128(1),
        settlement_id: Some(row.settlement_id),
        deposit_id: None,
        account_id,
        direction: direction.to_owned(),
        amount: winner.amount.into(),
        account_version: None,
        created_at: row.settled_at,
    };
    rows.entries = vec![entry("DEBIT", winner.account_id), entry("CREDIT", publisher)];
    Agreed { item, digest, rows }
}

/// The facts that are said to contradict each other once something is spoiled.
fn spoiled(spoil: impl FnOnce(&mut Agreed)) -> Vec<String> {
    let mut all = agreeing();
    spoil(&mut all);
    let whole = Item { aggregate: &all.item, digest: &all.digest };
    let found = contradictions(auction(), Some(whole), &all.rows, Pricing::First);
    found.into_iter().map(|one| one.what).collect()
}

#[test]
fn sources_that_agree_contradict_nothing() {
    assert_eq!(spoiled(|_| {}), [""; 0]);
    let Agreed { rows, .. } = agreeing();
    assert_eq!(contradictions(auction(), None, &rows, Pricing::First), [], "the item is gone");
    let pending = |all: &mut Agreed| {
        (all.item.state, all.item.decision) = (schemas::item::State::Pending, None);
    };
    assert_eq!(spoiled(pending), [""; 0], "the mark is still to come");
    let undecided = |all: &mut Agreed| {
        pending(all);
        all.rows = Rows::default();
    };
    assert_eq!(spoiled(undecided), [""; 0]);
    // One of the row's release kept no publisher.
    let earlier = |all: &mut Agreed| all.rows.settlements[0].publisher_account_id = None;
    assert_eq!(spoiled(earlier), [""; 0]);
}

#[test]
fn each_contradiction_between_item_row_evidence_and_entries_is_named() {
    type Spoil = fn(&mut Agreed);
    let other = || Some(AccountId(Uuid::from_u128(0x10)));
    assert_eq!(
        spoiled(|all| all.rows.settlements[0].winner_account = other()),
        ["winner", "ledger entry", "ledger entry", "winner", "winner"]
    );
    let spoils: [(&[&str], Spoil); _] = [
        (&["digest", "digest"], |all| all.digest = "another".to_owned()),
        (&["digest"], |all| all.rows.settlements[0].aggregate_digest = "another".to_owned()),
        (&["digest"], |all| all.item.bids = 77),
        (
            &[
                "clearing_price",
                "ledger entry",
                "ledger entry",
                "ledger entry",
                "ledger entry",
                "clearing_price",
            ],
            |all| all.rows.settlements[0].clearing_price = Some(Money(1)),
        ),
        (&["clearing_price", "winning_amount", "winning_amount"], |all| {
            all.rows.settlements[0].winning_amount = Some(Money(50_000));
        }),
        (&["settled_at"], |all| all.rows.settlements[0].settled_at = Millis(1)),
        (&["winner_region"], |all| all.rows.settlements[0].winner_region = None),
        (&["winner_sequence"], |all| all.rows.settlements[0].winner_sequence = Some("2".to_owned())),
        (&["no_sale_reason", "no_sale_reason"], |all| {
            all.rows.settlements[0].no_sale_reason = Some("below_floor".to_owned());
        }),
        (&["state"], |all| all.item.state = schemas::item::State::Pending),
        (&["state"], |all| all.item.decision = None),
        (&["ledger entry"], |all| drop(all.rows.entries.pop())),
        (&["ledger entry"], |all| all.rows.entries.push(all.rows.entries[0].clone())),
        (&["ledger entry", "ledger entry"], |all| all.rows.entries[0].amount = Money(1)),
        (&["ledger entry", "ledger entry"], |all| {
            all.rows.entries[1].account_id = all.rows.entries[0].account_id
        }),
        (&["decision", "ledger entry", "ledger entry", "decision"], |all| drop(all.rows.settlements.pop())),
        (&["winner"], |all| all.rows.evidence.values_mut().for_each(|kept| drop(kept.remove(1)))),
        (&["winner"], |all| {
            all.rows
                .evidence
                .values_mut()
                .flatten()
                .for_each(|one| one.passed_over = Some("suspended".into()));
        }),
        (&["candidate 2"], |all| {
            all.rows.evidence.values_mut().for_each(|kept| kept[2].amount = Money(3));
        }),
    ];
    for (place, (expected, spoil)) in spoils.into_iter().enumerate() {
        assert_eq!(spoiled(spoil), expected, "{place}");
    }
}

#[test]
fn a_contradiction_is_printed_with_both_sides_and_stays_on_its_line() {
    let mut all = agreeing();
    all.rows.settlements[0].winner_region = Some("eu\u{1b}[2J\nwest".to_owned());
    let whole = Item { aggregate: &all.item, digest: &all.digest };
    let mut explained = explain(auction(), Some(&all.item), &all.rows, &agreed());
    explained.contradictions = contradictions(auction(), Some(whole), &all.rows, Pricing::First);
    let mut printed = Vec::new();
    explained.print(&mut printed).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    let line = "CONTRADICTION in winner_region: the item's candidate has eu-west-1, \
        but the row says eu\\u{1b}[2J\\nwest";
    assert!(printed.lines().any(|one| one == line), "{printed}");
}
