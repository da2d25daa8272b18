//! Frame tables on disk: another process finds them again instead of reading or decoding the file.
//!
//! An entry is named by the content of the file; a second name, by the file's path and time stamps,
//! saves looking at the content. Whatever goes wrong here, tables are made anew.

use std::cell::OnceCell;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf, absolute};
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use twox_hash::XxHash3_128;

use crate::ffmpeg::library;
use crate::source::{Pick, open_file};
use crate::tables::{Identity, try_lock};
use crate::track::Track;

mod entry;

#[cfg(fuzzing)]
pub use entry::check_entry;

/// Most bytes of all entries.
const MAX_BYTES: u64 = 256 << 20;
/// Entries that are written between two looks at how many there are.
const WRITES_PER_LOOK: usize = 256;
/// Larger files are known by path and time stamps alone: to look at all bytes takes too long.
const MAX_HASHED: u64 = 1 << 30;
const PIECE_BYTES: usize = 1 << 17;

static FOLDER: Mutex<Option<PathBuf>> = Mutex::new(None);
static WRITES: AtomicUsize = AtomicUsize::new(0);

/// Keeps tables in `folder` from now on; `None`, which is where a process begins, in none.
pub fn set_folder(folder: Option<PathBuf>) {
    if let Some(mut current) = try_lock(&FOLDER) {
        *current = folder;
    }
}

/// Where the table of a video lies, if it is kept.
pub(crate) struct Place<'a> {
    pick: Pick<'a>,
    folder: PathBuf,
    /// Named by path and time stamps.
    by_file: PathBuf,
    /// Named by content.
    by_content: OnceCell<Option<PathBuf>>,
}

impl<'a> Place<'a> {
    /// `None` where no tables are kept.
    pub fn of(pick: Pick<'a>, identity: &Identity) -> Option<Self> {
        let folder = try_lock(&FOLDER)?.clone()?;
        let mut hash = hash_for(pick)?;
        absolute(pick.path).ok()?.hash(&mut Parts(&mut hash));
        identity.hash(&mut Parts(&mut hash));
        Some(Self {
            pick,
            by_file: folder.join(format!("f{:032x}", hash.finish_128())),
            by_content: OnceCell::new(),
            folder,
        })
    }

    fn by_content(&self) -> Option<&Path> {
        let name = || {
            let mut hash = hash_for(self.pick)?;
            feed_content(&mut hash, self.pick.path)?;
            Some(self.folder.join(format!("c{:032x}", hash.finish_128())))
        };
        self.by_content.get_or_init(name).as_deref()
    }

    pub fn find(&self) -> Option<Track> {
        if let Some(track) = entry::read(&self.by_file, self.pick) {
            return Some(track);
        }
        let by_content = self.by_content()?;
        let track = entry::read(by_content, self.pick)?;
        self.link(by_content);
        Some(track)
    }

    /// Writes an entry, if making the table again would take longer than to read it.
    pub fn keep(&self, track: &Track) {
        if !track.is_costly {
            return;
        }
        let by_content = self.by_content();
        let name = by_content.unwrap_or(&self.by_file);
        let is_kept =
            fs::create_dir_all(&self.folder).is_ok() && self.write(name, &entry::write(track));
        if is_kept && by_content.is_some() {
            self.link(name);
        }
        if WRITES
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(WRITES_PER_LOOK)
        {
            make_room(&self.folder, MAX_BYTES);
        }
    }

    /// A file is there as a whole or not at all, whoever else writes it.
    fn write(&self, name: &Path, bytes: &[u8]) -> bool {
        let part = self.part();
        let is_written = fs::write(&part, bytes).is_ok() && fs::rename(&part, name).is_ok();
        if !is_written {
            let _ = fs::remove_file(&part);
        }
        is_written
    }

    /// Gives an entry its second name.
    fn link(&self, name: &Path) {
        let part = self.part();
        if fs::hard_link(name, &part).is_ok() {
            let _ = fs::rename(&part, &self.by_file);
            // two names of one file are both left by a rename
            let _ = fs::remove_file(&part);
        }
    }

    fn part(&self) -> PathBuf {
        static PARTS: AtomicUsize = AtomicUsize::new(0);
        let number = PARTS.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("part-{}-{number}", process::id()))
    }
}

/// Removes the oldest files until the others are no more than `most` bytes.
fn make_room(folder: &Path, most: u64) {
    let Ok(files) = fs::read_dir(folder) else {
        return;
    };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = files
        .filter_map(|file| {
            let file = file.ok()?;
            let meta = file.metadata().ok()?;
            Some((meta.modified().ok()?, meta.len(), file.path()))
        })
        .collect();
    files.sort_unstable();
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in files {
        if total <= most {
            return;
        }
        let _ = fs::remove_file(path);
        total -= bytes;
    }
}

/// A hash of what a table depends on beside the file.
fn hash_for(pick: Pick) -> Option<XxHash3_128> {
    let mut hash = XxHash3_128::new();
    for version in library().ok()?.versions {
        hash.write(&version.to_le_bytes());
    }
    let stream = pick.stream.map_or(-1, |stream| stream as i64);
    hash.write(&stream.to_le_bytes());
    Some(hash)
}

/// `None` for a file that takes longer to hash than to open: MP4 lists its packets, so few of its
/// bytes are read.
fn feed_content(hash: &mut XxHash3_128, path: &Path) -> Option<()> {
    let (mut file, bytes) = open_file(path).ok()?;
    let mut head = [0; 8];
    file.read_exact(&mut head).ok()?;
    if bytes > MAX_HASHED || head[4..] == *b"ftyp" {
        return None;
    }
    hash.write(&bytes.to_le_bytes());
    hash.write(&head);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece).ok()? {
            0 => return Some(()),
            count => hash.write(&piece[..count]),
        }
    }
}

/// Lets `Hash` feed a hash of 128 bits.
struct Parts<'a>(&'a mut XxHash3_128);

impl Hasher for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_make_room() -> std::io::Result<()> {
        let folder = std::env::temp_dir().join(format!("fastvd-store-{}", process::id()));
        fs::create_dir_all(&folder)?;
        for (i, name) in ["a", "b", "c"].into_iter().enumerate() {
            let path = folder.join(name);
            fs::write(&path, [0; 100])?;
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(i as u64);
            fs::File::options()
                .write(true)
                .open(&path)?
                .set_modified(time)?;
        }
        make_room(&folder, 250);
        let left = ["a", "b", "c"].map(|name| folder.join(name).exists());
        fs::remove_dir_all(&folder)?;
        assert_eq!(left, [false, true, true]);
        Ok(())
    }
}
