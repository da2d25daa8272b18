//! Frame tables of the files that were read last: making one takes a pass over the file.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, SystemTime};

use crate::track::Track;
use crate::{Error, Result};

/// Cost of all tables that are kept, in frames: 12 bytes each, 44 for one where decoding may start.
const MAX_KEPT: usize = 600_000;

/// What a table costs beside its frames: names, facts, first packets, and what it keeps FFmpeg's
/// memory from being joined.
const FRAMES_PER_TABLE: usize = 256;

/// A file that changed just now may change again without a new time stamp.
const SETTLED: Duration = Duration::from_secs(2);

static TABLES: LazyLock<Mutex<Tables>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Tables {
    by_path: HashMap<PathBuf, (Identity, Arc<Track>)>,
    /// The oldest first.
    order: VecDeque<PathBuf>,
    cost: usize,
}

/// What tells a file from another one that has its name later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device and number of the file, and when either or the content changed.
    node: (u64, u64, i64, i64),
}

/// What is known of the file at `path`, made by `make` where it is not at hand, and what tells the
/// file from another.
pub(crate) fn track_of(
    path: &Path,
    make: impl FnOnce() -> Result<Track>,
) -> Result<(Identity, Arc<Track>)> {
    let meta = fs::metadata(path).map_err(|e| Error::io(path, e))?;
    let identity = Identity::of(&meta);
    // a lock that a fork left held for ever must not stop us: then tables are made again
    if let Some(track) = try_lock(&TABLES).and_then(|tables| tables.find(path, &identity)) {
        track.check(path)?;
        return Ok((identity, track));
    }
    let track = Arc::new(make()?);
    replace_track(path, &identity, &track);
    Ok((identity, track))
}

/// From now on this is what is known of the file.
pub(crate) fn replace_track(path: &Path, identity: &Identity, track: &Arc<Track>) {
    let is_settled = identity
        .modified
        .and_then(|time| time.elapsed().ok())
        .is_some_and(|age| age > SETTLED);
    if is_settled && let Some(mut tables) = try_lock(&TABLES) {
        tables.keep(path, identity.clone(), track);
    }
}

/// The lock, if it comes free within a millisecond or so: nobody holds it for longer.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    for _ in 0..1000 {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            // a thread that failed left whole tables behind
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    None
}

fn cost(track: &Track) -> usize {
    track.index.times.len() + FRAMES_PER_TABLE
}

impl Identity {
    fn of(meta: &Metadata) -> Self {
        Self {
            bytes: meta.len(),
            modified: meta.modified().ok(),
            node: (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl Tables {
    fn find(&self, path: &Path, identity: &Identity) -> Option<Arc<Track>> {
        let (known, track) = self.by_path.get(path)?;
        (known == identity).then(|| Arc::clone(track))
    }

    fn keep(&mut self, path: &Path, identity: Identity, track: &Arc<Track>) {
        self.forget(path);
        self.cost += cost(track);
        self.order.push_back(path.to_owned());
        self.by_path
            .insert(path.to_owned(), (identity, Arc::clone(track)));
        // the newest stays, however long: its file is in use
        while self.cost > MAX_KEPT && self.order.len() > 1 {
            let Some(oldest) = self.order.front().cloned() else {
                return;
            };
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, path: &Path) {
        if let Some((_, track)) = self.by_path.remove(path) {
            self.cost -= cost(&track);
            self.order.retain(|kept| kept != path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(frames: usize) -> Arc<Track> {
        let mut track = Track::default();
        track.index.times.resize(frames, 0);
        Arc::new(track)
    }

    fn identity(bytes: u64) -> Identity {
        Identity {
            bytes,
            modified: None,
            node: (0, 0, 0, 0),
        }
    }

    #[test]
    fn a_file_that_changed_is_not_found() {
        let mut tables = Tables::default();
        let path = Path::new("a");
        tables.keep(path, identity(1), &table(3));
        assert!(tables.find(path, &identity(1)).is_some());
        assert!(tables.find(path, &identity(2)).is_none());
        assert!(tables.find(Path::new("b"), &identity(1)).is_none());
        tables.keep(path, identity(2), &table(5));
        assert!(tables.find(path, &identity(1)).is_none());
        assert_eq!(tables.cost, 5 + FRAMES_PER_TABLE);
        assert_eq!(tables.order.len(), 1);
    }

    #[test]
    fn the_oldest_tables_make_room() {
        let mut tables = Tables::default();
        for name in ["a", "b", "c"] {
            tables.keep(
                Path::new(name),
                identity(0),
                &table(MAX_KEPT / 2 - FRAMES_PER_TABLE),
            );
        }
        assert!(tables.find(Path::new("a"), &identity(0)).is_none());
        assert!(tables.find(Path::new("c"), &identity(0)).is_some());
        assert_eq!((tables.cost, tables.order.len()), (MAX_KEPT, 2));
    }
}
