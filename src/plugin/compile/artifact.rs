//! Compiled code, and the one place where it is loaded. An [`Artifact`] is machine code: whoever makes one vouches for it.

#![expect(unsafe_code, reason = "loading compiled code cannot be checked: see the comment at the one place")]

use wasmtime::{Engine, component::Component};

use crate::plugin::PluginError;

/// Code that this server's compiler made: just now, or before and kept in the cache, which has proved it. Made only in this
/// room.
pub struct Artifact {
    code: Vec<u8>,
    /// Of the component it was made of.
    pub size_bytes: usize,
}

impl Artifact {
    /// Vouches for the code. Callers: the compiler's child, the compiler in this process, and the cache after its proof.
    pub(super) fn made(code: Vec<u8>, size_bytes: usize) -> Self {
        Self { code, size_bytes }
    }

    pub(super) fn code(&self) -> &[u8] {
        &self.code
    }

    /// # Errors
    /// [`PluginError::Structure`] for what the engine's pool has no room for, and [`PluginError::Compiler`] for code of
    /// another engine.
    pub(super) fn load(&self, engine: &Engine) -> Result<Component, PluginError> {
        // SAFETY: the bytes are those that wasmtime's compiler made in this process or a child of it, or that the cache has
        // authenticated in memory after reading: nobody else can change them before they are copied here.
        let loaded = unsafe { Component::deserialize(engine, &self.code) };
        loaded.map_err(|error| {
            let words = format!("{error:#}");
            if words.contains("limit") || words.contains("exceed") {
                return PluginError::Structure(words);
            }
            PluginError::Compiler(format!("its code does not load: {words}"))
        })
    }
}
