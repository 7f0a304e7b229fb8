//! The public keys of somebody else's tokens: a JWKS document (RFC 7517) at a URL or in a file, kept fresh.
//!
//! Entities: a *key* has a name, its `kid`, and one algorithm, which the document fixes and no token chooses. The *ring* holds
//! those of the last document that could be read.
//!
//! Guarantees: a source that fails, or a document without one usable key, leaves the keys as they are. A key that is not known
//! yet is looked for before its token is refused, and the source is asked for that at most once in 10 s, whoever asks.
//! A document is at most 1 MiB, and reading one takes at most 5 s.
//!
//! Deliberately absent: tokens. What a key verifies is said in `http/`; secrets (HS256) are never read from a document.

mod jwk;
mod ring;
mod source;

pub use jwk::Key;
pub use ring::{KeyRing, Lookup};
pub use source::{KeySourceError, Location};
