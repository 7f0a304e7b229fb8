//! One module per released version of the interface. A released version is frozen; a host serves all of them.

pub mod v1;
