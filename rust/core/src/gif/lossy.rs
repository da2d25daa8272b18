//! LZW that takes a nearby colour where that makes a string longer.

use super::lzw::{Cell, Coder, LEFT_OUT, MAX_CODES, SAME};
use super::palette::Palette;

/// Squared distance that a colour may be off, for each step of `lossy`.
const SQUARE_PER_STEP: i32 = 10;

/// The image data of a frame whose colours may be off.
pub fn compress(cells: &[Cell], palette: &Palette, lossy: u8) -> Vec<u8> {
    let mut writer = Writer {
        coder: Coder::new(palette.bits().max(2)),
        tree: Tree::new(),
        colors: palette.colors(),
        keeps: palette.has_transparent(),
        most: i32::from(lossy) * SQUARE_PER_STEP,
        owed: [0; 3],
    };
    let mut string = None;
    for cell in cells {
        string = Some(match string {
            None => u32::from(writer.exact(*cell)),
            Some(string) => writer.push(string, *cell),
        });
    }
    writer.coder.finish(string)
}

struct Writer<'a> {
    coder: Coder,
    tree: Tree,
    colors: &'a [[u8; 3]],
    /// Entry 0 leaves the pixel as it is.
    keeps: bool,
    most: i32,
    /// How far the last pixel was off; the next makes up for half of it.
    owed: [i32; 3],
}

impl Writer<'_> {
    fn exact(&self, cell: Cell) -> u8 {
        if self.keeps && cell & SAME != 0 {
            LEFT_OUT
        } else {
            cell as u8
        }
    }

    /// The string after one more cell.
    fn push(&mut self, string: u32, cell: Cell) -> u32 {
        if let Some(longer) = self.longer(string, cell) {
            return longer;
        }
        self.owed = [0; 3];
        let entry = self.exact(cell);
        match self.coder.find(string, entry) {
            Ok(longer) => longer,
            Err(slot) => {
                match self.coder.end_string(string, entry, slot) {
                    Some(code) => self.tree.add(string, code, entry),
                    None => self.tree = Tree::new(),
                }
                u32::from(entry)
            }
        }
    }

    /// The kept string that goes on with the colour nearest to the cell's, if one is near enough.
    fn longer(&mut self, string: u32, cell: Cell) -> Option<u32> {
        if self.keeps && cell & SAME != 0 {
            let longer = self.coder.find(string, LEFT_OUT).ok()?;
            self.owed = [0; 3];
            return Some(longer);
        }
        let color = self.colors[usize::from(cell as u8)];
        let off = |entry: u8| {
            let shown = self.colors[usize::from(entry)];
            [0, 1, 2].map(|axis| i32::from(color[axis]) - i32::from(shown[axis]))
        };
        let square = |off: [i32; 3]| off.iter().map(|v| v * v).sum::<i32>();
        let owed = |off: [i32; 3]| [0, 1, 2].map(|axis| off[axis] + self.owed[axis] / 2);
        let is_near = |entry: u8| {
            let is_color = !(self.keeps && entry == LEFT_OUT);
            is_color && square(off(entry)) <= self.most
        };
        let near = self.tree.after(string).filter(|(_, entry)| is_near(*entry));
        let (code, entry) = near.min_by_key(|(code, entry)| (square(owed(off(*entry))), *code))?;
        let owed = owed(off(entry));
        self.owed = owed;
        Some(code)
    }
}

/// Which strings go on, and how.
struct Tree {
    first: Vec<u16>,
    /// Another string that goes on from the same one, and the entry at its end.
    next: Vec<(u16, u8)>,
}

impl Tree {
    fn new() -> Self {
        Self {
            first: vec![0; MAX_CODES as usize],
            next: vec![(0, 0); MAX_CODES as usize],
        }
    }

    fn add(&mut self, string: u32, code: u32, entry: u8) {
        let first = &mut self.first[string as usize];
        self.next[code as usize] = (*first, entry);
        *first = code as u16;
    }

    /// Code and last entry of the strings that are `string` and one more.
    fn after(&self, string: u32) -> impl Iterator<Item = (u32, u8)> {
        let mut code = self.first[string as usize];
        std::iter::from_fn(move || {
            let (next, entry) = self.next[usize::from(code)];
            let found = (code > 0).then_some((u32::from(code), entry));
            code = next;
            found
        })
    }
}
