//! The same work without removal of copies as a dataflow of `timely`, one worker.
//!
//! One unary operator keeps tables by window and answers a window's number of slots when its time has passed; that is
//! how such a job is written there. What it keeps per slot is what the hand-written loop keeps.

use hashbrown::HashMap;
use schemas::bid::Bid;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::{Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

use crate::Work;
use crate::crowd::{Crowd, RECORD_BIDS};
use crate::hand::{Copies, Tables};

/// Calls with the bids of each window and the nanoseconds that each of them took.
pub(crate) fn run<T, Each>(crowd: &Crowd, mut each: Each) -> Vec<T>
where
    T: Send + 'static,
    Each: FnMut(&Crowd, usize, &[Bid], f64) -> T + Send + Sync + 'static,
{
    let crowd = Crowd::new(crowd.windows, crowd.per_window);
    timely::execute_directly(move |worker| {
        let mut input = InputHandle::<u64, _>::new();
        let probe = ProbeHandle::new();
        worker.dataflow::<u64, _, _>(|scope| {
            input
                .to_stream(scope)
                .unary_frontier(Pipeline, "windows", |_capability, _info| {
                    let mut open = HashMap::new();
                    move |(input, frontier), output| {
                        input.for_each_stamp(|capability, data: std::slice::IterMut<'_, Vec<Bid>>| {
                            let Some(capability) = capability.retain_least(output.output_index()) else {
                                return;
                            };
                            let tables: &mut Tables = open.entry(capability).or_default();
                            for batch in data {
                                batch.drain(..).for_each(|bid| tables.on_bid(&bid, Copies::Counted));
                            }
                        });
                        open.retain(|capability, tables| {
                            let is_open = frontier.less_equal(capability.time());
                            if !is_open {
                                output.session(capability).give(tables.len());
                            }
                            is_open
                        });
                    }
                })
                .container::<Vec<usize>>()
                .probe_with(&probe);
        });
        let mut all = Vec::new();
        for window in 0..crowd.windows {
            let bids = crowd.bids(window);
            let next = u64::try_from(window).unwrap() + 1;
            let work = Work::begin();
            for record in bids.chunks(RECORD_BIDS) {
                record.iter().for_each(|bid| input.send(*bid));
                worker.step();
            }
            input.advance_to(next);
            while probe.less_than(&next) {
                worker.step();
            }
            let took = work.per(bids.len());
            all.push(each(&crowd, window, &bids, took));
        }
        all
    })
}
