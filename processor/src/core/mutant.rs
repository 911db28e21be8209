//! The mistakes that tests of this core make on purpose; a program makes none.

pub(super) use schemas::mutant::Mutant;
#[cfg(not(test))]
pub(super) use schemas::mutant::is;

#[cfg(test)]
thread_local! {
    static MADE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Makes one mistake, or none, on this thread from now on.
#[cfg(test)]
pub(super) fn make(mutant: Option<Mutant>) {
    MADE.set(mutant);
}

/// Whether a mistake is made.
#[cfg(test)]
pub(super) fn is(mutant: Mutant) -> bool {
    MADE.get() == Some(mutant)
}
