mod damage;

use std::fs::File;
use std::io::{self, Write};

use super::*;
use crate::local::kinesis::journal::Medium;
use crate::local::kinesis::model::{Mode, Reshard};

fn create(shards: u32) -> Op {
    Op::Create { shards, mode: Mode::Provisioned, record_kib_max: 1_024, tags: BTreeMap::new() }
}

fn open(dir: &Path) -> Engine {
    Engine::open(Some(dir), Limits::Off, 0).unwrap()
}

fn put(engine: &mut Engine, numbers: std::ops::Range<u32>, now_ms: u64) -> Result<Vec<Placed>, Refusal> {
    let record = |number: u32| Record::new(&number.to_string(), &number.to_le_bytes(), None);
    engine.put("s", numbers.map(record).collect(), now_ms, &mut || None)
}

/// Everything that a reader could see, apart from what only speeds count.
fn seen(engine: &Engine) -> String {
    let mut out = String::new();
    for (name, stream) in &engine.streams {
        out.push_str(&format!("{name} {:?}\n", stream.image()));
        for shard in stream.shards.values() {
            out.push_str(&format!("{:?}\n", shard.records().collect::<Vec<_>>()));
        }
    }
    out
}

fn filled(dir: &Path) -> Engine {
    let mut engine = open(dir);
    engine.apply("s", create(2), 1).unwrap();
    assert!(put(&mut engine, 0..500, 2).unwrap().iter().all(Result::is_ok));
    let at = 77;
    engine.apply("s", Op::Reshard(Reshard::Split { shard: ShardId(0), at }), 3).unwrap();
    let add = BTreeMap::from([("team".to_owned(), "ops".to_owned())]);
    engine.apply("s", Op::Tags { add, remove: Vec::new() }, 4).unwrap();
    engine.apply("s", Op::Register { consumer: "c".into() }, 5).unwrap();
    engine.apply("s", Op::Retention { hours: 48 }, 6).unwrap();
    put(&mut engine, 500..700, 7).unwrap();
    engine
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash_wherever_the_last_frame_tore() {
    let dir = tempfile::tempdir().unwrap();
    let engine = filled(dir.path());
    let before = seen(&engine);
    let whole = engine.journal.as_ref().unwrap().bytes();
    drop(engine);
    let log = dir.path().join("operations.log");
    let mut more = open(dir.path());
    put(&mut more, 700..701, 8).unwrap();
    let longer = more.journal.as_ref().unwrap().bytes();
    drop(more);
    for end in (whole..longer).rev() {
        File::options().write(true).open(&log).unwrap().set_len(end).unwrap();
        assert_eq!(seen(&open(dir.path())), before, "torn at byte {end} of {whole} to {longer}");
        assert_eq!(std::fs::metadata(&log).unwrap().len(), whole, "the torn end is cut off");
    }
}

#[test]
fn damage_in_the_middle_is_refused_and_nothing_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    let log = dir.path().join("operations.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    assert!(matches!(Engine::open(Some(dir.path()), Limits::Off, 0), Err(Damage::At { .. })));
    assert_eq!(std::fs::read(&log).unwrap(), bytes);
    std::fs::write(&log, b"a file of another kind, long enough").unwrap();
    assert!(matches!(Engine::open(Some(dir.path()), Limits::Off, 0), Err(Damage::Foreign)));
}

/// A disk with room for so many bytes more.
#[derive(Debug)]
struct Full {
    file: File,
    left: usize,
    cuts: bool,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = bytes.len().min(self.left);
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.left -= room;
        self.file.write(&bytes[..room])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Medium for Full {
    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        if !self.cuts {
            return Err(io::ErrorKind::Other.into());
        }
        self.file.set_len(bytes)
    }
}

fn full(dir: &Path, left: usize, cuts: bool) -> Box<dyn Medium> {
    let file = File::options().append(true).open(dir.join("operations.log")).unwrap();
    Box::new(Full { file, left, cuts })
}

#[test]
fn a_full_disk_fails_the_put_and_holds_none_of_it_in_memory_or_after_a_restart() {
    for left in [0, 1, 7, 8, 9, 60, 200] {
        let dir = tempfile::tempdir().unwrap();
        let mut engine = filled(dir.path());
        let before = seen(&engine);
        engine.journal.as_mut().unwrap().set_medium(full(dir.path(), left, true));
        assert_eq!(put(&mut engine, 700..750, 8).unwrap_err().code, "InternalFailure");
        let split = Op::Reshard(Reshard::Merge { shard: ShardId(2), other: ShardId(3) });
        if left < 9 {
            assert_eq!(engine.apply("s", split, 8).unwrap_err().code, "InternalFailure");
        }
        assert_eq!(seen(&engine), before, "{left} bytes left");
        let file = File::options().append(true).open(dir.path().join("operations.log")).unwrap();
        engine.journal.as_mut().unwrap().set_medium(Box::new(file));
        put(&mut engine, 800..810, 9).unwrap();
        let after = seen(&engine);
        drop(engine);
        assert_eq!(seen(&open(dir.path())), after, "room again, {left} bytes were left");
    }
}

#[test]
fn nothing_is_acknowledged_behind_half_a_frame_that_cannot_be_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = filled(dir.path());
    let before = seen(&engine);
    engine.journal.as_mut().unwrap().set_medium(full(dir.path(), 20, false));
    assert!(put(&mut engine, 700..750, 8).is_err());
    engine.journal.as_mut().unwrap().set_medium(full(dir.path(), 1_000_000, false));
    assert!(put(&mut engine, 700..750, 8).is_err(), "there is room, but half a frame lies in the way");
    engine.journal.as_mut().unwrap().set_medium(full(dir.path(), 1_000_000, true));
    assert_eq!(seen(&engine), before);
    put(&mut engine, 700..750, 9).unwrap();
    let after = seen(&engine);
    drop(engine);
    assert_eq!(seen(&open(dir.path())), after);
}

#[test]
fn a_snapshot_gives_the_same_streams_and_the_log_goes_on_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = filled(dir.path());
    let before = seen(&engine);
    let Engine { streams, journal, .. } = &mut engine;
    journal.as_mut().unwrap().replace(|write| snapshot(streams, write)).unwrap();
    put(&mut engine, 900..1_000, 9).unwrap();
    let after = seen(&engine);
    assert_ne!(before, after);
    drop(engine);
    assert_eq!(seen(&open(dir.path())), after);
}

#[test]
fn a_log_of_what_retention_removed_is_shortened_and_nothing_kept_is_lost() {
    const HOUR_MS: u64 = 3_600_000;
    let dir = tempfile::tempdir().unwrap();
    let mut engine = open(dir.path());
    engine.apply("s", create(1), 0).unwrap();
    let heavy = vec![1; 1_000_000];
    for number in 0..70_u32 {
        let record = Record::new(&number.to_string(), &heavy, None);
        assert!(engine.put("s", vec![record], HOUR_MS, &mut || None).unwrap()[0].is_ok());
    }
    put(&mut engine, 0..10, 20 * HOUR_MS).unwrap();
    let long = engine.journal.as_ref().unwrap().bytes();
    engine.tick(24 * HOUR_MS);
    assert_eq!(engine.journal.as_ref().unwrap().bytes(), long, "nothing to gain yet");
    engine.tick(26 * HOUR_MS);
    let short = engine.journal.as_ref().unwrap().bytes();
    assert!(short < 10_000, "{short} bytes for ten small records");
    let after = seen(&engine);
    drop(engine);
    assert_eq!(seen(&open(dir.path())), after);
}

#[test]
fn a_stream_settles_takes_no_records_before_and_is_gone_after() {
    let mut engine = Engine::open(None, Limits::Off, 100).unwrap();
    engine.apply("s", create(1), 0).unwrap();
    assert_eq!(put(&mut engine, 0..1, 99).unwrap_err().code, "ResourceNotFoundException");
    let split = || Op::Reshard(Reshard::Split { shard: ShardId(0), at: 1 << 100 });
    assert_eq!(engine.apply("s", split(), 99).unwrap_err().code, "ResourceInUseException");
    assert!(put(&mut engine, 0..1, 100).is_ok());
    engine.apply("s", split(), 100).unwrap();
    assert_eq!(engine.stream("s", 150).unwrap().status(150), Status::Updating);
    assert!(put(&mut engine, 0..1, 150).is_ok(), "a stream takes records while it changes");
    engine.apply("s", Op::Delete, 200).unwrap();
    assert_eq!(engine.apply("s", create(1), 250).unwrap_err().code, "ResourceInUseException");
    assert_eq!(engine.stream("s", 250).unwrap().status(250), Status::Deleting);
    assert_eq!(engine.stream("s", 300).unwrap_err().code, "ResourceNotFoundException");
    assert!(engine.apply("s", create(1), 300).is_ok());
}

#[test]
fn a_settling_engine_and_its_log_agree_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = Engine::open(Some(dir.path()), Limits::Off, 100).unwrap();
    engine.apply("s", create(1), 0).unwrap();
    put(&mut engine, 0..3, 100).unwrap();
    engine.apply("s", Op::Delete, 200).unwrap();
    engine.apply("s", create(2), 300).unwrap();
    put(&mut engine, 0..3, 400).unwrap();
    let before = seen(&engine);
    drop(engine);
    assert_eq!(seen(&Engine::open(Some(dir.path()), Limits::Off, 100).unwrap()), before);
}

#[test]
fn records_of_a_stream_that_ignores_keys_lie_where_they_were_put_after_a_restart_and_in_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = open(dir.path());
    let on_demand =
        Op::Create { shards: 4, mode: Mode::OnDemand, record_kib_max: 1_024, tags: BTreeMap::new() };
    engine.apply("s", on_demand, 1).unwrap();
    let auto = Op::Distribute { distribution: Distribution::Auto };
    engine.apply("s", auto.clone(), 2).unwrap();
    let same = |_| Record::new("k", b"v", Some(schemas::hash::HashKey(5)));
    let placed = engine.put("s", (0..10).map(same).collect(), 3, &mut || None).unwrap();
    let placed: Vec<u32> = placed.into_iter().map(|one| one.unwrap().0.0).collect();
    assert_eq!(
        placed,
        [0, 1, 2, 3, 0, 1, 2, 3, 0, 1],
        "keys are ignored, also those that are given outright"
    );
    let before = seen(&engine);
    drop(engine);
    let mut engine = open(dir.path());
    assert_eq!(seen(&engine), before);
    assert_eq!(engine.stream("s", 4).unwrap().distribution, Distribution::Auto);

    let mut kept = Vec::new();
    snapshot(&engine.streams, &mut |body| {
        kept.push(Bytes::copy_from_slice(body));
        Ok(())
    })
    .unwrap();
    let mut again = Engine::open(None, Limits::Off, 0).unwrap();
    kept.iter().for_each(|body| again.replay(body).unwrap());
    assert_eq!(seen(&again), before);
    assert_eq!(again.stream("s", 4).unwrap().distribution, Distribution::Auto);

    let keys = Op::Distribute { distribution: Distribution::UserPartitionKey };
    engine.apply("s", keys, 5).unwrap();
    let placed = engine.put("s", (0..4).map(same).collect(), 6, &mut || None).unwrap();
    assert!(placed.into_iter().all(|one| one.unwrap().0 == ShardId(0)), "keys are kept again");
    engine.apply("p", create(1), 7).unwrap();
    let refused = engine.apply("p", auto, 8).unwrap_err();
    assert_eq!(refused.code, "InvalidArgumentException", "a provisioned stream keeps keys");
}
