//! What AWS's own simulator of optimistic writers counted, run again: aws-samples/aws-arch-backoff-simulator, hops of
//! |Normal(10, 2)| ms, base 5 ms, cap 2,000 ms, mean of 100 runs. The last column is the policy of the official DSQL
//! connectors (base 1 ms, cap 100 ms) in the same simulator, without its limit of three tries. For other numbers of
//! workers and for other hops stands what our own model of that simulator counts, which is held to these figures.

use super::latency_proxy::HopLatency;
use super::race::{HotRow, Race};
use super::simulator::simulate;
use settler::core::jitter::Strategy;

/// The hops that were simulated.
const HOPS: HopLatency = HopLatency { mean_ms: 10, deviation_ms: 2 };
/// Workers, and then calls and completion in ms of each of [`Strategy::ALL`].
const SIMULATED: [(u16, [(u32, u32); 6]); 4] = [
    (10, [(50, 377), (51, 3_515), (43, 723), (39, 469), (38, 448), (50, 630)]),
    (20, [(151, 600), (152, 14_694), (108, 1_655), (100, 973), (101, 828), (141, 1_192)]),
    (50, [(691, 1_140), (624, 36_320), (347, 4_270), (333, 2_921), (375, 2_300), (542, 2_310)]),
    (100, [(2_425, 2_027), (1_850, 62_882), (813, 6_617), (796, 4_946), (1_001, 4_540), (1_514, 3_657)]),
];

/// Why there is nothing to hold such a race against; none when there is.
pub(crate) fn why_none(hot_row: HotRow, hops: HopLatency) -> Option<&'static str> {
    match hot_row {
        HotRow::Auction => {
            Some("in AWS's simulator every worker writes once, and one auction is decided once")
        }
        HotRow::Account if hops.is_none() => {
            Some("without hops nobody knows how far away the ledger is, so there is nothing to simulate")
        }
        HotRow::Account => None,
    }
}

/// Calls and completion in ms: as AWS's simulator had them, or as our model of it has them.
pub(crate) fn simulated(race: &Race, hops: HopLatency) -> Option<(f64, f64)> {
    if why_none(race.hot_row, hops).is_some() {
        return None;
    }
    let place = Strategy::ALL.iter().position(|one| *one == race.strategy)?;
    match SIMULATED.iter().find(|(number, _)| *number == race.workers && hops == HOPS) {
        Some((_, row)) => Some((row[place].0.into(), row[place].1.into())),
        None => Some(simulate(race.strategy, race.workers, hops)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Means of 100 races are held against means of 100 others, so calls may differ a little and completion, which hangs
    /// on the last one alone, somewhat more.
    #[test]
    fn our_model_counts_what_the_simulator_of_aws_counted() {
        for (workers, row) in SIMULATED.iter().filter(|(workers, _)| *workers <= 50) {
            for (strategy, (calls, completion)) in Strategy::ALL.into_iter().zip(row) {
                let (ours_calls, ours_completion) = simulate(strategy, *workers, HOPS);
                let off = |ours: f64, theirs: u32| (ours / f64::from(theirs) - 1.0).abs();
                let (calls, completion) = (off(ours_calls, *calls), off(ours_completion, *completion));
                assert!(
                    calls < 0.06 && completion < 0.12,
                    "{strategy} {workers}: {ours_calls} calls, {ours_completion} ms; off by {calls} and {completion}"
                );
            }
        }
    }

    #[test]
    fn any_number_of_workers_has_a_figure_or_a_reason_why_there_is_none() {
        let race = |strategy, workers| Race { hot_row: HotRow::Account, workers, strategy };
        for strategy in Strategy::ALL {
            let (calls, completion) = simulated(&race(strategy, 3), HOPS).unwrap();
            assert!((3.0..=8.0).contains(&calls) && completion > 40.0, "{strategy}: {calls} {completion}");
            let again = simulated(&race(strategy, 3), HOPS);
            assert_eq!(again, Some((calls, completion)), "the same question has the same answer");
        }
        let full = race(Strategy::Full, 10);
        assert_eq!(simulated(&full, HOPS), Some((39.0, 469.0)));
        let far = HopLatency { mean_ms: 20, ..HOPS };
        assert!(simulated(&full, far).unwrap().1 > 469.0, "a ledger twice as far away takes longer");
        for (race, hops) in
            [(full, HopLatency { mean_ms: 0, ..HOPS }), (Race { hot_row: HotRow::Auction, ..full }, HOPS)]
        {
            assert_eq!(simulated(&race, hops), None);
            assert!(why_none(race.hot_row, hops).is_some());
        }
    }
}
