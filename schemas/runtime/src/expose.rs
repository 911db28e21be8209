//! `GET /metrics` in Prometheus' text form and `GET /health`, on loopback unless told otherwise.
//!
//! Whoever listens beyond loopback gives a token, and every request must bring it as `Authorization: Bearer TOKEN`.
//! Nothing can be changed through this door, and no body is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::shutdown::Shutdown;

/// Connections at once: a scraper and some people.
const CONNECTIONS_MAX: usize = 32;
/// What a token beyond loopback has at least.
const TOKEN_BYTES_MIN: usize = 16;
/// How long a client may take to send its request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may live: nobody needs one that long, and shutting down waits for none.
const CONNECTION_MAX: Duration = Duration::from_secs(300);
/// Prometheus' text form, as its library writes it.
const METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What is shown.
pub struct Exposed {
    /// All metrics.
    pub registry: Registry,
    /// Whether this process is well: a sentence in either case.
    pub health: Box<dyn Fn() -> Result<String, String> + Send + Sync>,
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum ExposeError {
    /// Beyond loopback without a token.
    #[error(
        "{0} is reachable from elsewhere, so a token of at least 16 characters is needed: set METRICS_TOKEN, or listen on 127.0.0.1"
    )]
    NoToken(SocketAddr),
    /// The address is taken or not ours.
    #[error("{address} cannot be listened on: {source}; give another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
}

/// A door that is open; it serves while [`Door::run`] runs.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    token: Option<Arc<str>>,
}

impl Door {
    /// Opens a door; port 0 takes a free one.
    ///
    /// # Errors
    /// See [`ExposeError`].
    pub async fn open(address: SocketAddr, token: Option<&str>) -> Result<Self, ExposeError> {
        let token = token.filter(|token| !token.is_empty()).map(Arc::from);
        let length = token.as_ref().map_or(0, |token: &Arc<str>| token.len());
        if length < TOKEN_BYTES_MIN && !address.ip().is_loopback() {
            return Err(ExposeError::NoToken(address));
        }
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| ExposeError::Listen { address, source })?;
        Ok(Self { listener, token })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the stop.
    pub async fn run(self, exposed: Arc<Exposed>, shutdown: Shutdown) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = shutdown.wait() => return,
                accepted = self.listener.accept() => accepted,
            };
            let Ok((socket, _)) = accepted else {
                // Too many open files, most likely: the next attempt may find room.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (exposed, token) = (Arc::clone(&exposed), self.token.clone());
            tokio::spawn(async move {
                let _ = tokio::time::timeout(CONNECTION_MAX, serve(socket, exposed, token)).await;
                drop(place);
            });
        }
    }
}

async fn serve(socket: TcpStream, exposed: Arc<Exposed>, token: Option<Arc<str>>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let reply = answer(&request, &exposed, token.as_deref());
        std::future::ready(Ok::<_, std::convert::Infallible>(reply))
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let served = builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    if let Err(error) = served.serve_connection(TokioIo::new(socket), service).await {
        tracing::debug!(%error, "connection for metrics ended early");
    }
}

fn answer<B>(request: &Request<B>, exposed: &Exposed, token: Option<&str>) -> Response<Full<Bytes>> {
    let given =
        request.headers().get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if token.is_some_and(|token| !given.is_some_and(|given| same(given, token.as_bytes()))) {
        return reply(
            StatusCode::UNAUTHORIZED,
            "a token is needed: Authorization: Bearer TOKEN\n".to_owned(),
        );
    }
    if request.method() != Method::GET {
        return reply(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n".to_owned());
    }
    match request.uri().path() {
        "/metrics" => {
            let mut out = String::new();
            if text::encode(&mut out, &exposed.registry).is_err() {
                return reply(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n".to_owned());
            }
            let mut response = reply(StatusCode::OK, out);
            response.headers_mut().insert(CONTENT_TYPE, METRICS_TYPE);
            response
        }
        "/health" => match (exposed.health)() {
            Ok(words) => reply(StatusCode::OK, words + "\n"),
            Err(words) => reply(StatusCode::SERVICE_UNAVAILABLE, words + "\n"),
        },
        _ => reply(StatusCode::NOT_FOUND, "there is /metrics and /health\n".to_owned()),
    }
}

/// Compares in a time that does not tell where the first difference is.
fn same(given: &[u8], token: &[u8]) -> bool {
    let differing = given.iter().zip(token).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == token.len() && differing == 0
}

fn reply(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn exposed() -> Exposed {
        let mut registry = Registry::default();
        let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
        registry.register("processor_records", "Records read", counter.clone());
        counter.inc_by(7);
        Exposed { registry, health: Box::new(|| Err("no lease".to_owned())) }
    }

    async fn get(path: &str, bearer: Option<&str>, token: Option<&str>) -> (u16, String) {
        let mut request = Request::builder().uri(path);
        if let Some(bearer) = bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
        }
        let response = answer(&request.body(()).unwrap(), &exposed(), token);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn metrics_and_health_are_shown_and_nothing_else() {
        let (status, body) = get("/metrics", None, None).await;
        assert!(status == 200 && body.contains("processor_records_total 7\n"), "{status} {body}");
        assert_eq!(get("/health", None, None).await, (503, "no lease\n".to_owned()));
        assert_eq!(get("/other", None, None).await.0, 404);
    }

    #[tokio::test]
    async fn a_token_is_wanted_where_one_was_given() {
        assert_eq!(get("/metrics", None, Some("secret")).await.0, 401);
        assert_eq!(get("/metrics", Some("secreT"), Some("secret")).await.0, 401);
        assert_eq!(get("/metrics", Some("secret"), Some("secret")).await.0, 200);
        let open = Door::open("0.0.0.0:0".parse().unwrap(), None).await;
        assert!(matches!(open, Err(ExposeError::NoToken(_))));
    }
}
