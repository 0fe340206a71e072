//! What must hold, one file each.

mod images;
mod ledger;
mod promises;

pub(super) use images::Images;
pub(super) use ledger::{Ledger, Op};
pub(super) use promises::Promises;
