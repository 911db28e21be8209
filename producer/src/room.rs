//! Memory for bids of waiting callers, in shares of one bid, so that a full buffer is seen before a bid is taken.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::core::sender::HELD_BYTES;

/// Shares of the memory for bids on their way; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    shares: usize,
}

/// Shares that are held until this is dropped.
pub(crate) type Held = OwnedSemaphorePermit;

/// How many bids fit.
pub(crate) fn bids_in(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX) / HELD_BYTES
}

/// The shares that so many bytes take.
pub(crate) fn shares_of(bytes: usize) -> usize {
    bytes.div_ceil(HELD_BYTES)
}

impl Room {
    /// Room for as many bids as fit into so many bytes, at least one.
    pub(crate) fn new(bytes: u64) -> Self {
        // A permit counts in 32 bits; that many bids are two terabytes.
        let shares = bids_in(bytes).clamp(1, usize::try_from(u32::MAX).unwrap_or(usize::MAX));
        Self { free: Arc::new(Semaphore::new(shares)), shares }
    }

    /// Most that can ever be held at once.
    pub(crate) fn shares(&self) -> usize {
        self.shares
    }

    /// Waits until so many shares are free, in the order of asking; never more than [`Room::shares`].
    pub(crate) async fn wait(&self, shares: usize) -> Held {
        let shares = u32::try_from(shares.min(self.shares)).expect("at most 32 bits of shares");
        Arc::clone(&self.free).acquire_many_owned(shares).await.expect("never closed")
    }

    /// Takes so many shares if they are free.
    pub(crate) fn take(&self, shares: usize) -> Option<Held> {
        let shares = u32::try_from(shares).ok()?;
        Arc::clone(&self.free).try_acquire_many_owned(shares).ok()
    }
}
