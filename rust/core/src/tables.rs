//! Frame tables of the files that were read last: making one takes a pass over the file.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::index::Index;
use crate::{Error, Result};

/// Cost of all tables that are kept, in frames: 12 bytes each, 44 for one where decoding may start.
const MAX_KEPT: usize = 4_000_000;

/// What a table costs beside its frames: its name, twice, and its places.
const FRAMES_PER_TABLE: usize = 32;

/// A file that changed just now may change again without a new time stamp.
const SETTLED: Duration = Duration::from_secs(2);

static TABLES: LazyLock<Mutex<Tables>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Tables {
    by_path: HashMap<PathBuf, (Identity, Arc<Index>)>,
    /// The oldest first.
    order: VecDeque<PathBuf>,
    cost: usize,
}

/// What tells a file from another one that has its name later.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device and number of the file, and when either or the content changed.
    node: (u64, u64, i64, i64),
}

/// The table of the file at `path`, made by `make` where it is not at hand.
pub(crate) fn table_of(path: &Path, make: impl FnOnce() -> Result<Index>) -> Result<Arc<Index>> {
    let meta = fs::metadata(path).map_err(|e| Error::io(path, e))?;
    let identity = Identity::of(&meta);
    // a thread that failed left whole tables behind
    let tables = || TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(index) = tables().find(path, &identity) {
        return Ok(index);
    }
    let index = Arc::new(make()?);
    let is_settled = identity
        .modified
        .and_then(|time| time.elapsed().ok())
        .is_some_and(|age| age > SETTLED);
    if is_settled {
        tables().keep(path, identity, &index);
    }
    Ok(index)
}

fn cost(index: &Index) -> usize {
    index.times.len() + FRAMES_PER_TABLE
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
    fn find(&self, path: &Path, identity: &Identity) -> Option<Arc<Index>> {
        let (known, index) = self.by_path.get(path)?;
        (known == identity).then(|| Arc::clone(index))
    }

    fn keep(&mut self, path: &Path, identity: Identity, index: &Arc<Index>) {
        self.forget(path);
        self.cost += cost(index);
        self.order.push_back(path.to_owned());
        self.by_path
            .insert(path.to_owned(), (identity, Arc::clone(index)));
        while self.cost > MAX_KEPT {
            let Some(oldest) = self.order.front().cloned() else {
                return;
            };
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, path: &Path) {
        if let Some((_, index)) = self.by_path.remove(path) {
            self.cost -= cost(&index);
            self.order.retain(|kept| kept != path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(frames: usize) -> Arc<Index> {
        let mut index = Index::default();
        index.times.resize(frames, 0);
        Arc::new(index)
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
