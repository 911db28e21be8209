use super::*;
use schemas::attr::{Attr, n, s};
use schemas::time::Millis;

/// Far beyond every clock here.
const LATEST: Millis = Millis(1_000);

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
        latest: LATEST,
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
        latest: LATEST,
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
        latest: LATEST,
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
        latest: LATEST,
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

/// The row as a tool leaves it that sets one attribute of it.
fn edited(row: &Lease, name: &str, value: Attr) -> Lease {
    let mut attrs = row.to_attrs();
    attrs.insert(name.to_owned(), value);
    Lease::from_attrs(&attrs).unwrap()
}

/// The row as a tool leaves it that replaces it.
fn replaced(row: &Lease, checkpoint: &str) -> Lease {
    let names = ["leaseKey", "leaseCounter", "startingHashKey", "endingHashKey", "parentShardId"];
    let mut attrs = row.to_attrs();
    attrs.retain(|name, _| names.contains(&name.as_str()));
    attrs.insert("checkpoint".to_owned(), s(checkpoint));
    Lease::from_attrs(&attrs).unwrap()
}

/// The one row that is taken, and what of it was not believed.
fn takes(rows: &[Lease], shard: &str) -> (Lease, Vec<Doubt>) {
    let of = |action| match action {
        Action::Take { row, doubts, .. } if row.shard_id.0 == shard => Some((row, doubts)),
        _ => None,
    };
    look(&mut me(), rows, 0).into_iter().find_map(of).expect("it is taken")
}

#[test]
fn a_place_that_our_processor_did_not_write_is_cut_and_told_once() {
    let root = Lease {
        checkpoint: Checkpoint::After("50".parse().unwrap()),
        replay_clock: Millis(5),
        closed_through: Millis(9),
        stream_created: Some(Millis(1)),
        inherited: true,
        ..lease("a", None, 1)
    };
    assert_eq!(takes(std::slice::from_ref(&root), "a").1, [], "our own is believed");
    let rows = [
        edited(&root, "checkpoint", s("60")),
        edited(&root, "checkpoint", s("40")),
        edited(&root, "replayClock", n(6)),
        edited(&root, "closedThrough", n(99)),
        edited(&root, "startingHashKey", s(7)),
        replaced(&root, "60"),
        replaced(&root, "LATEST"),
    ];
    for row in rows {
        let shards = [Listed { range: HashRange::ALL, ..listed(std::slice::from_ref(&row)).remove(0) }];
        let held = BTreeSet::new();
        let (age, created, appetite) = (Age::Old, None, Appetite::Share);
        let rows = std::slice::from_ref(&row);
        let at = Look { rows, shards: &shards, age, latest: LATEST, created, held: &held, appetite };
        let actions = me().on_look(&at, Duration::ZERO);
        let [Action::Take { row: taken, doubts, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((taken.beginning, taken.replay_clock), (Beginning::Cut, Millis(0)), "{row:?}");
        assert_eq!((taken.range, taken.closed_through), (HashRange::ALL, row.closed_through), "{row:?}");
        let [doubt] = &doubts[..] else { panic!("{doubts:?}") };
        assert_eq!((&doubt.found, doubt.seal == Seal::Ours), (&row.checkpoint, false));
        assert_eq!(
            Lease::from_attrs(&taken.to_attrs()).unwrap().seal,
            Seal::Ours,
            "it is sealed by the take"
        );
    }
}

#[test]
fn a_root_that_is_set_back_to_its_beginning_is_whole_while_nothing_of_it_is_gone() {
    let root = Lease { checkpoint: Checkpoint::After("50".parse().unwrap()), ..lease("a", None, 1) };
    let root = Lease { replay_clock: Millis(5), closed_through: Millis(9), ..root };
    for word in ["TRIM_HORIZON", "LATEST"] {
        let (taken, doubts) = takes(&[edited(&root, "checkpoint", s(word))], "a");
        let place = (taken.checkpoint, taken.replay_clock, taken.beginning);
        assert_eq!(place, (Checkpoint::TrimHorizon, Millis(0), Beginning::Whole), "{word}");
        assert_eq!((taken.closed_through, doubts.len()), (Millis(9), 1), "it never goes down");
    }
    let (taken, doubts) = takes(&[replaced(&root, "TRIM_HORIZON")], "a");
    assert_eq!((taken.beginning, doubts.len()), (Beginning::Whole, 0), "nobody read from it");
}

#[test]
fn a_child_whose_place_a_tool_set_is_cut_with_and_without_open_tails() {
    let [parent, a, _] = parent_and_children();
    let open = Lease { inherited: true, tails: vec![parent.tail().unwrap()], counter: 1, ..a.clone() };
    let done = Lease {
        checkpoint: Checkpoint::After("50".parse().unwrap()),
        replay_clock: Millis(12),
        closed_through: Millis(13),
        tails: Vec::new(),
        ..open.clone()
    };
    assert_eq!(takes(std::slice::from_ref(&open), "a").1, []);
    let rows = [
        edited(&open, "checkpoint", s("60")),
        edited(&open, "checkpoint", s("LATEST")),
        edited(&open, "tails", Attr::L(Vec::new())),
        edited(&done, "checkpoint", s("TRIM_HORIZON")),
        edited(&done, "checkpoint", s("LATEST")),
        edited(&done, "checkpoint", s("40")),
        replaced(&done, "60"),
    ];
    for row in rows {
        let (taken, doubts) = takes(&[parent.clone(), row.clone()], "a");
        let place = (taken.beginning, taken.replay_clock, taken.inherited, taken.tails.len());
        assert_eq!(place, (Beginning::Cut, Millis(0), true, 0), "{row:?}");
        assert_eq!(doubts.len(), 1);
    }
}

#[test]
fn a_row_that_a_tool_made_for_an_unread_shard_has_the_lineage_of_the_stream() {
    let [parent, a, b] = parent_and_children();
    let made = Lease { parents: Vec::new(), ..replaced(&a, "TRIM_HORIZON") };
    assert!(made.parents.is_empty() && made.is_trusted(), "{made:?}");
    let (shards, held) = (listed(&[parent.clone(), a.clone(), b.clone()]), BTreeSet::new());
    let act = |rows: &[Lease], age| {
        let (created, appetite) = (None, Appetite::Share);
        let at = Look { rows, shards: &shards, age, latest: LATEST, created, held: &held, appetite };
        me().on_look(&at, Duration::ZERO)
    };
    let with_parent = act(&[parent.clone(), made.clone(), b.clone()], Age::Young);
    let taken = with_parent.iter().find_map(|action| match action {
        Action::Take { row, .. } if row.shard_id.0 == "a" => Some(row),
        _ => None,
    });
    let taken = taken.unwrap_or_else(|| panic!("{with_parent:?}"));
    assert_eq!((&taken.parents, taken.range), (&a.parents, a.range));
    assert_eq!(
        (taken.tails.len(), taken.beginning),
        (1, Beginning::Whole),
        "what the parent left is read first"
    );

    // Its parent's row went when the row before was there: it is made again, and the child waits for it.
    let b = Lease { inherited: true, ..b };
    let without = act(&[made, b], Age::Young);
    let is_made = |action: &Action| matches!(action, Action::Make(row) if row.shard_id.0 == "p");
    let is_child = |action: &Action| matches!(action, Action::Take { row, .. } if row.shard_id.0 == "a");
    assert!(without.iter().any(is_made) && !without.iter().any(is_child), "{without:?}");
}

#[test]
fn nothing_that_is_still_to_come_counts_as_closed_whatever_a_tool_wrote() {
    let root = Lease { checkpoint: Checkpoint::After("50".parse().unwrap()), ..lease("a", None, 1) };
    let root = Lease { replay_clock: Millis(5), closed_through: Millis(9), ..root };
    for (written, counts) in [(999, 999), (1_001, 1_000), (9_000_000, 1_000)] {
        let (taken, doubts) = takes(&[edited(&root, "closedThrough", n(written))], "a");
        assert_eq!((taken.closed_through, doubts.len()), (Millis(counts), 1));
    }
}

#[test]
fn a_root_row_that_a_tool_made_is_cut_where_retention_may_have_taken_its_beginning() {
    let root = lease("a", None, 1);
    let made = replaced(&root, "TRIM_HORIZON");
    for (age, beginning) in [(Age::Young, Beginning::Whole), (Age::Old, Beginning::Cut)] {
        let (shards, held) = (listed(std::slice::from_ref(&root)), BTreeSet::new());
        let (created, appetite) = (None, Appetite::Share);
        let rows = std::slice::from_ref(&made);
        let actions = me().on_look(
            &Look { rows, shards: &shards, age, latest: LATEST, created, held: &held, appetite },
            Duration::ZERO,
        );
        let [Action::Take { row, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(row.beginning, beginning, "{age:?}");
    }
}

#[test]
fn what_a_parent_left_is_cut_when_a_tool_wrote_its_row() {
    let [parent, a, _] = parent_and_children();
    let (taken, doubts) = takes(&[parent.clone(), a.clone()], "a");
    assert_eq!((taken.tails[0].beginning, doubts), (Beginning::Whole, Vec::new()));
    for row in [edited(&parent, "tailCheckpoint", s("8")), replaced(&parent, "SHARD_END")] {
        let (taken, doubts) = takes(&[row, a.clone()], "a");
        let tail = &taken.tails[0];
        assert_eq!((tail.beginning, tail.replay_clock), (Beginning::Cut, Millis(0)));
        assert_eq!((taken.beginning, doubts[0].shard_id.0.as_str()), (Beginning::Whole, "p"));
    }
}

#[test]
fn a_row_of_an_earlier_release_is_believed_and_sealed_by_its_take() {
    let row = Lease { checkpoint: Checkpoint::After("50".parse().unwrap()), ..lease("a", None, 1) };
    let mut attrs = row.to_attrs();
    attrs.remove(schemas::seal::ATTRIBUTE);
    let earlier = Lease::from_attrs(&attrs).unwrap();
    assert_eq!(earlier.seal, Seal::Earlier);
    let (taken, doubts) = takes(&[earlier], "a");
    assert_eq!((taken.beginning, taken.seal, doubts.len()), (Beginning::Whole, Seal::Ours, 0));
}

#[test]
fn an_own_row_that_a_tool_changed_before_it_was_held_is_sealed_before_it_is_read_from() {
    let own = Lease { checkpoint: Checkpoint::After("50".parse().unwrap()), ..lease("a", Some("me"), 4) };
    let own = Lease { inherited: true, ..own };
    let held = look(&mut me(), std::slice::from_ref(&own), 0);
    assert!(matches!(&held[..], [Action::Hold(_)]), "{held:?}");
    let (taken, doubts) = takes(&[edited(&own, "checkpoint", s("60"))], "a");
    assert_eq!((taken.counter, taken.beginning, doubts.len()), (5, Beginning::Cut, 1));
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
        latest: LATEST,
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
