//! The server of the pages: their text, relays under another name, a program that checks nothing, and the reports.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

const PAGE: &str = include_str!("page.html");
/// Nothing that is asked of these servers takes longer.
const WITHIN: Duration = Duration::from_secs(60);

/// A program, where it listens, and what is tried with it.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) calls: Vec<Value>,
}

/// What the servers were told.
#[derive(Default)]
struct Heard {
    /// Each page's attempts, once it is done.
    reports: Vec<Value>,
    /// The content types of what the open program was sent.
    changes: Vec<String>,
}

/// The running servers.
pub(super) struct Pages {
    heard: Arc<Mutex<Heard>>,
    home: SocketAddr,
    pages: usize,
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Answers each connection on a thread of its own; the threads end with the test's process.
fn each(listener: TcpListener, answer: impl Fn(TcpStream) + Clone + Send + 'static) {
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answer(socket));
        }
    });
}

/// The bytes of one request: its head, and the body as far as its length says.
fn request(socket: &mut TcpStream) -> Option<(String, String)> {
    socket.set_read_timeout(Some(WITHIN)).ok()?;
    let (mut bytes, mut part) = (Vec::new(), [0; 4_096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap_or(0)) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        let count = socket.read(&mut part).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
    }
}

fn respond(socket: &mut TcpStream, kind: &str, more: &str, body: &str) {
    let length = body.len();
    let _ = socket.write_all(
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n{more}\r\n{body}"
        )
        .as_bytes(),
    );
}

/// Sends one request as it is and gives all that comes back.
pub(super) fn asked(address: &str, request: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

impl Pages {
    /// Serves pages that try these targets and one that checks nothing, `open`.
    pub(super) fn serve(mut targets: Vec<Target>) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let open = open(Arc::clone(&heard));
        let json = json!({ "content-type": "application/json" });
        let calls = vec![
            json!({ "path": "/", "method": "GET" }),
            json!({ "path": "/", "method": "POST", "headers": json, "body": "{\"a\":1}" }),
        ];
        targets.push(Target { name: "open".to_owned(), address: open.to_string(), calls });
        let (home, address) = listen();
        let relays: Vec<SocketAddr> = targets.iter().map(|target| relay(target, address)).collect();
        let frames: Vec<String> =
            relays.iter().map(|relay| format!("http://rebound.test:{}/page", relay.port())).collect();
        let by_name = |target: &Target| {
            let port = target.address.rsplit(':').next().expect("a port").to_owned();
            let bases =
                ["127.0.0.1", "localhost", "rebound.test"].map(|name| format!("http://{name}:{port}"));
            json!({ "target": target.name, "bases": bases, "calls": target.calls })
        };
        let tried: Vec<Value> = targets.iter().map(by_name).collect();
        let own = format!("http://127.0.0.1:{}", address.port());
        let page = |page: &str, frames: &[String]| setting(page, &own, &tried, frames);
        let second = format!("{own}/second");
        let (first, second) =
            (page("elsewhere", &[&frames[..], &[second]].concat()), page("another port", &[]));
        let said = Arc::clone(&heard);
        each(home, move |mut socket| {
            let Some((head, body)) = request(&mut socket) else { return };
            match head.split(' ').nth(1) {
                Some("/report") => {
                    let report: Value = serde_json::from_str(&body).expect("a report is JSON");
                    said.lock().unwrap().reports.push(report);
                    respond(&mut socket, "text/plain", "", "");
                }
                Some("/second") => respond(&mut socket, "text/html", "", &second),
                _ => respond(&mut socket, "text/html", "", &first),
            }
        });
        Self { heard, home: address, pages: relays.len() + 2 }
    }

    /// The page to begin with.
    pub(super) fn first(&self) -> String {
        format!("http://page.test:{}/", self.home.port())
    }

    /// All attempts of all pages, once each page is done.
    pub(super) fn reports(&self) -> Result<Vec<Value>, String> {
        let heard = self.heard.lock().unwrap();
        if heard.reports.len() < self.pages {
            let names: Vec<&Value> = heard.reports.iter().map(|report| &report["page"]).collect();
            return Err(format!("those of {names:?} alone"));
        }
        let attempts = heard.reports.iter().flat_map(|report| {
            let attempts = report["report"].as_array().expect("a list").iter().cloned();
            attempts.map(|mut attempt| {
                attempt["page"] = report["page"].clone();
                attempt
            })
        });
        Ok(attempts.collect())
    }

    /// What the open program was sent.
    pub(super) fn changes(&self) -> Vec<String> {
        self.heard.lock().unwrap().changes.clone()
    }
}

fn setting(page: &str, home: &str, targets: &[Value], frames: &[String]) -> String {
    let setting = json!({ "page": page, "home": home, "targets": targets, "frames": frames });
    PAGE.replace("/*SETTING*/null", &setting.to_string())
}

/// A listener whose name leads to a page at first and then to the target itself, byte by byte, as a name does that is
/// bound anew.
fn relay(target: &Target, home: SocketAddr) -> SocketAddr {
    let (listener, address) = listen();
    let base = format!("http://rebound.test:{}", address.port());
    let tried = json!({ "target": target.name, "bases": [base], "calls": target.calls });
    let page = setting(&target.name, &format!("http://127.0.0.1:{}", home.port()), &[tried], &[]);
    let to = target.address.clone();
    each(listener, move |mut socket| {
        let mut begun = [0; 64];
        let count = socket.peek(&mut begun).unwrap_or_default();
        if begun[..count].starts_with(b"GET /page ") {
            let _ = request(&mut socket);
            return respond(&mut socket, "text/html", "", &page);
        }
        let Ok(mut there) = TcpStream::connect(&to) else { return };
        let (Ok(mut from), Ok(mut back)) = (socket.try_clone(), there.try_clone()) else { return };
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut there);
            let _ = there.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut back, &mut socket);
        let _ = socket.shutdown(std::net::Shutdown::Both);
    });
    address
}

/// A program that answers every page and does what it is told.
fn open(heard: Arc<Mutex<Heard>>) -> SocketAddr {
    const EVERYONE: &str = "access-control-allow-origin: *\r\naccess-control-allow-headers: *\r\naccess-control-allow-methods: *\r\n";
    let (listener, address) = listen();
    each(listener, move |mut socket| {
        let Some((head, _)) = request(&mut socket) else { return };
        if head.starts_with("POST ") {
            let kind = head.to_ascii_lowercase();
            let kind = kind.split("content-type: ").nth(1).and_then(|rest| rest.lines().next());
            heard.lock().unwrap().changes.push(kind.unwrap_or_default().to_owned());
        }
        respond(&mut socket, "text/javascript", EVERYONE, "1");
    });
    address
}
