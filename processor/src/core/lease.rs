//! Which leases a worker takes, from what it sees in the table and its own monotonic clock.
//!
//! There is no clock in the table: a lease is expired when its counter stood still for the failover time of whoever
//! watches it.

use std::collections::BTreeMap;
use std::time::Duration;

use schemas::ids::ShardId;
use schemas::lease::{Checkpoint, Lease};

/// What a worker remembers of the leases it saw.
#[derive(Debug)]
pub struct Watch {
    worker: String,
    failover: Duration,
    seen: BTreeMap<ShardId, (u64, Duration)>,
}

impl Watch {
    /// A watch that saw nothing yet.
    #[must_use]
    pub fn new(worker: String, failover: Duration) -> Self {
        Self { worker, failover, seen: BTreeMap::new() }
    }

    /// Looks at all leases at `now` of a monotonic clock and answers those to take: free or expired ones up to a fair
    /// share, or else one of the busiest worker's when it has at least two more than this one.
    pub fn on_leases(&mut self, leases: &[Lease], now: Duration) -> Vec<Lease> {
        for lease in leases {
            let entry = self.seen.entry(lease.shard_id.clone()).or_insert((lease.counter, now));
            if entry.0 != lease.counter {
                *entry = (lease.counter, now);
            }
        }
        let open: Vec<&Lease> =
            leases.iter().filter(|lease| lease.checkpoint != Checkpoint::ShardEnd).collect();
        let mut held: BTreeMap<&str, Vec<&Lease>> = BTreeMap::from([(self.worker.as_str(), Vec::new())]);
        let mut free = Vec::new();
        for lease in &open {
            match &lease.owner {
                Some(owner) if !self.expired(lease, now) => held.entry(owner).or_default().push(lease),
                _ => free.push(*lease),
            }
        }
        let share = open.len().div_ceil(held.len());
        let mine = held[self.worker.as_str()].len();
        let room = share.saturating_sub(mine);
        if !free.is_empty() {
            return free.into_iter().take(room).cloned().collect();
        }
        let busiest = held.values().max_by_key(|leases| leases.len());
        let stolen = busiest.filter(|leases| leases.len() >= mine + 2).and_then(|leases| leases.first());
        stolen.map(|lease| Lease::clone(lease)).into_iter().collect()
    }

    fn expired(&self, lease: &Lease, now: Duration) -> bool {
        lease.owner.as_deref() != Some(&self.worker)
            && self
                .seen
                .get(&lease.shard_id)
                .is_some_and(|(_, since)| now.saturating_sub(*since) >= self.failover)
    }
}

/// The row as it stands once this worker took it.
#[must_use]
pub fn taken(lease: &Lease, worker: &str) -> Lease {
    let switched = lease.owner.as_deref().is_some_and(|owner| owner != worker);
    Lease {
        owner: Some(worker.to_owned()),
        counter: lease.counter + 1,
        owner_switches: lease.owner_switches + u64::from(switched),
        ..lease.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::hash::HashRange;

    fn lease(id: &str, owner: Option<&str>, counter: u64) -> Lease {
        let mut lease = Lease::new(ShardId(id.to_owned()), HashRange::ALL, Vec::new());
        (lease.owner, lease.counter) = (owner.map(str::to_owned), counter);
        lease
    }

    fn ids(leases: &[Lease]) -> Vec<&str> {
        leases.iter().map(|lease| lease.shard_id.0.as_str()).collect()
    }

    #[test]
    fn a_lease_expires_only_when_its_counter_stands_still_for_the_failover_time() {
        let mut watch = Watch::new("me".to_owned(), Duration::from_secs(10));
        let at = Duration::from_secs;
        assert!(watch.on_leases(&[lease("a", Some("you"), 1)], at(0)).is_empty());
        assert!(watch.on_leases(&[lease("a", Some("you"), 2)], at(9)).is_empty());
        assert!(watch.on_leases(&[lease("a", Some("you"), 2)], at(18)).is_empty());
        assert_eq!(ids(&watch.on_leases(&[lease("a", Some("you"), 2)], at(19))), ["a"]);
    }

    #[test]
    fn a_worker_takes_its_share_and_steals_only_from_a_difference_of_two() {
        let mut watch = Watch::new("me".to_owned(), Duration::from_secs(10));
        let free = [lease("a", None, 0), lease("b", None, 0), lease("c", Some("you"), 0)];
        assert_eq!(ids(&watch.on_leases(&free, Duration::ZERO)), ["a", "b"]);
        let two = [lease("a", Some("you"), 0), lease("b", Some("you"), 0)];
        assert_eq!(ids(&watch.on_leases(&two, Duration::ZERO)), ["a"]);
        let even = [lease("a", Some("you"), 0), lease("b", Some("me"), 0)];
        assert!(watch.on_leases(&even, Duration::ZERO).is_empty());
    }
}
