//! A sample of refused bids for the log: never more than some lines a second, whatever comes in.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use schemas::ids::{SequenceNumber, ShardId};

use crate::core::Sample;

/// Lines per period.
const LINES: u32 = 5;
const PERIOD: Duration = Duration::from_secs(1);

/// Which refused bids are logged.
#[derive(Debug)]
pub(crate) struct Samples(Mutex<(Instant, u32, u64)>);

impl Default for Samples {
    fn default() -> Self {
        Self(Mutex::new((Instant::now(), 0, 0)))
    }
}

impl Samples {
    /// Logs a refused bid, or only counts that it was not logged.
    pub(crate) fn on_refused(&self, shard_id: &ShardId, sequence: &SequenceNumber, sample: &Sample) {
        let not_logged = {
            let mut state = self.0.lock().expect("no holder panics");
            if state.0.elapsed() >= PERIOD {
                (state.0, state.1) = (Instant::now(), 0);
            }
            if state.1 >= LINES {
                state.2 += 1;
                return;
            }
            state.1 += 1;
            std::mem::take(&mut state.2)
        };
        let (refused, region) = (sample.refused.as_str(), sample.region);
        let (sub_sequence, reason) = (sample.sub_sequence, sample.reason);
        tracing::warn!(%shard_id, %sequence, sub_sequence, refused, %region, reason, not_logged, "bid refused");
    }
}
