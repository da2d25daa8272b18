//! The chunks of an AVI file, read in pieces of the file's bytes.

/// Bytes of a chunk's head.
pub(crate) const HEAD: u64 = 8;
/// Bytes of the file that are read at a time.
const PIECE: u64 = 1 << 16;

/// A chunk of a stream, as the file's index has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    pub position: u64,
    pub bytes: u64,
}

/// A file by its bytes at some place, and how many there are.
pub(crate) struct Walk<F> {
    read: F,
    length: u64,
    piece: Vec<u8>,
    start: u64,
    position: u64,
    /// The first two letters of the stream's chunks.
    stream: [u8; 2],
}

impl<F: Fn(std::ops::Range<u64>) -> Option<Vec<u8>>> Walk<F> {
    /// A walk over the chunks of stream `number` in a file of `length` bytes, from `position` on.
    pub fn new(read: F, length: u64, number: u8, position: u64) -> Self {
        Self {
            read,
            length,
            piece: Vec::new(),
            start: 0,
            position,
            stream: [b'0' + number / 10, b'0' + number % 10],
        }
    }

    /// The first bytes of the stream's next chunk, `most` or fewer, where that is `expected`.
    pub fn next(&mut self, expected: Chunk, most: u64) -> Option<&[u8]> {
        while self.position < expected.position {
            let (kind, bytes) = self.head()?;
            if !self.is_of_another(kind) {
                return None;
            }
            self.pass(bytes);
        }
        let (kind, bytes) = self.head()?;
        let is_video = kind[..2] == self.stream && matches!(&kind[2..], b"dc" | b"db");
        if self.position != expected.position || !is_video || bytes != expected.bytes {
            return None;
        }
        let content = self.position + HEAD;
        self.pass(bytes);
        self.at(content, bytes.min(most))
    }

    /// Whether no chunk of the stream follows up to the file's index.
    pub fn is_over(&mut self) -> bool {
        while let Some((kind, bytes)) = self.head() {
            if kind == *b"idx1" {
                return true;
            }
            if !self.is_of_another(kind) {
                return false;
            }
            self.pass(bytes);
        }
        false
    }

    fn is_of_another(&self, kind: [u8; 4]) -> bool {
        let is_numbered = kind[..2].iter().all(u8::is_ascii_digit) && kind[..2] != self.stream;
        is_numbered || kind == *b"JUNK"
    }

    fn pass(&mut self, bytes: u64) {
        // a chunk of an odd length has a byte more
        self.position += HEAD + bytes + bytes % 2;
    }

    fn head(&mut self) -> Option<([u8; 4], u64)> {
        let head = self.at(self.position, HEAD)?.as_chunks::<4>().0;
        Some((head[0], u32::from_le_bytes(head[1]).into()))
    }

    fn at(&mut self, position: u64, bytes: u64) -> Option<&[u8]> {
        let is_read =
            position >= self.start && position + bytes <= self.start + self.piece.len() as u64;
        if !is_read {
            let end = (position + PIECE).min(self.length);
            self.piece = (self.read)(position..end)?;
            self.start = position;
        }
        let first = (position - self.start) as usize;
        self.piece.get(first..first + bytes as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: &[u8], content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32).to_le_bytes();
        let spare = &[0][..content.len() % 2];
        [kind, length.as_slice(), content, spare].concat()
    }

    /// Whether the chunks of stream 1 are those of `expected` (position, bytes).
    fn agree(file: &[u8], expected: &[(u64, u64)]) -> bool {
        let read = |place: std::ops::Range<u64>| {
            Some(file.get(place.start as usize..place.end as usize)?.to_vec())
        };
        let mut walk = Walk::new(read, file.len() as u64, 1, 0);
        let mut chunks = expected.iter().map(|(position, bytes)| Chunk {
            position: *position,
            bytes: *bytes,
        });
        chunks.all(|chunk| walk.next(chunk, 9).is_some()) && walk.is_over()
    }

    #[test]
    fn chunks_are_held_against_the_index() {
        let file = [
            chunk(b"01dc", b"one"),
            chunk(b"00wb", b"loud"),
            chunk(b"01dc", b"twenty"),
            chunk(b"idx1", b""),
        ];
        let file = file.concat();
        assert!(agree(&file, &[(0, 3), (24, 6)]));
        assert!(!agree(&file, &[(0, 3)]), "one more");
        assert!(!agree(&file, &[(24, 6)]), "one before");
        assert!(!agree(&file, &[(0, 4), (24, 6)]), "another length");
        assert!(!agree(&file, &[(0, 3), (20, 6)]), "another place");
        assert!(!agree(&file[..34], &[(0, 3), (24, 6)]), "cut off");
    }

    #[test]
    fn damaged_files_are_walked_without_a_panic() {
        let sound = [
            chunk(b"01dc", b"one"),
            chunk(b"01dc", b"two"),
            chunk(b"idx1", b""),
        ]
        .concat();
        for place in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[place] ^= 0xff;
            let _ = agree(&damaged, &[(0, 3), (12, 3)]);
            let _ = agree(&sound[..place], &[(0, 3), (12, 3)]);
        }
    }
}
