//! What every stage answers to `GET /health`: 200 or 503, and JSON with one word, for programs, and what is wrong, for
//! people.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

/// How a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    status: &'static str,
    reason: Option<String>,
    seen: Option<String>,
}

/// How much of it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The word alone: to whoever brings no token where one is wanted.
    Status,
    /// The reason too, and what was last seen.
    All,
}

impl Health {
    /// All is well.
    #[must_use]
    pub fn ok() -> Self {
        Self { status: "ok", reason: None, seen: None }
    }

    /// Something is wrong: one word for it, of a closed set, and what it is.
    #[must_use]
    pub fn bad(status: &'static str, reason: impl Into<String>) -> Self {
        Self { status, reason: Some(reason.into()), seen: None }
    }

    /// With what was last seen: counts that a person looks for.
    #[must_use]
    pub fn seen(self, seen: impl Into<String>) -> Self {
        Self { seen: Some(seen.into()), ..self }
    }

    /// Whether all is well.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.reason.is_none()
    }

    /// The answer: 503 unless all is well, and an object with `status`, `reason` and `seen`.
    #[must_use]
    pub fn answer(&self, detail: Detail) -> Response<Full<Bytes>> {
        let mut body = json!({ "status": self.status });
        let more = [("reason", &self.reason), ("seen", &self.seen)];
        for (name, text) in more.into_iter().filter(|_| detail == Detail::All) {
            if let Some(text) = text {
                body[name] = json!(text);
            }
        }
        let status = if self.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut answer = Response::new(Full::from(body.to_string()));
        *answer.status_mut() = status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn told(health: &Health, detail: Detail) -> (u16, String) {
        let answer = health.answer(detail);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_word_is_told_to_all_and_the_rest_to_who_may_see_it() {
        let ok = Health::ok();
        assert_eq!(told(&ok, Detail::All).await, (200, r#"{"status":"ok"}"#.to_owned()));
        let ok = ok.seen("leases held 2");
        assert_eq!(told(&ok, Detail::Status).await, (200, r#"{"status":"ok"}"#.to_owned()));
        assert_eq!(told(&ok, Detail::All).await.1, r#"{"seen":"leases held 2","status":"ok"}"#);
        let bad = Health::bad("away", "the stream says \"no\"").seen("held 0");
        assert_eq!(told(&bad, Detail::Status).await, (503, r#"{"status":"away"}"#.to_owned()));
        let all = r#"{"reason":"the stream says \"no\"","seen":"held 0","status":"away"}"#;
        assert_eq!(told(&bad, Detail::All).await, (503, all.to_owned()));
    }
}
