//! Whether a shard that seems to have ended has: one odd answer must not end the reading of a shard.
//!
//! At the end of a shard GetRecords has no `NextShardIterator` and names the children in `ChildShards`; a subscription
//! has no `ContinuationSequenceNumber` (Kinesis API reference, GetRecords and SubscribeToShardEvent). An answer that names
//! no children is the end only of a shard that takes no more records, by the list of shards, and only when three
//! answers in a row say so: other makers' engines name no children.

use aws_sdk_kinesis::Client;
use schemas::ids::ShardId;

use crate::failure::{Failure, classify};

/// So many answers in a row without an iterator and without children end a closed shard.
const ENDS_MIN: u32 = 3;

/// What the last answers about one shard said of its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardEnd {
    /// Answers in a row that said so and named no children.
    unnamed: u32,
}

impl ShardEnd {
    /// An answer came with which reading goes on.
    pub fn on_more(&mut self) {
        self.unnamed = 0;
    }

    /// An answer came that says the shard has ended and names so many children.
    ///
    /// # Errors
    /// When that is not sure yet, which is [`Failure::Unknown`]: ask again behind the last record. Also when the stream
    /// does not list its shards.
    pub async fn on_end(
        &mut self,
        client: &Client,
        stream: &str,
        (shard_id, children): (&ShardId, usize),
    ) -> Result<(), Failure> {
        if children > 0 {
            return Ok(());
        }
        if is_open(client, stream, shard_id).await? {
            self.unnamed = 0;
            let message = format!(
                "an answer says that {shard_id} has ended and names no children, but stream {stream} lists it as open"
            );
            return Err(Failure::Unknown { message });
        }
        self.unnamed += 1;
        if self.unnamed < ENDS_MIN {
            let message = format!("an answer says that {shard_id} has ended and names no children");
            return Err(Failure::Unknown { message });
        }
        Ok(())
    }
}

/// Whether the stream lists the shard as one that takes records.
async fn is_open(client: &Client, stream: &str, shard_id: &ShardId) -> Result<bool, Failure> {
    let mut next: Option<String> = None;
    loop {
        let call = client.list_shards();
        let call = match next.take() {
            Some(token) => call.next_token(token),
            None => call.stream_name(stream),
        };
        let page = call.send().await.map_err(|error| classify(&error))?;
        if let Some(shard) = page.shards().iter().find(|shard| shard.shard_id() == shard_id.0) {
            let numbers = shard.sequence_number_range();
            return Ok(numbers.is_none_or(|numbers| numbers.ending_sequence_number().is_none()));
        }
        next = page.next_token().map(str::to_owned);
        if next.is_none() {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Clients;
    use crate::replies::tests::service;

    const SHARD: &str = "shardId-000000000000";
    const OPEN: &str = concat!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 179\r\n\r\n",
        r#"{"Shards":[{"ShardId":"shardId-000000000000","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"},"#,
        r#""SequenceNumberRange":{"StartingSequenceNumber":"1"                    }}]}"#
    );
    const CLOSED: &str = concat!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 186\r\n\r\n",
        r#"{"Shards":[{"ShardId":"shardId-000000000000","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"},"#,
        r#""SequenceNumberRange":{"StartingSequenceNumber":"1","EndingSequenceNumber":"2"}}]}"#
    );

    async fn client(reply: &'static str) -> Client {
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{} bytes", body.len());
        let url = service(reply).await;
        Clients::local(&url, &url).await.kinesis
    }

    #[tokio::test]
    async fn an_end_that_names_children_is_one() {
        // Nobody is asked.
        let client = Clients::local("http://127.0.0.1:1", "http://127.0.0.1:1").await.kinesis;
        let shard = ShardId(SHARD.to_owned());
        assert_eq!(ShardEnd::default().on_end(&client, "bids", (&shard, 2)).await, Ok(()));
    }

    #[tokio::test]
    async fn an_open_shard_never_ends() {
        let (client, shard) = (client(OPEN).await, ShardId(SHARD.to_owned()));
        let mut end = ShardEnd::default();
        for _ in 0..2 * ENDS_MIN {
            let failure = end.on_end(&client, "bids", (&shard, 0)).await.unwrap_err();
            assert!(failure.is_transient() && failure.to_string().contains(SHARD), "{failure}");
        }
    }

    #[tokio::test]
    async fn a_closed_shard_ends_when_answers_in_a_row_say_so() {
        let (client, shard) = (client(CLOSED).await, ShardId(SHARD.to_owned()));
        let mut end = ShardEnd::default();
        for number in 1..ENDS_MIN {
            assert!(end.on_end(&client, "bids", (&shard, 0)).await.is_err(), "{number}");
        }
        end.on_more();
        for number in 1..ENDS_MIN {
            assert!(end.on_end(&client, "bids", (&shard, 0)).await.is_err(), "{number} after records");
        }
        assert_eq!(end.on_end(&client, "bids", (&shard, 0)).await, Ok(()));
    }
}
