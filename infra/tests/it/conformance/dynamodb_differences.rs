//! Where dynoxide 3 and `ministack` 1.5.33 differ: in none of the calls that the pipeline makes.
//!
//! Both differ from the service in one of them: enabling TTL where it is enabled is refused there.

use super::Difference;

pub(super) const KNOWN: [Difference; 0] = [];
