//! An RDB file in an order of its own.
//!
//! An engine writes its keys in the order of a hash table, with the time since each was used: to a
//! repository that looks for pieces it has already, every save is new as a whole. [`Sorted`] is the
//! same file in the order of the keys, without what only describes that save. It is an RDB file like
//! any other; engines care for no order.

mod order;
mod places;
mod scan;
mod sorted;

pub use scan::ScanError;
pub use sorted::Sorted;
