//! Where in a GIF file its frames are, and how they are to be shown.

use std::ops::Range;

const NETSCAPE: &[u8] = b"NETSCAPE2.0";
const TOO_SHORT: &str = "the file ends too early";

/// What the header says.
#[derive(Debug)]
pub struct Screen {
    pub width: usize,
    pub height: usize,
    /// The colours of frames without their own.
    pub table: Range<usize>,
    pub background: usize,
    /// Where the frames begin.
    end: usize,
}

/// A file's frames.
#[derive(Debug)]
pub struct Layout {
    pub screen: Screen,
    pub frames: Vec<Frame>,
    pub repeat: Option<u16>,
}

/// What is done with a frame before the next is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposal {
    Keep,
    Wipe,
    Restore,
}

/// One frame.
#[derive(Debug)]
pub struct Frame {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
    pub is_interlaced: bool,
    /// Its own colours; empty where it has none.
    pub table: Range<usize>,
    pub transparent: Option<u8>,
    pub disposal: Disposal,
    pub delay: u16,
    /// Code size and blocks.
    pub data: Range<usize>,
}

/// Reads the header.
pub fn screen(bytes: &[u8]) -> Result<Screen, String> {
    let wrong = |fault: &str| format!("header: {fault}");
    if !bytes.starts_with(b"GIF87a") && !bytes.starts_with(b"GIF89a") {
        return Err(wrong("not a GIF"));
    }
    let mut reader = Reader { bytes, at: 6 };
    let mut read = || {
        let (width, height) = (reader.short()?, reader.short()?);
        let (flags, background) = (reader.byte()?, reader.byte()?);
        reader.byte()?;
        let table = reader.table(flags)?;
        Some(Screen {
            width,
            height,
            background: usize::from(background),
            end: table.end,
            table,
        })
    };
    read().ok_or_else(|| wrong(TOO_SHORT))
}

/// Walks over all blocks. Many writers leave out the trailer: the file may end where a block does.
pub fn walk(bytes: &[u8], screen: Screen, most_frames: usize) -> Result<Layout, String> {
    let mut reader = Reader {
        bytes,
        at: screen.end,
    };
    let mut layout = Layout {
        screen,
        frames: Vec::new(),
        repeat: None,
    };
    let mut control = Control::default();
    while let Some(kind) = reader.byte() {
        let number = layout.frames.len();
        let wrong = |fault: &str| format!("frame {number}: {fault}");
        match kind {
            b';' => break,
            b'!' => {
                let read = reader.extension(&mut control, &mut layout.repeat);
                read.ok_or_else(|| wrong(TOO_SHORT))?;
            }
            b',' if number == most_frames => return Err(format!("more than {most_frames} frames")),
            b',' => {
                let frame = reader.frame(&control).ok_or_else(|| wrong(TOO_SHORT))?;
                if frame.width == 0 || frame.height == 0 {
                    return Err(wrong("no pixels"));
                }
                let Screen { width, height, .. } = layout.screen;
                if frame.left + frame.width > width || frame.top + frame.height > height {
                    return Err(wrong("reaches out of the canvas"));
                }
                layout.frames.push(frame);
                control = Control::default();
            }
            other => return Err(wrong(&format!("unknown block {other:#04x}"))),
        }
    }
    if layout.frames.is_empty() {
        return Err("no frames".to_owned());
    }
    Ok(layout)
}

/// What an extension says of the frame that follows.
#[derive(Default)]
struct Control {
    flags: u8,
    delay: u16,
    transparent: u8,
}

/// A place in the file; each of its functions is `None` where the file ends.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at + count)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn short(&mut self) -> Option<usize> {
        let pair = self.take(2)?;
        Some(usize::from(pair[0]) | usize::from(pair[1]) << 8)
    }

    fn table(&mut self, flags: u8) -> Option<Range<usize>> {
        let start = self.at;
        if flags & 0x80 != 0 {
            self.take(3 << ((flags & 7) + 1))?;
        }
        Some(start..self.at)
    }

    /// Skips blocks and the empty one at their end.
    fn blocks(&mut self) -> Option<()> {
        loop {
            match self.byte()? {
                0 => return Some(()),
                size => self.take(usize::from(size))?,
            };
        }
    }

    fn extension(&mut self, control: &mut Control, repeat: &mut Option<u16>) -> Option<()> {
        let kind = self.byte()?;
        let start = self.at;
        self.blocks()?;
        let blocks = &self.bytes[start..self.at];
        match (kind, blocks) {
            (0xf9, [4, flags, low, high, transparent, ..]) => {
                *control = Control {
                    flags: *flags,
                    delay: u16::from_le_bytes([*low, *high]),
                    transparent: *transparent,
                };
            }
            (0xff, [11, name @ ..]) if name.starts_with(NETSCAPE) => {
                if let [3, 1, low, high, ..] = name[NETSCAPE.len()..] {
                    repeat.get_or_insert(u16::from_le_bytes([low, high]));
                }
            }
            _ => {}
        }
        Some(())
    }

    fn frame(&mut self, control: &Control) -> Option<Frame> {
        let (left, top) = (self.short()?, self.short()?);
        let (width, height) = (self.short()?, self.short()?);
        let flags = self.byte()?;
        let table = self.table(flags)?;
        let start = self.at;
        self.byte()?;
        self.blocks()?;
        Some(Frame {
            left,
            top,
            width,
            height,
            is_interlaced: flags & 0x40 != 0,
            table,
            transparent: (control.flags & 1 != 0).then_some(control.transparent),
            disposal: match control.flags >> 2 & 7 {
                2 => Disposal::Wipe,
                3 => Disposal::Restore,
                _ => Disposal::Keep,
            },
            delay: control.delay,
            data: start..self.at,
        })
    }
}
