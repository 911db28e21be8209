//! Whether a place in the log is gone for good, by what the stream says of it.
//!
//! An auction whose log is gone is held, and may then be decided without it, so one odd answer must not prove that. What
//! proves it is that the stream refuses this place several times in a row and answers for others each time: its words
//! are not a contract, and codes have many meanings (Kinesis API reference, GetShardIterator, "Errors":
//! `InvalidArgumentException` is any parameter that cannot be used, `ResourceNotFoundException` stream or shard).

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::ShardIteratorType;
use runtime::failure::{Failure, classify};
use schemas::ids::ShardId;
use schemas::lease::Checkpoint;

/// So often in a row a place must be refused while others are not.
pub(super) const DOUBTS_MAX: u32 = 3;

/// Which call of a reading failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// GetShardIterator, which names the place.
    Iterator,
    /// GetRecords, which names an iterator: a refusal of it says nothing about the log.
    Records,
}

/// Why there is no page.
#[derive(Debug)]
pub(super) struct PageError {
    pub(super) failure: Failure,
    pub(super) call: Call,
}

/// Places of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    pub(super) client: &'a Client,
    pub(super) stream: &'a str,
}

impl Places<'_> {
    /// An iterator behind a place, or at the beginning of a shard.
    pub(super) async fn iterator(&self, shard_id: &ShardId, from: &Checkpoint) -> Result<String, Failure> {
        let request = self.client.get_shard_iterator().stream_name(self.stream).shard_id(&shard_id.0);
        let request = match from {
            Checkpoint::After(sequence) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence.as_str()),
            _ => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
        };
        let answer = request.send().await.map_err(|error| classify(&error))?;
        answer
            .shard_iterator
            .ok_or_else(|| Failure::Unknown { message: "no iterator in the answer".to_owned() })
    }

    /// Whether the stream refuses this place and answers for others, asked right after that refusal.
    pub(super) async fn is_gone(
        &self,
        (shard_id, from): (&ShardId, &Checkpoint),
        (failure, call): (&Failure, Call),
    ) -> bool {
        if call == Call::Records {
            return false;
        }
        match (failure.code(), from) {
            // The sequence number, where the same call with the shard's beginning is answered.
            ("InvalidArgumentException", Checkpoint::After(_)) => {
                self.iterator(shard_id, &Checkpoint::TrimHorizon).await.is_ok()
            }
            // The shard, where the stream is there and does not list it.
            ("ResourceNotFoundException", _) => self.lists(shard_id).await.is_ok_and(|is_listed| !is_listed),
            _ => false,
        }
    }

    async fn lists(&self, shard_id: &ShardId) -> Result<bool, Failure> {
        let mut next: Option<String> = None;
        loop {
            let call = self.client.list_shards();
            let call = match next.take() {
                Some(token) => call.next_token(token),
                None => call.stream_name(self.stream),
            };
            let page = call.send().await.map_err(|error| classify(&error))?;
            if page.shards().iter().any(|shard| shard.shard_id() == shard_id.0) {
                return Ok(true);
            }
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                return Ok(false);
            }
        }
    }
}
