//! Where our Kinesis and `kinesis-local` 0.6.2 differ, and why.

use super::Difference;

const SHAPE: &str = "the service checks a field's shape first and answers ValidationException; the other engine has \
                     one code for both";

pub(super) const KNOWN: [Difference; 21] = [
    Difference {
        call: "create without shards",
        ours: "ValidationException",
        theirs: "LimitExceededException",
        reason: "a count of 0 is out of the field's range before it is compared with any limit",
    },
    Difference {
        call: "create with a bad name",
        ours: "ValidationException",
        theirs: "InvalidArgumentException",
        reason: SHAPE,
    },
    Difference {
        call: "describe",
        ours: r#"ACTIVE 24 h ["0 open of [] 0-170141183460469231731687303715884105727", "1 open of [] 170141183460469231731687303715884105728-340282366920938463463374607431768211455"]"#,
        theirs: r#"ACTIVE 24 h ["0 open of [] 0-170141183460469231731687303715884105726", "1 open of [] 170141183460469231731687303715884105727-340282366920938463463374607431768211455"]"#,
        reason: "the service's first of two shards ends at 2^127 - 1; the other engine's ends one key earlier",
    },
    Difference {
        call: "put at a key of letters",
        ours: "ValidationException",
        theirs: "status 500 without a code",
        reason: "the other engine fails on a key that is no number",
    },
    Difference {
        call: "put at a key with a zero before",
        ours: "ValidationException",
        theirs: "InvalidArgumentException",
        reason: SHAPE,
    },
    Difference {
        call: "put without key",
        ours: "ValidationException",
        theirs: "InvalidArgumentException",
        reason: SHAPE,
    },
    Difference {
        call: "put with a key of 257",
        ours: "ValidationException",
        theirs: "InvalidArgumentException",
        reason: SHAPE,
    },
    Difference {
        call: "put more than 1 MiB",
        ours: "ValidationException",
        theirs: "InvalidArgumentException",
        reason: SHAPE,
    },
    Difference {
        call: "put none",
        ours: "ValidationException",
        theirs: "Some(0) failed, []",
        reason: "the service takes 1 to 500 entries; the other engine does not count them",
    },
    Difference {
        call: "put 501",
        ours: "ValidationException",
        theirs: "taken",
        reason: "the service takes 1 to 500 entries; the other engine does not count them",
    },
    Difference {
        call: "iterator without a number",
        ours: "ValidationException",
        theirs: "InvalidArgumentException",
        reason: SHAPE,
    },
    Difference {
        call: "iterator at a number of no stream",
        ours: "InvalidArgumentException",
        theirs: "ResourceNotFoundException",
        reason: "a number is an argument, not a resource",
    },
    Difference {
        call: "read with garbage",
        ours: "InvalidArgumentException",
        theirs: "status 500 without a code",
        reason: "the other engine fails on an iterator it did not give",
    },
    Difference {
        call: "read none",
        ours: "ValidationException",
        theirs: "InvalidArgumentException",
        reason: SHAPE,
    },
    Difference {
        call: "read 10,001",
        ours: "ValidationException",
        theirs: "InvalidArgumentException",
        reason: SHAPE,
    },
    Difference {
        call: "split a closed shard",
        ours: "InvalidArgumentException",
        theirs: "ResourceInUseException",
        reason: "verified against the service by others: a shard that was split or merged is an invalid argument; the stream is what can be in use",
    },
    Difference {
        call: "merge a closed shard",
        ours: "InvalidArgumentException",
        theirs: "ResourceInUseException",
        reason: "as for a split",
    },
    Difference {
        call: "shards",
        ours: r#"["0 closed of [] 0-170141183460469231731687303715884105727", "1 open of [] 170141183460469231731687303715884105728-340282366920938463463374607431768211455", "2 closed of [0] 0-85070591730234615865843651857942052863", "3 closed of [0] 85070591730234615865843651857942052864-170141183460469231731687303715884105727", "4 open of [2, 3] 0-170141183460469231731687303715884105727"]"#,
        theirs: r#"["0 closed of [] 0-170141183460469231731687303715884105726", "1 open of [] 170141183460469231731687303715884105727-340282366920938463463374607431768211455", "2 closed of [0] 0-85070591730234615865843651857942052863", "3 closed of [0] 85070591730234615865843651857942052864-170141183460469231731687303715884105726", "4 open of [2, 3] 0-170141183460469231731687303715884105726"]"#,
        reason: "the border of the first two shards, as above",
    },
    Difference {
        call: "shards at the horizon",
        ours: "[0, 1]",
        theirs: "[0, 1, 2, 3, 4]",
        reason: "AT_TRIM_HORIZON is what was open at the horizon: the first two shards; the other engine lists all",
    },
    Difference {
        call: "count of none",
        ours: "ValidationException",
        theirs: "InvalidArgumentException",
        reason: SHAPE,
    },
    Difference {
        call: "tag with a key of 129",
        ours: "ValidationException",
        theirs: "InvalidArgumentException",
        reason: SHAPE,
    },
];
