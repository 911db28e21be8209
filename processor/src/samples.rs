//! A sample of refused bids for the log: never more than some lines a second, whatever comes in.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use schemas::ids::{SequenceNumber, ShardId};

use crate::core::{Judged, Sample};

/// Lines per period.
const LINES: u32 = 5;
const PERIOD: Duration = Duration::from_secs(1);

/// Which refused bids are logged.
#[derive(Debug)]
pub(crate) struct Samples {
    started: Instant,
    rate: Mutex<Rate>,
}

impl Default for Samples {
    fn default() -> Self {
        Self { started: Instant::now(), rate: Mutex::default() }
    }
}

/// How many lines were written in this period, and how many refused bids have none since the last line.
#[derive(Debug, Default)]
struct Rate {
    began: Duration,
    lines: u32,
    not_logged: u64,
}

impl Rate {
    /// So many bids were refused at once. A line about one of them may be written when this answers: with how many
    /// had none before it.
    fn on_refused(&mut self, refused: u64, now: Duration) -> Option<u64> {
        if now.saturating_sub(self.began) >= PERIOD {
            (self.began, self.lines) = (now, 0);
        }
        if self.lines >= LINES {
            self.not_logged += refused;
            return None;
        }
        self.lines += 1;
        Some(std::mem::replace(&mut self.not_logged, refused.saturating_sub(1)))
    }
}

impl Samples {
    /// Logs the first refused bid of a record, or only counts that it was not logged; the others are counted.
    pub(crate) fn on_refused(&self, shard_id: &ShardId, sequence: &SequenceNumber, judged: &Judged) {
        let Some(Sample { refused, region, sub_sequence, reason }) = judged.sample else { return };
        let line = {
            let mut rate = self.rate.lock().expect("no holder panics");
            rate.on_refused(judged.refused(), self.started.elapsed())
        };
        let Some(not_logged) = line else { return };
        let refused = refused.as_str();
        tracing::warn!(%shard_id, %sequence, sub_sequence, refused, %region, reason, not_logged, "bid refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_lines_a_second_are_written_and_what_has_none_is_counted() {
        let ms = Duration::from_millis;
        let mut rate = Rate::default();
        let first: Vec<_> = (0..8).map(|at| rate.on_refused(1, ms(at))).collect();
        assert_eq!(first, [Some(0), Some(0), Some(0), Some(0), Some(0), None, None, None]);
        assert_eq!(rate.on_refused(4, ms(999)), None);
        assert_eq!(rate.on_refused(3, ms(1_000)), Some(7), "three, and then four");
        assert_eq!(rate.on_refused(1, ms(1_000)), Some(2), "two of the three had no line");
    }
}
