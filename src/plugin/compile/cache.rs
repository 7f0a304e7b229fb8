//! Compiled code on this node's disk, so that a start compiles nothing again. A file is `<sha256 of the component>.<what
//! compiled it>.<tier>.cwasm` and holds
//!
//! | bytes | |
//! |---|---|
//! | 8 | `JFCODE1\n` |
//! | 32 | HMAC-SHA256 of everything else: the name, the size and the code |
//! | 8 | the component's size, little-endian |
//! | rest | the code |
//!
//! The HMAC's key is in the database, and sealed there by ENCRYPTION_KEY: who can write this folder can neither make a file
//! that is loaded nor pass off one component's code as another's. A file that is no good is compiled again. Nothing is lost
//! with the folder, and the server works without it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wasmtime::Engine;

use super::{MAX_ARTIFACT_BYTES, Tier, artifact::Artifact};
use crate::{plugin::PluginError, store::Store, vault::Vault};

/// The folder holds no more; what was not used for longest goes first.
const MAX_BYTES: u64 = 1 << 30;
const MAGIC: &[u8; 8] = b"JFCODE1\n";
const MAC_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + MAC_BYTES + 8;
const EXTENSION: &str = "cwasm";
/// What a writer that died left behind.
const UNFINISHED: &str = "tmp";
const UNFINISHED_FOR: Duration = Duration::from_secs(3600);

/// Names the key in the database, and binds it to its place there.
const KEY_NAME: &str = "plugin-cache-key";

/// What the cache proves its files with: the same for all nodes of a database.
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// Reads the key, or makes it: at the first start, or when ENCRYPTION_KEY no longer opens the one there is.
    ///
    /// # Errors
    /// [`PluginError::Store`].
    pub async fn read(store: &Store, vault: &Vault) -> Result<Self, PluginError> {
        let new: [u8; 32] = rand::random();
        let sealed = vault.seal(&hex::encode(new), KEY_NAME);
        let stored = store.setting(KEY_NAME, sealed.clone()).await?;
        if let Ok(text) = vault.open(&stored, KEY_NAME)
            && let Ok(Ok(key)) = hex::decode(text).map(<[u8; 32]>::try_from)
        {
            if !vault.is_current(&stored) {
                store.put_setting(KEY_NAME, vault.seal(&hex::encode(key), KEY_NAME)).await?;
            }
            return Ok(Self(key));
        }
        tracing::warn!("the key of PLUGIN_CACHE_DIR does not open: a new one is made, and plugins are compiled again");
        store.put_setting(KEY_NAME, sealed).await?;
        Ok(Self(new))
    }
}

pub struct Cache {
    dir: PathBuf,
    key: CacheKey,
    /// Code of another compiler, or of other settings, has other names.
    engine: String,
    max_bytes: u64,
    /// Said once: the folder cannot be written.
    warned: AtomicBool,
}

impl Cache {
    /// A cache in `dir`, which is made.
    pub fn open(dir: PathBuf, key: CacheKey, engine: &Engine) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let engine = format!("{:016x}", hasher.finish());
        let cache = Self { dir, key, engine, max_bytes: MAX_BYTES, warned: AtomicBool::new(false) };
        // Nobody else's to read: it is tenants' code.
        if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(&cache.dir) {
            cache.cannot_write(&error);
        }
        cache
    }

    /// The kept code, if it is there and what this server wrote.
    pub fn get(&self, sha256: &str, tier: Tier) -> Option<Artifact> {
        let name = self.name(sha256, tier);
        match self.read(&name) {
            Ok(artifact) => Some(artifact),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.discard(sha256, tier, &error.to_string());
                None
            }
        }
    }

    /// Takes away a file that is no good.
    pub fn discard(&self, sha256: &str, tier: Tier, why: &str) {
        let name = self.name(sha256, tier);
        tracing::warn!("compiled code {name} in PLUGIN_CACHE_DIR is not loaded ({why}): the plugin is compiled again");
        // Where it stays, it is refused again.
        let _ = fs::remove_file(self.dir.join(name));
    }

    /// Keeps code. Best effort: without it, the next start compiles again.
    pub fn put(&self, sha256: &str, tier: Tier, artifact: &Artifact) {
        let written = self.write(&self.name(sha256, tier), artifact).and_then(|()| self.make_room());
        if let Err(error) = written {
            self.cannot_write(&error);
        }
    }

    fn name(&self, sha256: &str, tier: Tier) -> String {
        format!("{sha256}.{}.{}.{EXTENSION}", self.engine, tier.as_str())
    }

    fn cannot_write(&self, error: &io::Error) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            let dir = self.dir.display();
            tracing::warn!("PLUGIN_CACHE_DIR {dir} cannot be used: each start compiles all plugins again: {error}");
        }
    }

    fn read(&self, name: &str) -> io::Result<Artifact> {
        let file = File::open(self.dir.join(name))?;
        // Read whole, and proved as read: what the file becomes after that is nobody's concern.
        let mut bytes =
            Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or(0).min(MAX_ARTIFACT_BYTES));
        (&file).take((HEAD_BYTES + MAX_ARTIFACT_BYTES) as u64).read_to_end(&mut bytes)?;
        let refused = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        let head = bytes.split_at_checked(HEAD_BYTES).ok_or_else(|| refused("it is cut short"))?.0;
        let (magic, rest) = head.split_at(MAGIC.len());
        let (mac, size) = rest.split_at(MAC_BYTES);
        if magic != MAGIC {
            return Err(refused("it is no file of this server"));
        }
        let size: [u8; 8] = size.try_into().map_err(|_| refused("it is cut short"))?;
        let proof = self.proof(name, size, &bytes[HEAD_BYTES..]);
        proof.verify_slice(mac).map_err(|_| refused("it is not as this server wrote it"))?;
        // Used now: it stays for longer. Best effort.
        let _ = file.set_modified(SystemTime::now());
        let size_bytes = usize::try_from(u64::from_le_bytes(size)).unwrap_or(usize::MAX);
        bytes.drain(..HEAD_BYTES);
        Ok(Artifact::made(bytes, size_bytes))
    }

    fn write(&self, name: &str, artifact: &Artifact) -> io::Result<()> {
        let size = (artifact.size_bytes as u64).to_le_bytes();
        let mac = self.proof(name, size, artifact.code()).finalize().into_bytes();
        let unfinished = self.dir.join(format!("{name}.{:016x}.{UNFINISHED}", rand::random::<u64>()));
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&unfinished)?;
            for part in [MAGIC.as_slice(), &mac, &size, artifact.code()] {
                file.write_all(part)?;
            }
            file.sync_all()?;
            fs::rename(&unfinished, self.dir.join(name))
        };
        write().inspect_err(|_| {
            // Best effort: the error that matters is the first one.
            let _ = fs::remove_file(&unfinished);
        })
    }

    fn proof(&self, name: &str, size: [u8; 8], code: &[u8]) -> Hmac<Sha256> {
        let mut proof = Hmac::<Sha256>::new_from_slice(&self.key.0).expect("HMAC takes any key length");
        // The length first, so that no part of a name can be taken for code.
        proof.update(&(name.len() as u64).to_le_bytes());
        proof.update(name.as_bytes());
        proof.update(&size);
        proof.update(code);
        proof
    }

    fn make_room(&self) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            // It may have gone in this moment.
            let Ok(metadata) = entry.metadata() else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let is = |extension| entry.path().extension().is_some_and(|it| it == extension);
            if is(UNFINISHED) && used.elapsed().is_ok_and(|age| age > UNFINISHED_FOR) {
                remove(&entry.path());
            } else if is(EXTENSION) {
                kept.push((used, metadata.len(), entry.path()));
            }
        }
        kept.sort_unstable();
        let mut total: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in kept {
            if total <= self.max_bytes {
                break;
            }
            total -= bytes;
            remove(&path);
        }
        Ok(())
    }
}

/// Another node's process may have been faster.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(dir: &Path, key: u8, max_bytes: u64) -> Cache {
        Cache {
            dir: dir.to_owned(),
            key: CacheKey([key; 32]),
            engine: "e".to_owned(),
            max_bytes,
            warned: AtomicBool::new(false),
        }
    }

    #[test]
    fn only_what_was_written_under_this_name_with_this_key_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let ours = cache(dir.path(), 1, MAX_BYTES);
        let code = Artifact::made(vec![7; 100], 3);
        ours.put("a", Tier::Full, &code);
        let read = ours.get("a", Tier::Full).unwrap();
        assert_eq!((read.code(), read.size_bytes), (code.code(), 3));
        assert!(ours.get("a", Tier::Quick).is_none() && ours.get("b", Tier::Full).is_none());

        let path = dir.path().join("a.e.full.cwasm");
        let whole = fs::read(&path).unwrap();
        let tampered = |bytes: &[u8]| {
            let _ = fs::remove_file(&path);
            fs::write(&path, bytes).unwrap();
            assert!(ours.get("a", Tier::Full).is_none());
            assert!(!path.exists(), "it is taken away");
        };
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            tampered(&flipped);
        }
        for len in [0, 7, HEAD_BYTES - 1, HEAD_BYTES, whole.len() - 1] {
            tampered(&whole[..len]);
        }
        tampered(&[&whole, &b"x"[..]].concat());

        cache(dir.path(), 2, MAX_BYTES).put("a", Tier::Full, &code);
        assert!(ours.get("a", Tier::Full).is_none(), "another server's key");
        ours.put("b", Tier::Full, &code);
        fs::rename(dir.path().join("b.e.full.cwasm"), &path).unwrap();
        assert!(ours.get("a", Tier::Full).is_none(), "another component's code");
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let file_bytes = (HEAD_BYTES + 100) as u64;
        let cache = cache(dir.path(), 1, 2 * file_bytes);
        let code = Artifact::made(vec![7; 100], 3);
        let age = |name: &str, seconds| {
            let file = File::open(dir.path().join(format!("{name}.e.full.cwasm"))).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        };
        for (name, seconds) in [("old", 30), ("used", 20)] {
            cache.put(name, Tier::Full, &code);
            age(name, seconds);
        }
        age("used", 40);
        assert!(cache.get("used", Tier::Full).is_some(), "which makes it the younger one");
        cache.put("new", Tier::Full, &code);
        let kept = |name| dir.path().join(format!("{name}.e.full.cwasm")).exists();
        assert_eq!(["old", "used", "new"].map(kept), [false, true, true]);
    }
}
