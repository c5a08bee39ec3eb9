//! What the module tells about itself: counters in `INFO`, and the keys denied most.

pub(crate) mod counters;
mod decay;
pub(crate) mod denied_keys;
pub(crate) mod info_section;
mod space_saving;
