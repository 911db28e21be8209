//! The log after everything that may happen to a file: cut anywhere, any bit flipped, removed.

use std::io::Cursor;
use std::path::PathBuf;

use super::*;
use crate::local::kinesis::journal::layout::{Format, MAGIC_BYTES, Next};

/// What a reader sees once the log ends at so many bytes.
type States = BTreeMap<usize, String>;

/// A small log, one state for each of its frames.
fn small(dir: &Path) -> (Vec<u8>, States) {
    let mut engine = open(dir);
    let mut states = States::new();
    let mut note = |engine: &Engine| {
        let bytes = engine.journal.as_ref().unwrap().bytes();
        states.insert(usize::try_from(bytes).unwrap(), seen(engine));
    };
    note(&engine);
    engine.apply("s", create(1), 1).unwrap();
    note(&engine);
    put(&mut engine, 0..3, 2).unwrap();
    note(&engine);
    engine.apply("s", Op::Reshard(Reshard::Split { shard: ShardId(0), at: 77 }), 3).unwrap();
    note(&engine);
    // Bodies that end in zeros.
    put(&mut engine, 3..5, 4).unwrap();
    note(&engine);
    engine.apply("s", Op::Retention { hours: 48 }, 5).unwrap();
    note(&engine);
    drop(engine);
    let bytes = std::fs::read(log(dir)).unwrap();
    assert_eq!(states.keys().last(), Some(&bytes.len()));
    (bytes, states)
}

fn log(dir: &Path) -> PathBuf {
    Journal::path_in(dir)
}

/// The same log as an earlier release wrote it.
fn in_format_3(bytes: &[u8], states: &States) -> (Vec<u8>, States) {
    let length = u64::try_from(bytes.len()).unwrap();
    let (mut reader, mut at) = (Cursor::new(bytes), u64::try_from(MAGIC_BYTES).unwrap());
    reader.set_position(at);
    let mut old = Format::V3.magic().to_vec();
    let mut states = states.values();
    let mut old_states = States::from([(old.len(), states.next().unwrap().clone())]);
    while let Next::Body { body, end } = Format::V4.next(&mut reader, at, length).unwrap() {
        old.extend_from_slice(&Format::V3.frame(0, &body).unwrap());
        old_states.insert(old.len(), states.next().unwrap().clone());
        at = end;
    }
    assert_eq!(at, length);
    (old, old_states)
}

/// Both formats of the small log, in folders of their own.
fn formats() -> [(tempfile::TempDir, Vec<u8>, States); 2] {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (bytes, states) = small(dir.path());
    let (old, old_states) = in_format_3(&bytes, &states);
    [(dir, bytes, states), (other, old, old_states)]
}

/// Holds that the log of these bytes is refused with its place at or before `byte`, and left as it is.
fn refused(dir: &Path, bytes: &[u8], byte: usize, what: &str) {
    std::fs::write(log(dir), bytes).unwrap();
    let damage = Engine::open(Some(dir), Limits::Off, 0).map(|_| ()).expect_err(what);
    let said = damage.to_string();
    match damage {
        Damage::Foreign => {
            assert!(byte < MAGIC_BYTES && said.contains("damaged at byte 0"), "{what}: {said}")
        }
        Damage::At { path, at, length } => {
            assert_eq!((path, length), (log(dir), u64::try_from(bytes.len()).unwrap()), "{what}");
            assert!(
                at >= u64::try_from(MAGIC_BYTES).unwrap() && at <= u64::try_from(byte).unwrap(),
                "{what}: {at}"
            );
            let advice = format!(
                "nothing was changed: restore the file from a copy, give up what stands from there on \
                with `truncate -s {at} {}`, or move it away",
                log(dir).display()
            );
            assert!(said.contains(&advice), "{said}");
        }
        Damage::Io(error) => panic!("{what}: {error}"),
    }
    assert_eq!(std::fs::read(log(dir)).unwrap(), bytes, "{what}: the file was changed");
}

#[test]
fn every_flipped_bit_stops_the_start_and_changes_nothing() {
    for (dir, bytes, _) in formats() {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused(dir.path(), &flipped, bit / 8, &format!("bit {bit} of {}", bytes.len() * 8));
        }
    }
}

#[test]
fn damage_before_a_torn_end_is_damage() {
    let [(dir, bytes, states), _] = formats();
    let last = *states.keys().nth_back(1).unwrap();
    // The last frame's head is whole, its body is not, or a power cut left zeros in its place.
    let cut = bytes[..last + 14].to_vec();
    let zeros = [&cut[..], &[0; 100]].concat();
    for torn in [cut, zeros] {
        for bit in MAGIC_BYTES * 8..last * 8 {
            let mut flipped = torn.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused(dir.path(), &flipped, bit / 8, &format!("bit {bit} before a torn end"));
        }
    }
}

#[test]
fn a_log_cut_anywhere_keeps_every_frame_before_the_cut() {
    for (dir, bytes, states) in formats() {
        for end in 0..=bytes.len() {
            std::fs::write(log(dir.path()), &bytes[..end]).unwrap();
            let before = states.range(..=end).next_back();
            let nothing = (&MAGIC_BYTES, &String::new());
            let (whole, state) = before.unwrap_or(nothing);
            assert_eq!(&seen(&open(dir.path())), state, "cut at byte {end}, whole up to {whole}");
        }
    }
}

#[test]
fn zeros_that_a_power_cut_left_are_a_torn_end() {
    let [(dir, bytes, states), _] = formats();
    for end in MAGIC_BYTES..bytes.len() {
        for zeros in [1, 9, 14, 600] {
            let torn = [&bytes[..end], &vec![0; zeros]].concat();
            std::fs::write(log(dir.path()), torn).unwrap();
            let (whole, state) = states.range(..=end).next_back().unwrap();
            assert_eq!(&seen(&open(dir.path())), state, "{zeros} zeros from byte {end} on");
            assert_eq!(std::fs::metadata(log(dir.path())).unwrap().len(), u64::try_from(*whole).unwrap());
        }
    }
}

#[test]
fn a_log_of_an_earlier_release_is_read_and_written_anew() {
    let [_, (dir, old, states)] = formats();
    std::fs::write(log(dir.path()), &old).unwrap();
    let mut engine = open(dir.path());
    assert_eq!(&seen(&engine), states.values().last().unwrap());
    put(&mut engine, 5..9, 6).unwrap();
    let after = seen(&engine);
    drop(engine);
    assert!(std::fs::read(log(dir.path())).unwrap().starts_with(Format::V4.magic()));
    assert_eq!(seen(&open(dir.path())), after);
}

#[test]
fn a_log_of_an_earlier_release_goes_on_in_its_format_when_it_cannot_be_written_anew() {
    let [_, (dir, old, _)] = formats();
    std::fs::write(log(dir.path()), &old).unwrap();
    std::fs::create_dir(dir.path().join("operations.part")).unwrap();
    let mut engine = open(dir.path());
    put(&mut engine, 5..9, 6).unwrap();
    let after = seen(&engine);
    drop(engine);
    assert!(std::fs::read(log(dir.path())).unwrap().starts_with(&old));
    assert_eq!(seen(&open(dir.path())), after);
}

#[test]
fn nothing_is_acknowledged_while_the_log_is_not_where_it_was() {
    let root = tempfile::tempdir().unwrap();
    let (dir, away) = (root.path().join("kinesis"), root.path().join("away"));
    let mut engine = filled(&dir);
    let before = seen(&engine);
    let refused = |engine: &mut Engine, words: &str| {
        let put = put(engine, 700..710, 8).unwrap_err();
        let change = engine.apply("s", Op::Retention { hours: 24 }, 8).unwrap_err();
        for refusal in [put, change] {
            assert_eq!(refusal.code, "InternalFailure");
            assert!(
                refusal.message.contains(words) && refusal.message.contains("put it back"),
                "{refusal:?}"
            );
            assert!(refusal.message.contains(&log(&dir).display().to_string()), "{refusal:?}");
        }
        assert_eq!(seen(engine), before);
    };
    std::fs::rename(&dir, &away).unwrap();
    refused(&mut engine, "it was removed or moved away");
    // Another engine has begun there: what it keeps is not replaced either.
    drop(open(&dir));
    refused(&mut engine, "another file has taken its place");
    let other = std::fs::read(log(&dir)).unwrap();
    let Engine { streams, journal, .. } = &mut engine;
    assert!(journal.as_mut().unwrap().replace(|write| snapshot(streams, write)).is_err());
    assert_eq!(std::fs::read(log(&dir)).unwrap(), other);
    std::fs::remove_dir_all(&dir).unwrap();
    refused(&mut engine, "it was removed or moved away");
    std::fs::rename(&away, &dir).unwrap();
    put(&mut engine, 800..810, 9).unwrap();
    let after = seen(&engine);
    drop(engine);
    assert_eq!(seen(&open(&dir)), after, "what was refused is not in the log");
    let mut engine = open(&dir);
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(put(&mut engine, 0..1, 9).unwrap_err().code, "InternalFailure");
}
