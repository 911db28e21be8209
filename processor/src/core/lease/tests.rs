use super::*;
use schemas::time::Millis;

fn lease(id: &str, owner: Option<&str>, counter: u64) -> Lease {
    let mut lease = Lease::new(ShardId(id.to_owned()), HashRange::ALL, Vec::new());
    (lease.owner, lease.counter) = (owner.map(str::to_owned), counter);
    lease
}

fn listed(rows: &[Lease]) -> Vec<Listed> {
    let of = |row: &Lease| Listed {
        shard_id: row.shard_id.clone(),
        range: row.range,
        parents: row.parents.clone(),
        is_open: row.checkpoint != Checkpoint::ShardEnd,
    };
    rows.iter().map(of).collect()
}

fn look(watch: &mut Watch, rows: &[Lease], seconds: u64) -> Vec<Action> {
    let shards = listed(rows);
    let held = BTreeSet::new();
    let look = Look {
        rows,
        shards: &shards,
        age: Age::Young,
        created: None,
        held: &held,
        appetite: Appetite::Share,
    };
    watch.on_look(&look, Duration::from_secs(seconds))
}

fn taken(actions: &[Action]) -> Vec<&str> {
    let id = |action: &'_ Action| match action {
        Action::Take { row, .. } => row.shard_id.0.clone(),
        other => panic!("{other:?}"),
    };
    let mut ids: Vec<String> = actions.iter().map(id).collect();
    ids.sort();
    ids.into_iter().map(|id| &*id.leak()).collect()
}

fn me() -> Watch {
    Watch::new("me".to_owned(), Duration::from_secs(10))
}

fn parent_and_children() -> [Lease; 3] {
    let parent = Lease {
        checkpoint: Checkpoint::ShardEnd,
        tail_checkpoint: Some(Checkpoint::After("7".parse().unwrap())),
        replay_clock: Millis(5),
        closed_through: Millis(9),
        ..lease("p", None, 3)
    };
    let child = |id| Lease { parents: vec![parent.shard_id.clone()], ..lease(id, None, 0) };
    [parent.clone(), child("a"), child("b")]
}

#[test]
fn a_lease_expires_only_when_its_counter_stands_still_for_the_failover_time() {
    let mut watch = me();
    assert!(look(&mut watch, &[lease("a", Some("you"), 1)], 0).is_empty());
    assert!(look(&mut watch, &[lease("a", Some("you"), 2)], 9).is_empty());
    assert!(look(&mut watch, &[lease("a", Some("you"), 2)], 18).is_empty());
    assert_eq!(taken(&look(&mut watch, &[lease("a", Some("you"), 2)], 19)), ["a"]);
}

#[test]
fn a_worker_takes_its_share_and_asks_only_at_a_difference_of_two() {
    let free = [lease("a", None, 0), lease("b", None, 0), lease("c", Some("you"), 0)];
    assert_eq!(taken(&look(&mut me(), &free, 0)), ["a", "b"]);
    let even = [lease("a", Some("you"), 0), lease("b", Some("me"), 0)];
    let held = BTreeSet::from([ShardId("b".into())]);
    let shards = listed(&even);
    let at = Look {
        rows: &even,
        shards: &shards,
        age: Age::Young,
        created: None,
        held: &held,
        appetite: Appetite::Share,
    };
    assert!(me().on_look(&at, Duration::ZERO).is_empty());
    let two = [lease("a", Some("you"), 0), lease("b", Some("you"), 0)];
    let asked = look(&mut me(), &two, 0);
    let [Action::Take { row, .. }] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(row.checkpoint_owner.as_deref(), Some("you"));
}

#[test]
fn a_lease_that_was_asked_for_is_held_once_it_was_handed_over_or_its_owner_is_silent() {
    let asked = Lease { checkpoint_owner: Some("you".to_owned()), ..lease("a", Some("me"), 4) };
    let mut watch = me();
    assert!(look(&mut watch, std::slice::from_ref(&asked), 0).is_empty());
    assert_eq!(taken(&look(&mut watch, std::slice::from_ref(&asked), 10)), ["a"]);
    let over = lease("a", Some("me"), 5);
    assert_eq!(
        look(&mut watch, std::slice::from_ref(&over), 11),
        [Action::Hold(Lease { inherited: true, ..over })]
    );
}

#[test]
fn a_child_waits_for_its_parents_and_copies_what_they_left() {
    let [parent, a, b] = parent_and_children();
    let reading = Lease { checkpoint: Checkpoint::TrimHorizon, ..lease("p", Some("you"), 2) };
    assert!(look(&mut me(), &[reading, a.clone(), b.clone()], 0).is_empty());
    let actions = look(&mut me(), &[parent.clone(), a, b], 0);
    assert_eq!(taken(&actions), ["a", "b"]);
    let Action::Take { row, .. } = &actions[0] else { panic!("a take") };
    assert_eq!((row.tails.as_slice(), row.inherited), (&[parent.tail().unwrap()][..], true));
}

#[test]
fn a_parents_row_goes_only_after_every_child_has_copied_it_and_does_not_come_back() {
    let [parent, a, b] = parent_and_children();
    let took = |row: &Lease| Lease { inherited: true, owner: Some("you".into()), counter: 1, ..row.clone() };
    let removes = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Remove { .. }));
    assert!(!removes(&look(&mut me(), &[parent.clone(), took(&a), b.clone()], 0)));
    assert!(removes(&look(&mut me(), &[parent.clone(), took(&a), took(&b)], 0)));
    let (rows, held) = ([took(&a), took(&b)], BTreeSet::new());
    let shards = listed(&[parent, a.clone(), b.clone()]);
    let at = Look {
        rows: &rows,
        shards: &shards,
        age: Age::Old,
        created: None,
        held: &held,
        appetite: Appetite::Nothing,
    };
    assert_eq!(me().on_look(&at, Duration::ZERO), []);
    // One child's row was lost: then the parent is read again for it.
    let at = Look { rows: &rows[..1], ..at };
    let made = me().on_look(&at, Duration::ZERO);
    assert!(
        made.iter().any(|action| matches!(action, Action::Make(row) if row.shard_id.0 == "p")),
        "{made:?}"
    );
}

#[test]
fn what_nobody_can_have_seen_is_cut() {
    let shards = listed(&[lease("a", None, 0)]);
    let held = BTreeSet::new();
    let at = Look {
        rows: &[],
        shards: &shards,
        age: Age::Old,
        created: None,
        held: &held,
        appetite: Appetite::Share,
    };
    let made = me().on_look(&at, Duration::ZERO);
    assert!(matches!(&made[..], [Action::Make(row)] if row.beginning == Beginning::Cut), "{made:?}");
    let [_, orphan, _] = parent_and_children();
    let actions = look(&mut me(), std::slice::from_ref(&orphan), 0);
    assert!(
        matches!(&actions[..], [Action::Take { row, .. }] if row.beginning == Beginning::Cut),
        "{actions:?}"
    );
}

#[test]
fn a_gap_in_the_hash_space_is_found() {
    let part = |start, end| Lease {
        range: HashRange { start: HashKey(start), end: HashKey(end) },
        ..lease(&start.to_string(), None, 0)
    };
    assert_eq!(gaps(&[part(0, 9), part(10, u128::MAX)], &[]), []);
    let found = gaps(&[part(20, u128::MAX), part(0, 9)], &[]);
    assert_eq!(found, [HashRange { start: HashKey(10), end: HashKey(19) }]);
    assert_eq!(gaps(&[part(0, 9)], &[]), [HashRange { start: HashKey(10), end: HashKey(u128::MAX) }]);
    let ended = Lease { checkpoint: Checkpoint::ShardEnd, ..part(0, u128::MAX) };
    let mut shards = listed(std::slice::from_ref(&ended));
    assert_eq!(gaps(std::slice::from_ref(&ended), &shards), [], "its children's rows are to come");
    shards[0].is_open = true;
    assert_eq!(
        gaps(&[ended], &shards),
        [HashRange::ALL],
        "it takes records, and its row says that it has ended"
    );
}

#[test]
fn rows_are_marked_with_their_stream_and_those_of_another_are_told_apart() {
    let (old, unmarked) =
        (Lease { stream_created: Some(Millis(5)), ..lease("a", None, 1) }, lease("b", None, 1));
    let rows = [old.clone(), unmarked];
    let of = |created: Option<u64>| former(&rows, created.map(Millis)).cloned().collect::<Vec<_>>();
    assert_eq!([of(None), of(Some(5)), of(Some(6))], [vec![], vec![], vec![old]]);
    let (shards, held) = (listed(&rows), BTreeSet::new());
    let age = Age::Young;
    let mut at = Look {
        rows: &rows,
        shards: &shards,
        age,
        created: Some(Millis(5)),
        held: &held,
        appetite: Appetite::Share,
    };
    let marks = |actions: Vec<Action>| {
        let mark = |action| match action {
            Action::Make(row) | Action::Take { row, .. } => row.stream_created,
            other => panic!("{other:?}"),
        };
        actions.into_iter().map(mark).collect::<Vec<_>>()
    };
    assert_eq!(marks(me().on_look(&at, Duration::ZERO)), [Some(Millis(5)); 2], "taken");
    at.rows = &[];
    assert_eq!(marks(me().on_look(&at, Duration::ZERO)), [Some(Millis(5)); 2], "made");
}

#[test]
fn a_shard_that_nobody_reads_is_told_and_a_child_that_waits_for_its_parent_is_not() {
    let [ended, a, _] = parent_and_children();
    let reading = Lease { checkpoint: Checkpoint::TrimHorizon, ..lease("p", Some("you"), 2) };
    let mut watch = me();
    let mut unread = |rows: &[Lease], seconds| {
        look(&mut watch, rows, seconds);
        watch.unread(rows, Duration::from_secs(seconds))
    };
    let rows = [reading, a.clone()];
    assert_eq!(unread(&rows, 0), []);
    assert_eq!(unread(&rows, 19), []);
    assert_eq!(unread(&rows, 20), [ShardId("p".into())], "the child waits for it");
    let rows = [ended, a.clone()];
    assert_eq!(unread(&rows, 21), [a.shard_id], "its parent has ended, and nobody takes it");
}
