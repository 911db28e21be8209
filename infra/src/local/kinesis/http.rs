//! The door for real clients: AWS JSON 1.1 over HTTP/1.1 on loopback.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::api;
use super::engine::Engine;
use super::faults::{Fate, Faults};
use super::model::Refusal;

/// Most bytes of a request body: 10 MiB of records in base64, and their keys.
const BODY_BYTES_MAX: usize = 24 * 1_048_576;

/// What every connection shares.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) engine: Arc<Mutex<Engine>>,
    pub(crate) faults: Arc<Mutex<Faults>>,
}

/// The answer never leaves: the connection is dropped.
#[derive(Debug, thiserror::Error)]
#[error("reply lost on purpose")]
struct Lost;

/// Accepts connections until the stop.
pub(crate) async fn run(listener: TcpListener, door: Door, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => drop(tokio::spawn(connection(socket, door.clone(), stop.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::task::yield_now().await;
                }
            },
        }
    }
}

async fn connection(socket: TcpStream, door: Door, stop: CancellationToken) {
    // Without Nagle's delay a small answer leaves at once; failing to set it costs only time.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| answer(request, door.clone()));
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    tokio::pin!(served);
    tokio::select! {
        _ = served.as_mut() => {}
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}

async fn answer(request: Request<Incoming>, door: Door) -> Result<Response<Full<Bytes>>, Lost> {
    let target =
        request.headers().get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let fate = door.faults.lock().expect("no holder panics").fate(&operation);
    if fate == Fate::LostRequest {
        return Err(Lost);
    }
    let body = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            return Ok(reply(refusal(
                "ValidationException",
                "the request body cannot be read or is too long",
            )));
        }
    };
    let outcome = match fate {
        Fate::ServerError => Err(refusal("InternalFailure", "failed on purpose")),
        Fate::Throttled => Err(refusal("ProvisionedThroughputExceededException", "throttled on purpose")),
        Fate::ExpiredIterator => Err(refusal("ExpiredIteratorException", "expired on purpose")),
        Fate::Served | Fate::LostReply | Fate::LostRequest => door.call(&operation, &body),
    };
    if fate == Fate::LostReply {
        return Err(Lost);
    }
    Ok(match outcome {
        Ok(Value::Null) => response(StatusCode::OK, Bytes::new()),
        Ok(value) => response(StatusCode::OK, Bytes::from(value.to_string())),
        Err(refusal) => reply(refusal),
    })
}

impl Door {
    fn call(&self, operation: &str, body: &[u8]) -> Result<Value, Refusal> {
        let now = runtime::clock::now();
        let mut engine = self.engine.lock().expect("no holder panics");
        api::call(&mut engine, operation, body, now.0, &mut || {
            self.faults.lock().expect("no holder panics").entry_fails()
        })
    }
}

fn refusal(code: &'static str, message: &str) -> Refusal {
    Refusal { code, message: message.to_owned() }
}

fn reply(refusal: Refusal) -> Response<Full<Bytes>> {
    let status = if refusal.code == "InternalFailure" {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::BAD_REQUEST
    };
    let body = json!({ "__type": refusal.code, "message": refusal.message });
    response(status, Bytes::from(body.to_string()))
}

fn response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("application/x-amz-json-1.1");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}
