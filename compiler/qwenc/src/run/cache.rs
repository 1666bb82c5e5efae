//! The cache of executables that `run` compiled.
//!
//! In: keys, and a way to make what is missing. Out: executables, locked while they run. Invariant: an entry's folder KEY
//! stands in the cache only when it is whole: it is made as KEY.new and renamed, under the lock KEY.lock. An entry is
//! removed only under that lock, so never while it runs.
//!
//! Layout: `KEY/program/NAME` is the executable, `KEY/about.json` says what it is and was last touched when it was used.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{anyhow, bail, Context, Result};
use serde_json::Value;

/// The way out that every message about the folder names.
const HINT: &str = "set QWENC_CACHE to another folder";

/// A folder of executables.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// An executable in the cache.
#[derive(Debug)]
pub struct Entry {
    pub key: String,
    pub bytes: u64,
    pub used: SystemTime,
    /// The object in about.json; null if that cannot be read.
    pub about: Value,
}

/// A lock that is held as long as this file, or one that another process inherited from it, is open.
#[derive(Debug)]
pub struct Lock(pub File);

impl Cache {
    /// The cache of this user; its folder need not exist.
    pub fn of_user() -> Result<Cache> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = match (set("QWENC_CACHE"), set("XDG_CACHE_HOME"), set("HOME")) {
            (Some(folder), _, _) => folder,
            (None, Some(caches), _) => caches.join("qwenc/executables"),
            (None, None, Some(home)) => home.join(".cache/qwenc/executables"),
            (None, None, None) => bail!(
                "the cache of executables has no folder, since HOME is not set: set HOME, XDG_CACHE_HOME or QWENC_CACHE"
            ),
        };
        Ok(Cache { folder })
    }

    /// The folder, for messages.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder where it is missing.
    pub fn create(&self) -> Result<()> {
        let shown = self.folder.display();
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("{shown}: creating the cache of executables; {HINT}"))
    }

    fn entry_folder(&self, key: &str) -> PathBuf {
        self.folder.join(key)
    }

    /// The executable of an entry that is there.
    pub fn program(&self, key: &str) -> Option<PathBuf> {
        let inside = fs::read_dir(self.entry_folder(key).join("program")).ok()?;
        inside.flatten().map(|entry| entry.path()).next()
    }

    /// Whether an entry's model has a chat template; true where that is not known.
    pub fn has_template(&self, key: &str) -> bool {
        let about = fs::read(self.entry_folder(key).join("about.json"));
        let about: Option<Value> = about.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        about.is_none_or(|about| about["chat_template"] != Value::Bool(false))
    }

    /// Marks an entry as used now; a cache that cannot be written still serves.
    pub fn touch(&self, key: &str) {
        let about = File::options().append(true).open(self.entry_folder(key).join("about.json"));
        let _ = about.and_then(|file| file.set_modified(SystemTime::now()));
    }

    fn lock_path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.lock"))
    }

    /// The open file of a lock, and whether it is still the one at its path once `lock` has it.
    fn locked(&self, key: &str, lock: impl Fn(&File) -> io::Result<bool>) -> Result<Option<Lock>> {
        let path = self.lock_path(key);
        let failed = || format!("{}: locking an entry of the cache of executables; {HINT}", path.display());
        loop {
            let open = File::options().read(true).append(true).create(true).open(&path);
            // A cache that cannot be written is read.
            let file = open.or_else(|e| File::open(&path).map_err(|_| e)).with_context(failed)?;
            if !lock(&file).with_context(failed)? {
                return Ok(None);
            }
            // `clear` may have removed the path in between: then the lock protects nothing.
            let (held, found) = (file.metadata().with_context(failed)?, fs::metadata(&path));
            if found.is_ok_and(|found| (found.ino(), found.dev()) == (held.ino(), held.dev())) {
                return Ok(Some(Lock(file)));
            }
        }
    }

    /// A lock for using an entry, which several processes may hold; `waits` is called before waiting for a compilation.
    pub fn shared(&self, key: &str, waits: impl Fn()) -> Result<Lock> {
        let lock = |file: &File| match file.try_lock_shared() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => {
                waits();
                file.lock_shared().map(|()| true)
            }
            Err(fs::TryLockError::Error(e)) => Err(e),
        };
        self.locked(key, lock)?.ok_or_else(|| anyhow!("{}: not locked", self.lock_path(key).display()))
    }

    /// The only lock of an entry, for making it.
    pub fn exclusive(&self, key: &str) -> Result<Lock> {
        let lock = |file: &File| file.lock().map(|()| true);
        self.locked(key, lock)?.ok_or_else(|| anyhow!("{}: not locked", self.lock_path(key).display()))
    }

    /// The only lock of an entry, if no process holds one.
    fn unused(&self, key: &str) -> Result<Option<Lock>> {
        let lock = |file: &File| match file.try_lock() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(e)) => Err(e),
        };
        self.locked(key, lock)
    }

    /// The folder in which an entry is made: empty, whatever an earlier process left there.
    pub fn begin(&self, key: &str) -> Result<PathBuf> {
        let folder = self.half_made(key);
        let make = || match fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => fs::create_dir_all(folder.join("program")),
        };
        make().with_context(|| {
            format!("{}: creating an entry of the cache of executables; {HINT}", folder.display())
        })?;
        Ok(folder)
    }

    /// Puts a whole entry in its place.
    pub fn finish(&self, key: &str, made: &Path, about: &Value) -> Result<()> {
        let put = || {
            fs::write(made.join("about.json"), format!("{about:#}\n"))?;
            let place = self.entry_folder(key);
            // An entry without its program, if a user removed that.
            match fs::remove_dir_all(&place) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => fs::rename(made, &place),
            }
        };
        put().with_context(|| format!("{}: writing an entry of the cache of executables", made.display()))
    }

    /// All names of the folder with this ending, without it.
    fn names(&self, ending: &str) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("{}: reading the cache", self.folder.display()))?,
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let key = |name: &String| {
            let key = name.strip_suffix(ending)?;
            let is_key = key.len() == 32 && key.bytes().all(|b| b.is_ascii_hexdigit());
            is_key.then(|| key.to_string())
        };
        Ok(names.filter_map(|name| key(&name)).collect())
    }

    /// All entries, the most recently used first.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let entry = |key: String| {
            let folder = self.entry_folder(&key);
            let program = self.program(&key)?.metadata().ok()?;
            let about = folder.join("about.json");
            let used = about.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let about = fs::read(about).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            Some(Entry { key, bytes: program.len(), used, about: about.unwrap_or(Value::Null) })
        };
        let mut entries: Vec<Entry> = self.names("")?.into_iter().filter_map(entry).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        Ok(entries)
    }

    /// Removes an entry if no process uses it; says whether it did.
    fn remove(&self, key: &str) -> Result<bool> {
        let Some(_lock) = self.unused(key)? else { return Ok(false) };
        self.remove_unused(key)?;
        Ok(true)
    }

    /// Removes what a killed process left of an entry, if no process makes it: its half-made folder, and its lock where
    /// there is no entry.
    fn remove_leftovers(&self, key: &str) -> Result<()> {
        // Under the lock: another process may just have finished the entry.
        let Some(_lock) = self.unused(key)? else { return Ok(()) };
        match self.program(key) {
            None => self.remove_unused(key),
            Some(_) => remove_folder(&self.half_made(key)),
        }
    }

    /// Removes an entry whose lock is held.
    fn remove_unused(&self, key: &str) -> Result<()> {
        remove_folder(&self.entry_folder(key))?;
        remove_folder(&self.half_made(key))?;
        let path = self.lock_path(key);
        fs::remove_file(&path).with_context(|| format!("{}: removing", path.display()))
    }

    fn half_made(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.new"))
    }

    /// Removes half-made entries that no process is making, then the least recently used ones beyond `limit` bytes, but
    /// never `current`. What cannot be removed is the error, once all else is done.
    pub fn trim(&self, limit: u64, current: &str) -> Result<()> {
        let mut failed = None;
        for key in self.names(".new")? {
            failed = failed.or(self.remove_leftovers(&key).err());
        }
        let mut total = 0u64;
        for entry in self.entries()? {
            total = total.saturating_add(entry.bytes);
            if total > limit && entry.key != current {
                match self.remove(&entry.key) {
                    Ok(true) => total -= entry.bytes,
                    Ok(false) => {}
                    Err(e) => failed = failed.or(Some(e)),
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Removes all that is not in use; gives the number of entries and bytes removed, and the number of those in use.
    pub fn clear(&self) -> Result<(usize, u64, usize)> {
        let (mut removed, mut bytes, mut used) = (0, 0, 0);
        for entry in self.entries()? {
            match self.remove(&entry.key)? {
                true => (removed, bytes) = (removed + 1, bytes + entry.bytes),
                false => used += 1,
            }
        }
        let leftovers = [self.names(".new")?, self.names(".lock")?].concat();
        for key in leftovers {
            self.remove_leftovers(&key)?;
        }
        Ok((removed, bytes, used))
    }
}

/// Removes a folder that may be absent.
fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("{}: removing", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KEYS: [&str; 3] = [
        "00000000000000000000000000000001",
        "00000000000000000000000000000002",
        "00000000000000000000000000000003",
    ];

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { folder: folder.path().join("executables") };
        cache.create().unwrap();
        (folder, cache)
    }

    fn add(cache: &Cache, key: &str, bytes: usize, used: u64) {
        let made = cache.begin(key).unwrap();
        fs::write(made.join("program/qwen"), vec![0; bytes]).unwrap();
        cache.finish(key, &made, &json!({"model": key})).unwrap();
        let about = File::options().append(true).open(cache.entry_folder(key).join("about.json")).unwrap();
        about.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(used)).unwrap();
    }

    fn keys(cache: &Cache) -> Vec<String> {
        cache.entries().unwrap().into_iter().map(|entry| entry.key).collect()
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let (_folder, cache) = cache();
        add(&cache, KEYS[0], 100, 20);
        add(&cache, KEYS[1], 100, 10);
        add(&cache, KEYS[2], 100, 30);
        assert_eq!(keys(&cache), [KEYS[2], KEYS[0], KEYS[1]]);
        cache.trim(300, KEYS[2]).unwrap();
        assert_eq!(keys(&cache).len(), 3);
        cache.trim(250, KEYS[2]).unwrap();
        assert_eq!(keys(&cache), [KEYS[2], KEYS[0]]);
        // The current one stays, however small the limit.
        cache.trim(0, KEYS[2]).unwrap();
        assert_eq!(keys(&cache), [KEYS[2]]);
    }

    #[test]
    fn what_runs_is_kept() {
        let (_folder, cache) = cache();
        add(&cache, KEYS[0], 100, 10);
        add(&cache, KEYS[1], 100, 20);
        let lock = cache.shared(KEYS[0], || ()).unwrap();
        cache.trim(0, KEYS[1]).unwrap();
        assert_eq!(keys(&cache), [KEYS[1], KEYS[0]]);
        assert_eq!(cache.clear().unwrap(), (1, 100, 1));
        drop(lock);
        assert_eq!(cache.clear().unwrap(), (1, 100, 0));
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_compilation_left_is_no_entry_and_goes() {
        let (_folder, cache) = cache();
        let made = cache.begin(KEYS[0]).unwrap();
        fs::write(made.join("program/qwen"), "half").unwrap();
        assert_eq!((cache.program(KEYS[0]), keys(&cache).len()), (None, 0));
        // One that is being made is left alone.
        let lock = cache.exclusive(KEYS[0]).unwrap();
        cache.trim(0, KEYS[1]).unwrap();
        assert!(made.exists());
        drop(lock);
        cache.trim(0, KEYS[1]).unwrap();
        assert!(!made.exists());
        // The next one begins with an empty folder.
        fs::create_dir_all(made.join("program/old")).unwrap();
        assert_eq!(fs::read_dir(cache.begin(KEYS[0]).unwrap().join("program")).unwrap().count(), 0);
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let (_folder, cache) = cache();
        fs::write(cache.folder.join("notes.txt"), "x").unwrap();
        fs::create_dir(cache.folder.join("photos.new")).unwrap();
        cache.clear().unwrap();
        cache.trim(0, KEYS[0]).unwrap();
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), 2);
    }
}
