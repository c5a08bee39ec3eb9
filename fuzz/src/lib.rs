//! What the fuzz targets share. The algorithms are compiled from their sources, without the crate around them: that needs
//! the server's C API, and takes minutes to build.

#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../../src/limiter/mod.rs"]
pub mod limiter;

pub mod bucket;
pub mod input;
pub mod key;
pub mod windows;
