//! A door before a local engine that refuses the calls which a test names.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::outage::door::forward;

/// The code and the words of a refusal.
pub(super) type Refusal = Option<(&'static str, &'static str)>;
/// What is refused, by operation and body.
type Rule = Arc<dyn Fn(&str, &str) -> Refusal + Send + Sync>;

/// A door that stays open as long as the test's runtime.
pub(super) async fn open(
    upstream: &str,
    rule: impl Fn(&str, &str) -> Refusal + Send + Sync + 'static,
) -> String {
    let upstream: SocketAddr = upstream.trim_start_matches("http://").parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let rule: Rule = Arc::new(rule);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let rule = Arc::clone(&rule);
            let service = service_fn(move |request| answer(request, upstream, Arc::clone(&rule)));
            let io = TokioIo::new(socket);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    format!("http://{address}")
}

async fn answer(
    request: Request<Incoming>,
    upstream: SocketAddr,
    rule: Rule,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let target = request.headers().get("x-amz-target").map(|target| target.to_str().unwrap().to_owned());
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let target = target.unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap();
    let Some((code, words)) = rule(operation, &String::from_utf8_lossy(&body)) else {
        return forward(Request::from_parts(head, Full::new(body)), upstream).await;
    };
    let mut refused = Response::new(Full::from(format!("{{\"__type\":\"{code}\",\"message\":\"{words}\"}}")));
    *refused.status_mut() = StatusCode::BAD_REQUEST;
    Ok(refused)
}
