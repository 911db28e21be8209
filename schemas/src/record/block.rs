//! Columns (first draft).
use super::{Kind, Rejected};
use crate::bid::Bid;
pub(super) const MARK: u8 = 0xB1;
pub(super) fn encode(bids: &[Bid]) -> Vec<u8> {
    let mut out = vec![MARK];
    for bid in bids { let b = super::plain::encode(bid); out.push(u8::try_from(b.len()).expect("short")); out.extend(b); }
    out
}
pub(super) fn decode(data: &[u8], items: &mut Vec<Result<Bid, Rejected>>) -> Option<Kind> {
    let mut rest = &data[1..];
    while let Some((&n, r)) = rest.split_first() {
        let (a, b) = r.split_at_checked(usize::from(n))?;
        items.push(super::plain::decode(a));
        rest = b;
    }
    Some(Kind::Block)
}
