//! Lines from reads of every size, and what becomes of half a line.

use std::io::Write;
use std::os::fd::OwnedFd;

use proptest::prelude::*;

use super::*;

const GOOD: &str = r#"{"bid_id":"0190a000-0000-7000-8000-000000000001","slot_id":"aaaaaaaa-0000-4000-8000-000000000001","account_id":"bbbbbbbb-0000-4000-8000-000000000001","amount":"5.4000","latency_ms":42,"quality_score":0.93}"#;

fn rules() -> IntakeRules {
    IntakeRules { region: "eu-central-1".parse().unwrap(), rounding: None }
}

/// A reader that gives as many bytes as it is told, again and again, and then ends or fails.
struct Trickle {
    bytes: Vec<u8>,
    at: usize,
    step: usize,
    fails: bool,
}

impl Read for Trickle {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let end = (self.at + self.step.min(out.len())).min(self.bytes.len());
        let count = end - self.at;
        if count == 0 && self.fails {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        out[..count].copy_from_slice(&self.bytes[self.at..end]);
        self.at = end;
        Ok(count)
    }
}

fn seen(text: impl Into<Vec<u8>>, step: usize) -> Vec<(u64, bool)> {
    let mut lines = read(Trickle { bytes: text.into(), at: 0, step, fails: false }, rules()).unwrap();
    let mut seen = Vec::new();
    while let Some(chunk) = lines.chunks.blocking_recv() {
        seen.extend(chunk.unwrap().into_iter().map(|line| (line.number, line.content.is_ok())));
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn refused_lines_keep_their_numbers_and_the_rest_goes_on(step in 1_usize..40_000) {
        let fits = format!("{GOOD}{}", " ".repeat(LINE_BYTES_MAX - GOOD.len()));
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        let text = format!("{GOOD}\nnot json\n\n{long}\r\n{fits}\n{{}}\n{GOOD}");
        prop_assert_eq!(seen(text, step), [(1, true), (2, false), (4, false), (5, true), (6, false), (7, true)]);
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_before_the_first_line_and_only_there(step in 1_usize..600) {
        let text = format!("\u{feff}{GOOD}\n\u{feff}{GOOD}\n{GOOD}\n");
        prop_assert_eq!(seen(text, step), [(1, true), (2, false), (3, true)]);
        prop_assert_eq!(seen(format!("\u{feff}\n{GOOD}"), step), [(2, true)]);
        prop_assert_eq!(seen("\u{feff}", step), []);
        prop_assert_eq!(seen(format!("\u{feff}\u{feff}{GOOD}"), step), [(1, false)]);
    }
}

#[test]
fn a_refused_line_is_repeated_with_its_field() {
    let bad = GOOD.replace("5.4000", "-1");
    let Some(Line { content: Err(refused), number: 3 }) = line(3, bad.as_bytes(), rules()) else {
        panic!("a negative amount is refused");
    };
    assert_eq!((refused.field.as_str(), refused.text), ("amount", bad));
}

/// A pipe whose writing end stays open, and lines from its other end.
fn piped(text: &str) -> (std::fs::File, Lines) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut writer = std::fs::File::from(OwnedFd::from(writer));
    writer.write_all(text.as_bytes()).unwrap();
    (writer, read(reader, rules()).unwrap())
}

#[tokio::test]
async fn half_a_line_is_told_when_the_reading_is_stopped() {
    let half = &GOOD[..100];
    let (writer, mut lines) = piped(&format!("{GOOD}\n{half}"));
    let first = lines.next().await.unwrap().unwrap();
    assert!(matches!(first.as_slice(), [Line { number: 1, content: Ok(_) }]));
    lines.stop();
    let rest = lines.rest().await.lines;
    let [Line { number: 2, content: Err(told) }] = rest.as_slice() else { panic!("{rest:?}") };
    assert_eq!((told.field.as_str(), told.text.as_str()), ("line", half));
    assert!(
        told.reason.contains("request to stop") && told.reason.contains("send it again"),
        "{}",
        told.reason
    );
    // Told once, also when the reader wakes up.
    drop(writer);
    assert!(lines.next().await.is_none());
}

#[tokio::test]
async fn what_was_read_and_not_handed_over_comes_out_when_the_reading_ends() {
    // More than the channel holds, so that the reader stands in the midst of handing over.
    let count = CHUNK_LINES_MAX * (CHUNKS_MAX + 3);
    let text = format!("{GOOD}\n").repeat(count);
    let mut lines = read(std::io::Cursor::new(text), rules()).unwrap();
    let first = lines.next().await.unwrap().unwrap().len();
    lines.stop();
    let rest = lines.rest().await.lines;
    let numbers: Vec<u64> = rest.iter().map(|line| line.number).collect();
    let (from, to) = (u64::try_from(first + 1).unwrap(), u64::try_from(first + numbers.len()).unwrap());
    assert_eq!(numbers, (from..=to).collect::<Vec<_>>(), "without a gap");
    assert!(numbers.len() > CHUNK_LINES_MAX, "{}", numbers.len());
    assert!(rest[..rest.len() - 1].iter().all(|line| line.content.is_ok()), "at most the last one was cut");
    assert!(lines.next().await.is_none());
}

#[tokio::test]
async fn a_stop_between_lines_cuts_nothing() {
    for text in [format!("{GOOD}\n"), format!("{GOOD}\n \t"), String::new()] {
        let (_writer, mut lines) = piped(&text);
        if !text.is_empty() {
            assert_eq!(lines.next().await.unwrap().unwrap().len(), 1);
        }
        assert_eq!(lines.rest().await.lines, [], "{text:?}");
    }
}

#[tokio::test]
async fn half_a_line_is_told_when_the_input_fails() {
    let bytes = format!("{GOOD}\n{}", &GOOD[..50]).into_bytes();
    let mut lines = read(Trickle { bytes, at: 0, step: 7, fails: true }, rules()).unwrap();
    assert!(matches!(lines.next().await.unwrap().unwrap().as_slice(), [Line { number: 1, content: Ok(_) }]));
    let cut = lines.next().await.unwrap().unwrap();
    let [Line { number: 2, content: Err(told) }] = cut.as_slice() else { panic!("{cut:?}") };
    assert_eq!(told.text, GOOD[..50]);
    assert_eq!(lines.next().await.unwrap().unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}
