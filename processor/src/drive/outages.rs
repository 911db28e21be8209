//! The outages of those whom a look at the leases asks: the lease table and the stream.

use runtime::outage::{State, Watched};

use super::Shared;

/// Whom a call asked.
#[derive(Clone, Copy)]
pub(super) enum With {
    Leases,
    Stream,
}

impl With {
    pub(super) fn named(self, shared: &Shared) -> String {
        match self {
            Self::Leases => format!("table {} of leases", shared.leases.table),
            Self::Stream => format!("stream {}", shared.stream.name),
        }
    }
}

/// The outages of those whom looks ask.
pub(super) struct Outages {
    leases: Watched,
    stream: Watched,
}

impl Outages {
    pub(super) fn of(shared: &Shared) -> Self {
        let watched = |with: With| Watched::after_a_good_start(with.named(shared));
        Self { leases: watched(With::Leases), stream: watched(With::Stream) }
    }

    pub(super) fn with(&self, with: With) -> &Watched {
        match with {
            With::Leases => &self.leases,
            With::Stream => &self.stream,
        }
    }

    pub(super) fn on_success(&self) {
        self.leases.on_success();
        self.stream.on_success();
    }

    /// The worse of both.
    pub(super) fn state(&self) -> State {
        self.leases.state().max(self.stream.state())
    }
}
