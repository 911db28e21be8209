//! `GET /metrics` in Prometheus' text form and `GET /health`, on loopback unless told otherwise.
//!
//! Whoever listens beyond loopback gives a token, and every request must bring it as `Authorization: Bearer TOKEN`, but
//! one for health, whose status alone is told without. On loopback no page of a browser is answered. Nothing can be
//! changed through this door, and no body is read.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::bearer::{self, Token, TokenError};
use crate::connection::{self, Connection, Patience};
use crate::health::{Detail, Health};
use crate::origin::Reach;
use crate::shutdown::Shutdown;

/// Connections at once: scrapers, some people, and the nodes of a balancer, each of which keeps its own. One that asks
/// nothing leaves its place to a newcomer.
const CONNECTIONS_MAX: usize = 128;
/// How long a client may take to send its request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may live until the request under way is its last: nobody needs one that long.
const CONNECTION_MAX: Duration = Duration::from_secs(300);
/// How long the last answer of a connection may take to be written.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Prometheus' text form, as its library writes it.
const METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What is shown.
pub struct Exposed {
    /// All metrics.
    pub registry: Registry,
    /// How this process is.
    pub health: Box<dyn Fn() -> Health + Send + Sync>,
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum ExposeError {
    /// Beyond loopback without a token.
    #[error(
        "{0} is reachable from elsewhere, so a token of at least 16 characters is needed: set METRICS_TOKEN, or listen on 127.0.0.1"
    )]
    NoToken(SocketAddr),
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
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
    token: Option<Token>,
}

impl Door {
    /// Opens a door; port 0 takes a free one.
    ///
    /// # Errors
    /// See [`ExposeError`].
    pub async fn open(address: SocketAddr, token: Option<&str>) -> Result<Self, ExposeError> {
        let token = token.filter(|token| !token.is_empty());
        let token =
            token.map(|token| Token::new(token.as_bytes(), "the token in METRICS_TOKEN")).transpose()?;
        if token.is_none() && !address.ip().is_loopback() {
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
        let reach = Reach::of(self.listener.local_addr().ok());
        let shown = Arc::new(Shown { exposed, token: self.token, reach });
        let stop = shutdown.clone();
        let serve = move |connection| {
            let served = serve(connection, Arc::clone(&shown), shutdown.clone());
            async move {
                let _ = tokio::time::timeout(CONNECTION_MAX + ANSWER_WITHIN, served).await;
            }
        };
        // Those under way end with the stop by themselves.
        connection::accept(self.listener, CONNECTIONS_MAX, stop.wait(), serve).await.detach_all();
    }
}

/// What every connection shares.
struct Shown {
    exposed: Arc<Exposed>,
    token: Option<Token>,
    reach: Reach,
}

async fn serve(connection: Connection, shown: Arc<Shown>, shutdown: Shutdown) {
    let respond = |request: Request<Incoming>| {
        let refused = shown.reach.check(&request).err();
        let refused = refused.map(|reason| problem(StatusCode::FORBIDDEN, &reason));
        let answer = || answer(&request, &shown.exposed, shown.token.as_ref());
        std::future::ready(Ok::<_, Infallible>(refused.unwrap_or_else(answer)))
    };
    let stop = async {
        let _ = tokio::time::timeout(CONNECTION_MAX, shutdown.wait()).await;
    };
    let patience = Patience::new(HEAD_WITHIN, Duration::from_secs(connection::KEEP_ALIVE_S.into()));
    if let Err(error) = connection::serve(connection, patience, respond, stop).await {
        tracing::debug!(%error, "connection for metrics ended early");
    }
}

/// Health is told to everyone, because a balancer brings no token: its status to all, its words to whoever may see them.
fn answer<B>(request: &Request<B>, exposed: &Exposed, token: Option<&Token>) -> Response<Full<Bytes>> {
    let may_see = token.is_none_or(|token| token.is_in(request.headers()));
    if may_see && token.is_some() {
        connection::on_token(request);
    }
    let path = request.uri().path();
    if path != "/health" && !may_see {
        let mut response = problem(StatusCode::UNAUTHORIZED, bearer::WANTED);
        let (name, value) = bearer::CHALLENGE;
        response.headers_mut().insert(name, value);
        return response;
    }
    // What HEAD would bring is left out by the connection.
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD is taken here");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => {
            let mut out = String::new();
            if text::encode(&mut out, &exposed.registry).is_err() {
                return problem(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written");
            }
            typed(StatusCode::OK, out, METRICS_TYPE)
        }
        "/health" => (exposed.health)().answer(if may_see { Detail::All } else { Detail::Status }),
        _ => problem(StatusCode::NOT_FOUND, "no such path; there are GET /metrics and GET /health"),
    }
}

/// What is told where nothing is shown, in the shape of a producer's answers.
fn problem(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "error": reason }).to_string();
    typed(status, body, HeaderValue::from_static("application/json"))
}

fn typed(status: StatusCode, body: String, kind: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
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
        Exposed { registry, health: Box::new(|| Health::bad("unwell", "no lease")) }
    }

    const TOKEN: &str = "0123456789abcdef";
    const ALONE: &str = r#"{"status":"unwell"}"#;
    const UNWELL: &str = r#"{"reason":"no lease","status":"unwell"}"#;

    fn asked(method: Method, path: &str, authorization: Option<&str>) -> Response<Full<Bytes>> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let token = Token::new(TOKEN.as_bytes(), "it").unwrap();
        answer(&request.body(()).unwrap(), &exposed(), Some(&token))
    }

    async fn told(response: Response<Full<Bytes>>) -> (u16, String) {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// A code of a region comes from whoever writes to the stream; one label must not end its line or begin another.
    #[tokio::test]
    async fn a_label_with_quotes_backslashes_and_new_lines_is_escaped() {
        use prometheus_client::metrics::{counter::Counter, family::Family};
        let family = Family::<Vec<(String, String)>, Counter>::default();
        family.get_or_create(&vec![("region".to_owned(), "a\"b\\c\nd 1".to_owned())]).inc();
        let mut exposed = exposed();
        exposed.registry.register("bids", "Bids", family);
        let shown = answer(&Request::get("/metrics").body(()).unwrap(), &exposed, None);
        let (status, body) = told(shown).await;
        let line = r#"bids_total{region="a\"b\\c\nd 1"} 1"#;
        assert!(status == 200 && body.lines().any(|shown| shown == line), "{status} {body}");
    }

    #[tokio::test]
    async fn metrics_and_health_are_shown_and_nothing_else() {
        let get = |path| answer(&Request::get(path).body(()).unwrap(), &exposed(), None);
        let (status, body) = told(get("/metrics")).await;
        assert!(status == 200 && body.contains("processor_records_total 7\n"), "{status} {body}");
        assert_eq!(told(get("/health")).await, (503, UNWELL.to_owned()));
        assert_eq!(told(get("/other")).await.0, 404);
    }

    #[tokio::test]
    async fn a_token_is_wanted_where_one_was_given_and_of_health_the_status_is_told_to_all() {
        let right = format!("bearer {TOKEN}");
        for (given, metrics, health) in [
            (None, 401, ALONE),
            (Some("Bearer 0123456789abcdeF"), 401, ALONE),
            (Some("Basic 0123456789abcdef"), 401, ALONE),
            (Some(right.as_str()), 200, UNWELL),
        ] {
            let answer = asked(Method::GET, "/metrics", given);
            assert_eq!(answer.status().as_u16(), metrics, "{given:?}");
            let challenge = answer.headers().get("www-authenticate").map(|value| value.as_bytes());
            assert_eq!(challenge, (metrics == 401).then_some(b"Bearer".as_slice()), "{given:?}");
            let told = told(asked(Method::GET, "/health", given)).await;
            assert_eq!(told, (503, health.to_owned()), "{given:?}");
        }
        assert_eq!(asked(Method::HEAD, "/health", None).status(), 503);
        assert_eq!(asked(Method::HEAD, "/metrics", Some(&right)).status(), 200);
        let other = asked(Method::POST, "/health", None);
        assert_eq!(
            (other.status().as_u16(), other.headers()["allow"].as_bytes()),
            (405, b"GET, HEAD".as_slice())
        );
    }

    #[tokio::test]
    async fn beyond_loopback_a_token_is_needed_and_everywhere_a_good_one() {
        let open = Door::open("0.0.0.0:0".parse().unwrap(), None).await;
        assert!(matches!(open, Err(ExposeError::NoToken(_))));
        for address in ["0.0.0.0:0", "127.0.0.1:0"] {
            let open = Door::open(address.parse().unwrap(), Some("short")).await;
            assert!(matches!(open, Err(ExposeError::Token(_))), "{address}");
            assert!(Door::open(address.parse().unwrap(), Some(TOKEN)).await.is_ok(), "{address}");
        }
    }
}
