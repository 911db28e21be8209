//! Limits of time, number and place, with callers that say little.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;

const SHORT: Duration = Duration::from_millis(50);
/// When a test gives up.
const DEADLINE: Duration = Duration::from_secs(60);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: it\r\n\r\n";

/// As patient as it gets.
const LONG: Patience = Patience {
    head: DEADLINE.saturating_mul(2),
    keep_alive: DEADLINE.saturating_mul(2),
    takes: DEADLINE.saturating_mul(2),
    answer: DEADLINE.saturating_mul(2),
};

async fn connected(patience: Patience) -> TcpStream {
    TcpStream::connect(listening(patience, 1).await).await.unwrap()
}

/// Where so many connections at once are answered.
async fn listening(patience: Patience, connections_max: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Meanwhile more is read from the connection, as while a producer asks its stream.
    let answer = async |request: Request<Incoming>| {
        tokio::task::yield_now().await;
        if request.headers().contains_key("token") {
            on_token(&request);
        }
        let long = usize::from(request.uri().path() == "/large") * 65_536;
        let _ = request.into_body().collect().await;
        let body = if long > 0 { Full::from(vec![b'x'; long]) } else { Full::from("ok") };
        Ok::<_, Infallible>(Response::new(body))
    };
    tokio::spawn(accept(listener, connections_max, std::future::pending(), move |connection| async move {
        let _ = serve(connection, patience, answer, std::future::pending()).await;
    }));
    address
}

async fn answered(client: &mut TcpStream) -> String {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\nok") {
        let mut part = [0; 512];
        let read = tokio::time::timeout(DEADLINE, client.read(&mut part)).await;
        let count = read.expect("an answer in time").unwrap();
        assert!(count > 0, "the connection was ended: {text}");
        text.push_str(std::str::from_utf8(&part[..count]).unwrap());
    }
    text.to_ascii_lowercase()
}

async fn ended(client: &mut TcpStream) {
    let read = tokio::time::timeout(DEADLINE, client.read(&mut [0; 512])).await;
    assert!(matches!(read.expect("the connection is ended in time"), Ok(0) | Err(_)));
}

#[tokio::test]
async fn silence_between_requests_may_be_longer_than_a_head_takes() {
    let mut client = connected(Patience { head: SHORT, ..LONG }).await;
    for _ in 0..3 {
        client.write_all(REQUEST).await.unwrap();
        let answer = answered(&mut client).await;
        assert!(answer.contains("\r\nkeep-alive: timeout=120\r\n"), "{answer}");
        tokio::time::sleep(SHORT * 3).await;
    }
}

#[tokio::test]
async fn silence_ends_a_connection_after_its_time() {
    let mut client = connected(Patience { keep_alive: SHORT, ..LONG }).await;
    client.write_all(REQUEST).await.unwrap();
    answered(&mut client).await;
    ended(&mut client).await;
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_ends_its_connection_however_long_silence_may_be() {
    for answered_before in [0, 1] {
        let mut client = connected(Patience { head: SHORT * 4, ..LONG }).await;
        for _ in 0..answered_before {
            client.write_all(REQUEST).await.unwrap();
            answered(&mut client).await;
        }
        let (mut reads, mut writes) = client.into_split();
        let dribbles = tokio::spawn(async move {
            let mut head = b"GET / HTTP/1.1\r\nx: ".to_vec();
            head.resize(4_096, b'a');
            for byte in head {
                if writes.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(SHORT / 2).await;
            }
        });
        let read = tokio::time::timeout(DEADLINE, reads.read(&mut [0; 512])).await;
        assert!(matches!(read.expect("the connection is ended in time"), Ok(0) | Err(_)));
        dribbles.abort();
    }
}

#[tokio::test]
async fn who_asks_and_never_takes_the_answers_is_cut() {
    let client = connected(Patience { takes: SHORT * 4, ..LONG }).await;
    let (mut reads, mut writes) = client.into_split();
    let asks = async {
        let large = b"GET /large HTTP/1.1\r\nhost: it\r\n\r\n".repeat(1_000);
        while writes.write_all(&large).await.is_ok() {}
    };
    tokio::time::timeout(DEADLINE, asks).await.expect("the connection is ended in time");
    // What was in the buffers comes, then no more.
    let mut left = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, reads.read_to_end(&mut left)).await.expect("an end");
    assert!(left.len() < 1_000 * 65_536, "{} bytes of answers came", left.len());
}

#[tokio::test]
async fn who_takes_its_answers_slowly_is_not() {
    let mut client = connected(Patience { takes: SHORT * 4, ..LONG }).await;
    for _ in 0..3 {
        client.write_all(&REQUEST.repeat(50)).await.unwrap();
        tokio::time::sleep(SHORT * 6).await;
        let mut taken = 0;
        while taken < 50 {
            let mut part = [0; 1_024];
            let count = tokio::time::timeout(DEADLINE, client.read(&mut part)).await.unwrap().unwrap();
            assert!(count > 0, "the connection was ended");
            taken += part[..count].windows(6).filter(|window| *window == b"\r\n\r\nok").count();
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_connection_of_very_many_requests_is_told_to_end() {
    let mut client = connected(LONG).await;
    for request in 1..=bound::REQUESTS_MAX {
        client.write_all(REQUEST).await.unwrap();
        let answer = answered(&mut client).await;
        assert_eq!(
            answer.contains("connection: close"),
            request == bound::REQUESTS_MAX,
            "{request}: {answer}"
        );
    }
    ended(&mut client).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_at_all_has_the_time_of_a_head() {
    let mut client = connected(Patience { head: SHORT, ..LONG }).await;
    ended(&mut client).await;
}

#[tokio::test]
async fn half_a_head_behind_a_request_has_the_time_of_a_head() {
    for body in
        ["", "content-length: 4\r\n\r\nbids", "transfer-encoding: chunked\r\n\r\n4\r\nbids\r\n0\r\n\r\n"]
    {
        let mut client = connected(Patience { head: SHORT * 4, ..LONG }).await;
        let whole = match body {
            "" => "GET / HTTP/1.1\r\nhost: it\r\n\r\n".to_owned(),
            body => format!("POST / HTTP/1.1\r\nhost: it\r\n{body}"),
        };
        // The first is whole, and silence behind it is let go on.
        client.write_all(whole.as_bytes()).await.unwrap();
        answered(&mut client).await;
        tokio::time::sleep(SHORT * 6).await;
        client.write_all(format!("{whole}GET / HT").as_bytes()).await.unwrap();
        answered(&mut client).await;
        ended(&mut client).await;
    }
}

/// Takes a byte of its answers now and then: never nothing for long, and never to an end.
#[tokio::test]
async fn who_takes_its_answers_byte_by_byte_is_cut() {
    let mut client = connected(Patience { answer: SHORT * 10, ..LONG }).await;
    client.write_all(&b"GET /large HTTP/1.1\r\nhost: it\r\n\r\n".repeat(400)).await.unwrap();
    let began = Instant::now();
    let takes = async {
        let mut part = vec![0; 4_096];
        while client.read(&mut part).await.is_ok_and(|count| count > 0) {
            // Fast at first what the buffers hold, which were filled before; then slowly.
            if began.elapsed() < SHORT * 20 {
                tokio::time::sleep(SHORT / 10).await;
            }
        }
    };
    tokio::time::timeout(DEADLINE, takes).await.expect("the connection is ended in time");
}

#[tokio::test]
async fn a_newcomer_has_the_place_of_who_asked_nothing_for_longest() {
    let address = listening(LONG, 3).await;
    let mut callers = Vec::new();
    for _ in 0..3 {
        let mut caller = TcpStream::connect(address).await.unwrap();
        caller.write_all(REQUEST).await.unwrap();
        answered(&mut caller).await;
        callers.push(caller);
    }
    // The first asks again, so the second is the one.
    callers[0].write_all(REQUEST).await.unwrap();
    answered(&mut callers[0]).await;
    let mut newcomer = TcpStream::connect(address).await.unwrap();
    newcomer.write_all(REQUEST).await.unwrap();
    answered(&mut newcomer).await;
    ended(&mut callers[1]).await;
    for caller in [0, 2] {
        callers[caller].write_all(REQUEST).await.unwrap();
        answered(&mut callers[caller]).await;
    }
}

#[tokio::test]
async fn who_brought_the_token_goes_last() {
    let address = listening(LONG, 2).await;
    let mut known = TcpStream::connect(address).await.unwrap();
    known.write_all(b"GET / HTTP/1.1\r\nhost: it\r\ntoken: it\r\n\r\n").await.unwrap();
    answered(&mut known).await;
    for _ in 0..4 {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(REQUEST).await.unwrap();
        answered(&mut stranger).await;
        // It stays open, which takes the last place.
        tokio::spawn(async move { stranger.read(&mut [0; 1]).await });
    }
    known.write_all(REQUEST).await.unwrap();
    answered(&mut known).await;
}

/// A body that is still on its way, or an answer that takes its time, is not silence.
#[tokio::test]
async fn a_request_under_way_keeps_its_place() {
    let address = listening(LONG, 1).await;
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(b"POST / HTTP/1.1\r\nhost: it\r\ncontent-length: 4\r\n\r\nbi").await.unwrap();
    let mut newcomer = TcpStream::connect(address).await.unwrap();
    newcomer.write_all(REQUEST).await.unwrap();
    let early = tokio::time::timeout(SHORT * 30, newcomer.read(&mut [0; 1])).await;
    assert!(early.is_err(), "it has no place yet");
    busy.write_all(b"ds").await.unwrap();
    answered(&mut busy).await;
    answered(&mut newcomer).await;
    ended(&mut busy).await;
}
