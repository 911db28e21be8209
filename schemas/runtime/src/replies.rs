//! Looks at every reply of a client: whether the credentials were refused, and whether a success lacks what it must have.
//!
//! The SDK reads a member that is missing as an empty one. A page without `Records` would hold no records, a scan without
//! items would be an empty table, a summary without members a stream of 1970; so a success of an operation without the
//! member that it always has is no answer.

use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use crate::credentials::Renewable;
use crate::error_class::{Class, class_of};

/// Operations, and the member that each success has (API references of Kinesis and DynamoDB, "Response Elements").
const MEMBERS: [(&str, &str); 14] = [
    ("BatchGetItem", "Responses"),
    ("DescribeStreamConsumer", "ConsumerDescription"),
    ("DescribeStreamSummary", "StreamDescriptionSummary"),
    ("DescribeTable", "Table"),
    ("DescribeTimeToLive", "TimeToLiveDescription"),
    ("GetRecords", "Records"),
    ("GetShardIterator", "ShardIterator"),
    ("ListShards", "Shards"),
    ("PutRecord", "SequenceNumber"),
    ("PutRecords", "Records"),
    ("Query", "Count"),
    ("RegisterStreamConsumer", "Consumer"),
    ("Scan", "Count"),
    ("TransactGetItems", "Responses"),
];

/// Attached to a client as an interceptor.
#[derive(Debug)]
pub(crate) struct Replies(pub(crate) Renewable);

/// What a success of a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Nothing that is known.
    Nothing,
    /// A body, as all operations of DynamoDB have.
    Body,
    /// A body with this member.
    Member(&'static str),
}

impl Storable for Wanted {
    type Storer = StoreReplace<Self>;
}

impl Wanted {
    fn of(target: Option<&str>) -> Self {
        let (service, operation) = target.and_then(|target| target.split_once('.')).unwrap_or_default();
        match MEMBERS.iter().find(|(name, _)| *name == operation) {
            Some((_, member)) => Self::Member(member),
            None if service.starts_with("DynamoDB") => Self::Body,
            None => Self::Nothing,
        }
    }

    /// What of it a body lacks.
    fn lacks(self, body: &[u8]) -> Option<String> {
        match self {
            Self::Nothing => None,
            _ if body.is_empty() => Some("the reply has no body".to_owned()),
            Self::Body => None,
            Self::Member(member) => {
                let name = format!("\"{member}\"");
                let has = body.windows(name.len()).any(|part| part == name.as_bytes());
                (!has).then(|| format!("the reply has no {member}"))
            }
        }
    }
}

impl Intercept for Replies {
    fn name(&self) -> &'static str {
        "Replies"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target");
        config.interceptor_state().store_put(Wanted::of(target));
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match (context.output_or_error(), context.response().body().bytes()) {
            (Err(_), _) if is_unauthorized(context.response()) => self.0.refuse(),
            (Ok(_), Some(body)) => {
                let wanted = config.load::<Wanted>().copied().unwrap_or(Wanted::Nothing);
                if let Some(lacks) = wanted.lacks(body) {
                    return Err(lacks.into());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a reply carries a code of the credentials (AWS JSON protocol: a header, or `__type` of the body, with a
/// namespace before it or a URL behind it).
fn is_unauthorized(response: &HttpResponse) -> bool {
    let body = response.body().bytes().and_then(|bytes| serde_json::from_slice(bytes).ok());
    let body: serde_json::Value = body.unwrap_or_default();
    let header = response.headers().get("x-amzn-errortype");
    let Some(code) = header.or_else(|| body["__type"].as_str().or_else(|| body["code"].as_str())) else {
        return false;
    };
    let code = code.rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default();
    class_of(code) == Class::Unauthorized
}

#[cfg(test)]
pub(crate) mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use crate::clients::Clients;
    use crate::failure::{Failure, classify};

    /// Answers everything with this; returns its URL.
    pub(crate) async fn service(reply: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut asked, mut part) = (Vec::new(), [0; 4_096]);
                while !String::from_utf8_lossy(&asked).contains("\r\n\r\n{") {
                    let length = client.read(&mut part).await.unwrap();
                    asked.extend_from_slice(&part[..length]);
                }
                let _ = client.write_all(reply.as_bytes()).await;
            }
        });
        url
    }

    async fn calls(reply: &'static str) -> [Failure; 3] {
        let url = service(reply).await;
        let Clients { kinesis, dynamodb, .. } = Clients::local(&url, &url).await;
        let page = kinesis.get_records().shard_iterator("i").send().await.map(|_| ());
        let put = kinesis.put_record().stream_name("s").partition_key("k").data(Default::default());
        let put = put.send().await.map(|_| ());
        let scan = dynamodb.scan().table_name("t").send().await.map(|_| ());
        [
            classify(&page.expect_err("no page")),
            classify(&put.expect_err("no place")),
            classify(&scan.expect_err("no items")),
        ]
    }

    #[tokio::test]
    async fn an_odd_reply_is_never_an_answer() {
        let unknown = |failure: &Failure| matches!(failure, Failure::Unknown { .. });
        let unexpected = |failure: &Failure| matches!(failure, Failure::Unexpected { .. });
        let throttled = |failure: &Failure| matches!(failure, Failure::Throttled { .. });
        type Right = fn(&Failure) -> bool;
        let all: [(&str, Right); 11] = [
            ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}", unknown),
            (
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 26\r\n\r\n{\"NextShardIterator\":\"one\"}",
                unknown,
            ),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", unknown),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 8\r\n\r\n{\"Record", unknown),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 80\r\n\r\n{\"Record", unknown),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>", unknown),
            ("HTTP/1.1 408 Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", unknown),
            ("HTTP/1.1 502 Bad\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>", unknown),
            ("HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", unexpected),
            ("HTTP/1.1 403 No\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>", unexpected),
            ("HTTP/1.1 429 Slow\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", throttled),
        ];
        for (reply, right) in all {
            for failure in calls(reply).await {
                assert!(right(&failure), "{reply:?}: {failure:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_connection_that_closes_without_a_word_and_one_that_is_never_made_differ() {
        for failure in calls("").await {
            assert!(matches!(failure, Failure::Unknown { .. }), "{failure:?}");
        }
        let clients = Clients::local("http://127.0.0.1:1", "http://127.0.0.1:1").await;
        let sent = clients.kinesis.list_shards().stream_name("s").send().await.map(|_| ());
        assert!(matches!(classify(&sent.unwrap_err()), Failure::Unreachable { .. }));
        // TLS is spoken to what speaks none.
        let url = service("HTTP/1.1 200 OK\r\n\r\n").await.replace("http:", "https:");
        let clients = Clients::local(&url, &url).await;
        let sent = clients.kinesis.list_shards().stream_name("s").send().await.map(|_| ());
        let failure = classify(&sent.unwrap_err());
        assert!(failure.is_transient(), "{failure:?}");
    }
}
