//! What a connection is at, since when, and when that ends it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Patience;
use super::framing::Framing;

/// Requests of one connection; the answer to the last says so. Callers that connect anew now and then also come to a
/// producer that was started beside others behind a balancer.
pub(super) const REQUESTS_MAX: u32 = 10_000;
/// How long a connection that asks nothing keeps its place in a crowd: a client that is about to ask does so sooner.
const SPARE_AFTER: Duration = Duration::from_secs(1);
/// How long one does that has not taken its answers.
const SPARE_BEHIND_AFTER: Duration = Duration::from_secs(10);

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A request's head is on its way.
    Head,
    /// Requests are answered.
    Request,
    /// The last request was answered.
    Idle,
}

/// What becomes of the connection with the answer under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is kept for further requests.
    Kept,
    /// It ends.
    Last,
}

/// How long an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// It ends by itself.
    Known,
    /// It goes on, as events do.
    Open,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    /// Its frames tell nothing of requests, and some wait for the client's own window.
    Http2,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    framing: Framing,
    protocol: Protocol,
    /// Requests under way: one over HTTP/1.1.
    active: u32,
    /// Since when the client takes nothing of what it asked for.
    stalled: Option<Instant>,
    /// Since when it has not taken all of it.
    behind: Option<Instant>,
    length: Length,
    requests: u32,
    /// It brought the listener's token.
    known: bool,
    /// Another gets its place.
    given_up: bool,
    /// It ends with the answer under way.
    last: bool,
}

/// The state of one connection, told by what it reads, writes and answers.
#[derive(Debug)]
pub(super) struct Bound {
    state: Mutex<State>,
    changed: Notify,
    ended: Notify,
}

impl Bound {
    pub(super) fn new() -> Self {
        let state = State {
            phase: Phase::Head,
            since: Instant::now(),
            framing: Framing::default(),
            protocol: Protocol::Http1,
            active: 0,
            stalled: None,
            behind: None,
            length: Length::Known,
            requests: 0,
            known: false,
            given_up: false,
            last: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), ended: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn speaks(&self, protocol: Protocol) {
        self.state().protocol = protocol;
    }

    /// Takes into account that bytes came.
    pub(super) fn on_bytes(&self, bytes: &[u8]) {
        let mut state = self.state();
        if state.protocol == Protocol::Http2 {
            return;
        }
        state.framing.on_bytes(bytes);
        if state.phase == Phase::Idle {
            state.enter(Phase::Head);
            self.changed.notify_one();
        }
    }

    /// Takes into account that a request's head is there, with a body of so many bytes where that is known.
    pub(super) fn on_request(&self, body_bytes: Option<u64>) {
        let mut state = self.state();
        state.framing.on_request(body_bytes);
        state.active += 1;
        state.requests += 1;
        state.last |= std::mem::take(&mut state.given_up) || state.requests >= REQUESTS_MAX;
        state.enter(Phase::Request);
        self.changed.notify_one();
    }

    /// Takes into account that an answer begins; returns what becomes of the connection.
    pub(super) fn on_answer(&self, length: Length) -> Next {
        let mut state = self.state();
        state.length = length;
        if state.last { Next::Last } else { Next::Kept }
    }

    /// Takes into account that an answer is on its way whole.
    pub(super) fn on_answered(&self) {
        let mut state = self.state();
        state.active = state.active.saturating_sub(1);
        if state.active == 0 {
            state.length = Length::Known;
            let is_amid_head = state.framing.on_answered() && state.protocol == Protocol::Http1;
            state.enter(if is_amid_head { Phase::Head } else { Phase::Idle });
            self.changed.notify_one();
        }
    }

    /// Takes into account what became of an attempt to write.
    pub(super) fn on_write<T>(&self, written: &Poll<T>) {
        let mut state = self.state();
        if written.is_ready() {
            state.stalled = None;
        } else if state.stalled.is_none() {
            let now = Instant::now();
            state.stalled = Some(now);
            state.behind.get_or_insert(now);
            self.changed.notify_one();
        }
    }

    /// Takes into account that nothing waits to be written.
    pub(super) fn on_flush(&self) {
        self.state().behind = None;
    }

    pub(super) fn on_token(&self) {
        self.state().known = true;
    }

    pub(super) fn is_known(&self) -> bool {
        self.state().known
    }

    /// From when on another may have its place; none while it is answered.
    pub(super) fn spare_from(&self) -> Option<Instant> {
        let state = self.state();
        match (state.behind(), state.phase) {
            (Some(behind), _) => Some(behind + SPARE_BEHIND_AFTER),
            (None, Phase::Request) => None,
            (None, Phase::Head | Phase::Idle) => Some(state.since + SPARE_AFTER),
        }
    }

    /// Ends the connection for another's sake, unless it has just asked. One that asks before it ended is answered, and
    /// keeps its place until then.
    pub(super) fn give_up(&self) {
        let mut state = self.state();
        if state.phase != Phase::Request || state.behind().is_some() {
            state.given_up = true;
            self.changed.notify_one();
            self.ended.notify_one();
        }
    }

    /// Whether it ends for another's sake.
    pub(super) fn is_ending(&self) -> bool {
        self.state().given_up
    }

    /// Waits until another gets the place. For before the connection is served.
    pub(super) async fn is_given_up(&self) {
        while !self.is_ending() {
            self.ended.notified().await;
        }
    }

    /// When the connection ends, as things are.
    fn due(&self, patience: &Patience) -> Option<Instant> {
        let state = self.state();
        if state.given_up {
            return Some(state.since);
        }
        let silent = match state.phase {
            Phase::Head => Some(state.since + patience.head),
            Phase::Idle => Some(state.since + patience.keep_alive),
            Phase::Request => None,
        };
        let stalled = state.stalled.map(|since| since + patience.takes);
        let behind = state.behind().map(|since| since + patience.answer);
        silent.into_iter().chain(stalled).chain(behind).min()
    }

    /// Waits until the client has been silent, or has taken too little, for too long, or another needs the place.
    pub(super) async fn ends(&self, patience: &Patience) {
        loop {
            let Some(due) = self.due(patience) else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = self.changed.notified() => {}
                // It may have been put off meanwhile.
                () = tokio::time::sleep_until(due) => {
                    if self.due(patience).is_some_and(|due| due <= Instant::now()) {
                        return;
                    }
                }
            }
        }
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        (self.phase, self.since) = (phase, Instant::now());
    }

    /// Since when the client has not taken all of answers that end by themselves.
    fn behind(&self) -> Option<Instant> {
        self.behind.filter(|_| self.length == Length::Known && self.protocol == Protocol::Http1)
    }
}
