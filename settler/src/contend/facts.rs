//! What AWS's own simulator of optimistic writers counted, run again: aws-samples/aws-arch-backoff-simulator, hops of
//! |Normal(10, 2)| ms, base 5 ms, cap 2,000 ms, mean of 100 runs. The last column is the policy of the official DSQL
//! connectors in the same simulator, without its limit of three retries.

use crate::core::jitter::Strategy;

/// Workers, and then calls and completion in ms of each of [`Strategy::ALL`].
const SIMULATED: [(u16, [(u32, u32); 6]); 4] = [
    (10, [(50, 377), (51, 3_515), (43, 723), (39, 469), (38, 448), (50, 630)]),
    (20, [(151, 600), (152, 14_694), (108, 1_655), (100, 973), (101, 828), (141, 1_192)]),
    (50, [(691, 1_140), (624, 36_320), (347, 4_270), (333, 2_921), (375, 2_300), (542, 2_310)]),
    (100, [(2_425, 2_027), (1_850, 62_882), (813, 6_617), (796, 4_946), (1_001, 4_540), (1_514, 3_657)]),
];

/// Calls and completion in ms, for the numbers of workers that were simulated.
pub(super) fn simulated(strategy: Strategy, workers: u16) -> Option<(u32, u32)> {
    let (_, row) = SIMULATED.iter().find(|(number, _)| *number == workers)?;
    let place = Strategy::ALL.iter().position(|one| *one == strategy)?;
    Some(row[place])
}
