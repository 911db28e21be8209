//! Who is said to have won, and why the others did not.

use schemas::geometry::Geometry;
use schemas::ids::{AccountId, BidId};
use schemas::money::Money;
use uuid::Uuid;

use super::*;

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
    assert_eq!(verdict(one, None, None, false), "awaits the decision");
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
    assert!(verdict(one, Some(row), None, false).contains("not in the ledger"));
    assert_eq!(verdict(one, Some(row), None, true), "ranked below the winner");
}
