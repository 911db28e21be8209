use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::clients::Clients;
use crate::failure::{Failure, classify};

/// Hands out `old` first and `new` from then on.
#[derive(Clone, Debug, Default)]
struct Rotated(Arc<AtomicUsize>);

impl ProvideCredentials for Rotated {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let key = if self.0.fetch_add(1, Ordering::SeqCst) == 0 { "OLDKEY" } else { "NEWKEY" };
        future::ProvideCredentials::ready(Ok(Credentials::new(key, "secret", None, None, "test")))
    }
}

/// Refuses what is signed with the old key; returns its URL.
async fn service(code: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut asked, mut part) = (Vec::new(), [0; 4_096]);
                while !String::from_utf8_lossy(&asked).contains("\r\n\r\n{") {
                    match client.read(&mut part).await {
                        Ok(length) if length > 0 => asked.extend_from_slice(&part[..length]),
                        _ => return,
                    }
                }
                let is_old = String::from_utf8_lossy(&asked).contains("OLDKEY");
                let refused = format!("{{\"__type\":\"com.amazonaws.kinesis#{code}\",\"message\":\"no\"}}");
                let (status, body) =
                    if is_old { ("400 Bad Request", refused) } else { ("200 OK", "{\"Shards\":[]}".into()) };
                let reply = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = client.write_all(reply.as_bytes()).await;
            });
        }
    });
    url
}

async fn list(clients: &Clients) -> Result<(), Failure> {
    let sent = clients.kinesis.list_shards().stream_name("bids").send().await;
    sent.map(|_| ()).map_err(|error| classify(&error))
}

#[tokio::test]
async fn refused_credentials_are_loaded_anew_for_the_next_call() {
    for code in ["ExpiredTokenException", "UnrecognizedClientException", "AccessDeniedException"] {
        let (url, provider) = (service(code).await, Rotated::default());
        let clients = Clients::with_credentials(&url, &url, provider.clone()).await;
        let renewable = clients.credentials.clone();
        let refused = list(&clients).await.unwrap_err();
        assert!(matches!(&refused, Failure::Unauthorized { code: said, .. } if said == code), "{refused:?}");
        // Loaded a moment ago: another token so soon would be the same.
        assert!(list(&clients).await.is_err());
        assert_eq!(provider.0.load(Ordering::SeqCst), 1);
        *renewable.0.loaded.lock().unwrap() = None;
        assert!(list(&clients).await.is_err(), "it is refused before it is known");
        assert_eq!(list(&clients).await, Ok(()), "{code}: the next call is signed with others");
        assert_eq!(list(&clients).await, Ok(()));
        assert_eq!(provider.0.load(Ordering::SeqCst), 2, "they are kept");
    }
}

#[tokio::test]
async fn another_refusal_keeps_the_credentials() {
    let (url, provider) = (service("InvalidArgumentException").await, Rotated::default());
    let clients = Clients::with_credentials(&url, &url, provider.clone()).await;
    for _ in 0..3 {
        *clients.credentials.0.loaded.lock().unwrap() = None;
        assert!(matches!(list(&clients).await, Err(Failure::Refused { .. })));
    }
    assert_eq!(provider.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_call_without_credentials_is_unauthorized_and_nothing_is_sent() {
    #[derive(Debug)]
    struct None;
    impl ProvideCredentials for None {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("none on purpose")))
        }
    }
    let clients = Clients::with_credentials("http://127.0.0.1:1", "http://127.0.0.1:1", None).await;
    let failed = list(&clients).await.unwrap_err();
    assert!(matches!(failed, Failure::Unauthorized { .. }), "{failed:?}");
}
