//! The closed sets of words that scripts, histories and coverage use, each with its text.

/// Makes an enum of words: each variant with its text, all of them in order, and both ways between the two.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$each])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$(Self::$variant,)*];

            /// The word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Its place in [`Self::ALL`].
            #[must_use]
            pub fn index(self) -> usize {
                Self::ALL.iter().position(|one| *one == self).expect("every variant is in the list")
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::ALL.iter().copied().find(|one| one.as_str() == text);
                found.ok_or_else(|| format!("{text} is no {}", stringify!($name)))
            }
        }
    };
}

words!(
    /// What happens to one call on its way.
    Fate {
        /// The request never arrives; the caller hears nothing.
        LostRequest = "lost-request",
        /// It is carried out and the answer is lost.
        LostReply = "lost-reply",
        /// It arrives long after the caller gave up waiting.
        Delayed = "delayed",
        /// It is carried out twice, and the second answer is what the caller hears: a client library tried again.
        Twice = "twice",
        /// It is slow, and others overtake it.
        Slow = "slow",
        /// It is refused for its rate.
        Throttled = "throttled",
        /// It is answered with status 500 and was not carried out.
        Failed = "failed",
        /// It is answered with status 500 and was carried out.
        FailedDone = "failed-done",
        /// A part of its entries or keys is refused.
        Partial = "partial",
        /// Its iterator is too old.
        Expired = "expired-iterator",
        /// Its transaction meets a conflict that no one else of this world made.
        Conflict = "conflict",
        /// The caller dies before it is sent.
        CrashBefore = "crash-before",
        /// The caller dies once it is sent.
        CrashAfter = "crash-after",
        /// The caller's credentials have expired, and others are there some seconds later.
        Unauthorized = "unauthorized",
    }
);

words!(
    /// What a foreign writer puts into the stream.
    Foreign {
        /// Bytes that are no bid.
        Garbage = "garbage",
        /// A tick of someone else.
        Tick = "tick",
        /// A block whose bids belong to several shards.
        Stray = "stray",
        /// An empty record.
        Empty = "empty",
        /// Lines of JSON, one of which is no bid.
        Json = "json",
    }
);

words!(
    /// What another tool does to a row of the lease table.
    Edit {
        /// It sets the checkpoint to a later record.
        Forward = "forward",
        /// It sets the checkpoint to an earlier record.
        Backward = "backward",
        /// It puts a row of its own there, as a consumer library does.
        Replaced = "replaced",
        /// It sets the checkpoint to the shard's beginning.
        Beginning = "beginning",
        /// It sets the checkpoint to the shard's tip.
        Tip = "tip",
        /// It puts a row of its own there that names no parents, for a shard that nobody read.
        Anew = "anew",
    }
);

words!(
    /// An item that the table may refuse.
    Refusable {
        /// An auction's.
        Aggregate = "aggregate",
        /// A region's totals.
        Totals = "totals",
        /// A list of hot slots.
        Hot = "hot",
    }
);

words!(
    /// How a refusal ends.
    RefusalEnd {
        /// The table takes the item.
        Taken = "taken",
        /// A person gives it up.
        Skipped = "skipped",
    }
);

words!(
    /// A service that may be away.
    Service {
        /// Kinesis.
        Stream = "stream",
        /// DynamoDB, both tables.
        Table = "table",
        /// Aurora DSQL.
        Ledger = "ledger",
    }
);

words!(
    /// A kind of process.
    Role {
        /// Takes bids.
        Producer = "producer",
        /// Reads shards.
        Processor = "processor",
        /// Decides auctions.
        Settler = "settler",
    }
);

pub(crate) use words;
