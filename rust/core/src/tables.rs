//! Frame tables of the files that were read last: making one takes a pass over the file.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, SystemTime};

use crate::source::Pick;
use crate::source::kept::{self, Video};
use crate::store::Place;
use crate::track::Track;
use crate::{Error, Result};

/// Cost of all tables that are kept, in frames: 12 bytes each, 44 for one where decoding may start.
const MAX_KEPT: usize = 600_000;

/// What a table costs beside its frames: names, facts, first packets, and what it keeps FFmpeg's
/// memory from being joined.
const FRAMES_PER_TABLE: usize = 512;

/// A file that changed just now may change again without a new time stamp.
const SETTLED: Duration = Duration::from_secs(2);

static TABLES: LazyLock<Mutex<Tables>> = LazyLock::new(Mutex::default);

/// A file's name and the number of its video.
type Key = (PathBuf, Option<usize>);

#[derive(Default)]
struct Tables {
    by_key: HashMap<Key, (Identity, Arc<Track>)>,
    /// The oldest first.
    order: VecDeque<Key>,
    cost: usize,
}

/// What tells a file from another one that has its name later.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Identity {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device and number of the file, and when either or the content changed.
    node: (u64, u64, i64, i64),
}

/// What is known of a video, and what tells its file from another.
pub(crate) fn track_of(pick: Pick) -> Result<(Identity, Arc<Track>)> {
    let meta = fs::metadata(pick.path).map_err(|e| Error::io(pick.path, e))?;
    let identity = Identity::of(&meta);
    let key = key_of(pick);
    // a lock that a fork left held for ever must not stop us: then tables are made again
    if let Some(track) = try_lock(&TABLES).and_then(|tables| tables.find(&key, &identity)) {
        track.check(pick.path)?;
        return Ok((identity, track));
    }
    let place = is_settled(&identity).then(|| Place::of(pick, &identity));
    let place = place.flatten();
    if let Some(track) = place.as_ref().and_then(Place::find) {
        let track = Arc::new(track);
        replace_track(pick, &identity, &track);
        return Ok((identity, track));
    }
    let (track, input) = Track::of(pick)?;
    if let Some(place) = place {
        place.keep(&track);
    }
    let track = Arc::new(track);
    replace_track(pick, &identity, &track);
    if let Some(input) = input {
        kept::keep(pick, &identity, Video::Read(input));
    }
    Ok((identity, track))
}

/// From now on this is what is known of the file.
pub(crate) fn replace_track(pick: Pick, identity: &Identity, track: &Arc<Track>) {
    if is_settled(identity)
        && let Some(mut tables) = try_lock(&TABLES)
    {
        tables.keep(key_of(pick), identity.clone(), track);
    }
}

fn is_settled(identity: &Identity) -> bool {
    let age = identity.modified.and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age > SETTLED)
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

fn key_of(pick: Pick) -> Key {
    (pick.path.to_owned(), pick.stream)
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
    fn find(&self, key: &Key, identity: &Identity) -> Option<Arc<Track>> {
        let (known, track) = self.by_key.get(key)?;
        (known == identity).then(|| Arc::clone(track))
    }

    fn keep(&mut self, key: Key, identity: Identity, track: &Arc<Track>) {
        self.forget(&key);
        self.cost += cost(track);
        self.order.push_back(key.clone());
        self.by_key.insert(key, (identity, Arc::clone(track)));
        // the newest stays, however long: its file is in use
        while self.cost > MAX_KEPT && self.order.len() > 1 {
            let oldest = self.order.pop_front();
            if let Some((_, track)) = oldest.and_then(|key| self.by_key.remove(&key)) {
                self.cost -= cost(&track);
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some((_, track)) = self.by_key.remove(key) {
            self.cost -= cost(&track);
            self.order.retain(|kept| kept != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(frames: usize) -> Arc<Track> {
        let mut track = Track::default();
        track.index.times = vec![0; frames];
        Arc::new(track)
    }

    fn identity(bytes: u64) -> Identity {
        Identity {
            bytes,
            modified: None,
            node: (0, 0, 0, 0),
        }
    }

    fn key(name: &str) -> Key {
        (name.into(), None)
    }

    #[test]
    fn a_file_that_changed_is_not_found() {
        let mut tables = Tables::default();
        tables.keep(key("a"), identity(1), &table(3));
        assert!(tables.find(&key("a"), &identity(1)).is_some());
        assert!(tables.find(&key("a"), &identity(2)).is_none());
        assert!(tables.find(&key("b"), &identity(1)).is_none());
        tables.keep(key("a"), identity(2), &table(5));
        assert!(tables.find(&key("a"), &identity(1)).is_none());
        assert_eq!(tables.cost, 5 + FRAMES_PER_TABLE);
        assert_eq!(tables.order.len(), 1);
    }

    #[test]
    fn each_video_of_a_file_has_its_table() {
        let mut tables = Tables::default();
        tables.keep(key("a"), identity(1), &table(3));
        assert!(tables.find(&("a".into(), Some(0)), &identity(1)).is_none());
    }

    #[test]
    fn the_oldest_tables_make_room() {
        let mut tables = Tables::default();
        for name in ["a", "b", "c"] {
            let frames = MAX_KEPT / 2 - FRAMES_PER_TABLE;
            tables.keep(key(name), identity(0), &table(frames));
        }
        assert!(tables.find(&key("a"), &identity(0)).is_none());
        assert!(tables.find(&key("c"), &identity(0)).is_some());
        assert_eq!((tables.cost, tables.order.len()), (MAX_KEPT, 2));
    }
}
