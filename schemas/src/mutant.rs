//! Plausible mistakes that tests make on purpose, to see whether anything notices.
//!
//! Without the feature `mutants` none is ever made and [`is`] is a constant, so nothing of this is left in a program.
//! With it a mistake is chosen for the thread. The rules that a mistake breaks name it where they stand.

macro_rules! mutants {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// A mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant { $($(#[$doc])* $variant,)* }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Self::$variant,)*];

            /// Its name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

mutants!(
    /// A window closes one millisecond early.
    ClosesEarly = "closes-early",
    /// Of equal bids the later one wins.
    TieReversed = "tie-reversed",
    /// A tail forgets the tails it had itself.
    NestedTailsDropped = "nested-tails-dropped",
    /// A tail skips by its sibling's `closedThrough`.
    SiblingClosedThrough = "sibling-closed-through",
    /// What closes in a tail stays open.
    TailKeepsClosed = "tail-keeps-closed",
    /// A tail takes bids that its shard did not own.
    TailKeepsStrays = "tail-keeps-strays",
    /// A refused bid is counted in its own window, however often it is read.
    RefusedInOwnWindow = "refused-in-own-window",
    /// A child's clock begins at zero.
    ChildClockAtZero = "child-clock-at-zero",
    /// A refused bid does not hold the checkpoint.
    RefusedHoldsNothing = "refused-holds-nothing",
    /// `closedThrough` follows the clock down.
    ClosedThroughGoesDown = "closed-through-goes-down",
    /// A checkpoint passes windows that are open.
    CheckpointTooFar = "checkpoint-too-far",
    /// A checkpoint passes what is closed and not durable yet.
    CheckpointTooSoon = "checkpoint-too-soon",
    /// An item that the table refuses counts as durable.
    RefusedIsDurable = "refused-is-durable",
    /// A child begins without what its parents left open.
    ChildInheritsNothing = "child-inherits-nothing",
    /// A bid in the wrong shard is counted.
    StrayKept = "stray-kept",
    /// A copy is counted.
    DuplicateCounted = "duplicate-counted",
    /// A bid from the future is counted.
    EarlyKept = "early-kept",
    /// A bid that was counted before the checkpoint is counted again.
    ReplayCounted = "replay-counted",
    /// The counts of a shard that ends are not written.
    EndForgetsCounts = "end-forgets-counts",
    /// A row goes before the children have copied it.
    ParentRowGoesEarly = "parent-row-goes-early",
    /// A child is taken while a parent is still read.
    ChildTakenEarly = "child-taken-early",
    /// A child of a merge inherits from one parent alone.
    MergeInheritsOne = "merge-inherits-one",
    /// What retention took away behind a checkpoint is not missed.
    TrimmedIsWhole = "trimmed-is-whole",
    /// What retention took away under a reader is not missed.
    GapIsWhole = "gap-is-whole",
    /// A place that our processor did not write is taken for one of its own.
    SealIgnored = "seal-ignored",
    /// A row that another tool made says which shards its own comes from.
    LineageOfTheRow = "lineage-of-the-row",
    /// A machine's wall clock says what retention took away.
    WallClockDecides = "wall-clock-decides",
    /// A cut window is written.
    CutWritten = "cut-written",
    /// An idle shard gets no tick.
    NoTicks = "no-ticks",
    /// A lease never expires.
    NeverExpires = "never-expires",
    /// An answer that never came means that nothing is stored.
    LostReplyIsNo = "lost-reply-is-no",
    /// A bid of which a copy may be stored is refused when its window passed.
    DoubtfulExpires = "doubtful-expires",
    /// A record is accepted whole wherever it was stored.
    AcceptedAnywhere = "accepted-anywhere",
    /// Credentials that are refused once end a stage, and what it was to deliver.
    AuthorizationIsFinal = "authorization-is-final",
    /// The stream is taken to keep keys, whatever it says and wherever records lie.
    DistributionIgnored = "distribution-ignored",
    /// What was stored in another shard is not sent again.
    NeverResent = "never-resent",
    /// A commit whose answer never came is taken as done.
    UnknownTakenAsDone = "unknown-taken-as-done",
    /// An attempt decides without regard to the rows it read.
    RetryWithoutReading = "retry-without-reading",
    /// A batch that is refused is held whole.
    BatchHeldWhole = "batch-held-whole",
    /// A conflict is taken as a refusal.
    ConflictIsRefusal = "conflict-is-refusal",
    /// A bid below the floor may win.
    FloorIgnored = "floor-ignored",
    /// A credit limit may be used twice.
    LimitDoubled = "limit-doubled",
    /// Auctions of one batch do not see each other's debits.
    BatchForgetsDebits = "batch-forgets-debits",
    /// The winner pays its own amount whatever the pricing.
    AlwaysFirstPrice = "always-first-price",
    /// What a second price was made of is not written down.
    PriceUnproven = "price-unproven",
    /// The amount that follows the last candidate sets the price, whoever bid it.
    PhantomSetsPrice = "phantom-sets-price",
    /// Nobody behind the candidates of the item is looked at.
    PhantomBlocksSale = "phantom-blocks-sale",
    /// A suspended account may win and set prices.
    SuspendedMayBuy = "suspended-may-buy",
    /// An item whose digest is not its own is decided.
    DigestIgnored = "digest-ignored",
    /// A mark says what its settler would have decided.
    MarkOwnOpinion = "mark-own-opinion",
);

#[cfg(feature = "mutants")]
thread_local! {
    static MADE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Makes one mistake, or none, on this thread from now on.
#[cfg(feature = "mutants")]
pub fn make(mutant: Option<Mutant>) {
    MADE.set(mutant);
}

/// The mistake that is made on this thread.
#[cfg(feature = "mutants")]
#[must_use]
pub fn made() -> Option<Mutant> {
    MADE.get()
}

/// Whether a mistake is made.
#[cfg(feature = "mutants")]
#[must_use]
pub fn is(mutant: Mutant) -> bool {
    MADE.get() == Some(mutant)
}

/// Whether a mistake is made: never.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[must_use]
pub const fn is(_: Mutant) -> bool {
    false
}
