//! What a caller is told.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use runtime::bearer;
use schemas::ids::BidId;
use schemas::intake::Refusal;
use serde::Serialize;

use crate::handle::SendError;

/// An answer as it leaves.
pub(super) type Answered = Response<Full<Bytes>>;

/// Seconds after which a caller may try again: the buffer empties in less when the stream takes bids at all.
const RETRY_S: HeaderValue = HeaderValue::from_static("1");

/// A request that is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    reason: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    pub(super) fn answer(self) -> Answered {
        #[derive(Serialize)]
        struct Body {
            error: String,
        }
        let mut answer = json(self.status, &Body { error: self.reason });
        let (name, value) = match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => (RETRY_AFTER, RETRY_S),
            StatusCode::UNAUTHORIZED => bearer::CHALLENGE,
            _ => return answer,
        };
        answer.headers_mut().insert(name, value);
        answer
    }
}

/// One bid that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    /// The line, from 1, or the place in the array or bid response.
    pub(super) at: String,
    /// The bid, when it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bid_id: Option<BidId>,
    /// `refused`, `expired` and `undelivered` are not in the stream; `unknown` may be.
    pub(super) answer: &'static str,
    /// The field, when one is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<String>,
    /// What is wrong and what to do.
    pub(super) reason: String,
}

impl Told {
    /// A bid that the stream did not get, or perhaps did.
    pub(super) fn failed(at: String, bid_id: BidId, error: SendError) -> Self {
        let (answer, reason) = match &error {
            SendError::StreamRefuses(why) => {
                let reason = format!("{why}; then send it again");
                return Self { at, bid_id: Some(bid_id), answer: "undelivered", field: None, reason };
            }
            SendError::RecordRefused(why) => {
                let reason = why.to_string();
                return Self { at, bid_id: Some(bid_id), answer: "refused", field: None, reason };
            }
            SendError::Refused(error) => {
                let (field, reason) = (Some(error.field().to_owned()), error.to_string());
                return Self { at, bid_id: Some(bid_id), answer: "refused", field, reason };
            }
            SendError::Expired => ("expired", "its window is closed; send a bid of now"),
            SendError::Undelivered => ("undelivered", "was not delivered in time; send it again"),
            SendError::Closed => ("undelivered", "the producer is stopping; send it to another"),
            SendError::Unknown => {
                ("unknown", "may or may not be delivered; send it again, a copy counts once")
            }
        };
        Self { at, bid_id: Some(bid_id), answer, field: None, reason: reason.to_owned() }
    }
}

/// A bid whose amount was rounded, whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct RoundedTold {
    /// As in [`Told`].
    pub(super) at: String,
    pub(super) bid_id: BidId,
    /// What was offered.
    pub(super) offered: String,
    /// What the bid has as its amount.
    pub(super) amount: String,
}

/// What became of a request's bids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// Bids that the stream has.
    pub(super) accepted: usize,
    /// All others, in their order.
    pub(super) not_accepted: Vec<Told>,
    /// Bids whose amounts were rounded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rounded: Vec<RoundedTold>,
    /// Fields of a bid response that are wrong, and that no bid was refused for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) passed_over: Vec<Refusal>,
}

impl Report {
    /// 200 when all bids were accepted, 422 when some were refused, 503 when some are worth sending again.
    pub(super) fn answer(&self) -> Answered {
        let again = |told: &Told| matches!(told.answer, "undelivered" | "unknown");
        let status = match &self.not_accepted {
            all if all.is_empty() => StatusCode::OK,
            some if some.iter().any(again) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let mut answer = json(status, self);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, RETRY_S);
        }
        answer
    }
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answered {
    let text = serde_json::to_vec(body).expect("plain fields are JSON");
    typed(status, text, HeaderValue::from_static("application/json"))
}

pub(super) fn typed(status: StatusCode, body: impl Into<Bytes>, kind: HeaderValue) -> Answered {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
