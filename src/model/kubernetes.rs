//! What discovery and mirror share of Kubernetes' own concepts, as values: names, labels,
//! selectors, durations, and the index over what a watch says.
//!
//! Everything is kept in a compact form: a process may hold tens of thousands of objects.

pub mod bounded;
pub mod duration;
pub mod index;
pub mod labels;
pub mod object;
pub mod selector;
