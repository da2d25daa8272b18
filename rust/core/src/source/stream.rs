//! A video that is being decoded: packets of the file in, frames in display order out.

use crate::Result;
use crate::av1;
use crate::ffmpeg::{Decoder, Frame, Input, Packet, Received, Settings};
use crate::index::{Entry, Skip};
use crate::limits::check_frame;

/// An open file and its decoder.
pub(crate) struct Stream {
    pub input: Input,
    pub frame: Frame,
    pub settings: Settings,
    decoder: Decoder,
    packet: Packet,
    av1: av1::Reader,
    /// Whether the decoder was given the end of the stream.
    is_fed: bool,
    /// Whether it was given all that the one wanted frame needs.
    is_done: bool,
    damaged_in_a_row: usize,
    /// Times of the frames that are wanted, in order.
    wanted: Vec<i64>,
    /// What is left out of the frames before the last one that is wanted.
    skip: Skip,
    /// Whether a packet gave an error.
    pub is_damaged: bool,
    /// Time and duration of the packet that is shown last of those read.
    pub last_shown: (i64, i64),
}

/// Damaged packets in a row after which decoding stops.
const MAX_DAMAGED: usize = 10_000;

impl Stream {
    /// A decoder for a file of which nothing was read yet.
    pub fn new(input: Input, settings: Settings) -> Result<Self> {
        let decoder = Decoder::open(&input, settings)?;
        let (packet, frame) = (Packet::new(input.path())?, Frame::new(input.path())?);
        Ok(Self {
            input,
            frame,
            settings,
            decoder,
            packet,
            av1: av1::Reader::default(),
            is_fed: false,
            is_done: false,
            damaged_in_a_row: 0,
            wanted: Vec::new(),
            skip: Skip::Nothing,
            is_damaged: false,
            last_shown: (i64::MIN, 0),
        })
    }

    /// Sets the times of the frames that are wanted, in order, and what of the others is left out.
    pub fn want(&mut self, wanted: Vec<i64>, skip: Skip) {
        self.wanted = wanted;
        self.skip = skip;
        self.is_done = false;
    }

    /// Whether frames may be left out.
    pub fn is_skipping(&self) -> bool {
        self.skip != Skip::Nothing
    }

    /// Decodes the next frame into `self.frame`; `false` at the end. Damaged packets give none.
    pub fn next_frame(&mut self) -> Result<bool> {
        loop {
            match self.decoder.receive(&mut self.frame) {
                Received::Frame => {
                    self.damaged_in_a_row = 0;
                    self.input.clock().restart();
                    let (width, height) = self.frame.size();
                    check_frame(self.input.path(), width, height)?;
                    return Ok(true);
                }
                Received::End => return Ok(false),
                Received::Damaged if self.damaged_in_a_row > MAX_DAMAGED => return Ok(false),
                Received::Damaged => {
                    self.is_damaged = true;
                    self.damaged_in_a_row += 1;
                }
                Received::NeedsPacket => {
                    if self.is_fed {
                        return Ok(false);
                    }
                    // what can't be read any more ends the file
                    let is_packet =
                        !self.is_done && self.input.read(&mut self.packet).unwrap_or(false);
                    self.input.check_time()?;
                    self.is_fed = !is_packet;
                    if let Some(pts) = self.packet.pts().filter(|_| is_packet) {
                        self.last_shown = self.last_shown.max((pts, self.packet.duration()));
                    }
                    let is_taken = self.send(is_packet);
                    self.is_damaged |= !is_taken;
                }
            }
        }
    }

    /// Goes to where decoding may start. `is_fresh`: nothing was decoded yet. `false` if there is
    /// no such packet.
    pub fn go_to(&mut self, entry: Entry, is_fresh: bool) -> Result<bool> {
        if is_fresh {
            if self.input.read(&mut self.packet).unwrap_or(false) && self.is_at(entry) {
                self.send(true);
                return Ok(true);
            }
            // x264 says in the first packet how it erred, and the decoder follows suit (4:4:4)
            if self.input.facts.codec() == "h264" {
                self.decoder.send(Some(&self.packet));
            }
        }
        let sought = self.input.seek(entry.dts.unwrap_or(entry.pts));
        if sought.is_err() || !self.find(entry) {
            // containers without an index may land behind: read all packets from the start
            self.input = Input::open_by_trial(self.input.pick())?;
            if !self.find(entry) {
                self.input.check_time()?;
                return Ok(false);
            }
        }
        self.decoder.flush();
        self.is_fed = false;
        self.is_done = false;
        self.send(true);
        Ok(true)
    }

    /// Whether the decoder must begin anew to give other frames.
    pub fn is_over(&self) -> bool {
        self.is_fed
    }

    /// Gives the decoder the packet, or the end of the file.
    fn send(&mut self, is_packet: bool) -> bool {
        // the frames behind the last one may be the first of the next read
        let last = self.wanted.last().copied();
        let is_unwanted =
            |pts| last.is_some_and(|last| pts < last) && self.wanted.binary_search(&pts).is_err();
        let is_spare = is_packet && self.packet.pts().is_some_and(is_unwanted);
        if is_spare && self.skip == Skip::Packets {
            return true;
        }
        if is_packet && self.skip == Skip::Unreferenced {
            // all are looked at: they tell how to read those that follow
            let needed = self.av1.needed(self.packet.bytes());
            if is_spare && needed == 0 {
                return true;
            }
            if is_spare {
                self.packet.truncate(needed);
            }
        }
        // a lone frame where decoding may start needs no other; the decoder would hold it back to see
        // whether one is shown before it
        self.is_done = is_packet
            && self.is_skipping()
            && self.packet.is_key()
            && self.wanted.first() == self.wanted.last()
            && last.is_some_and(|last| self.packet.pts() == Some(last));
        let is_skipping = is_spare && self.skip == Skip::NonReference;
        self.decoder.skip_non_reference(is_skipping);
        self.decoder.send(is_packet.then_some(&self.packet))
    }

    /// Reads packets up to the entry; `false` if they go past it.
    fn find(&mut self, entry: Entry) -> bool {
        while self.input.read(&mut self.packet).unwrap_or(false) {
            self.input.clock().restart();
            if self.is_at(entry) {
                return true;
            }
            if self.packet.is_key() && self.packet.pts().is_some_and(|pts| pts > entry.pts) {
                return false;
            }
        }
        false
    }

    fn is_at(&self, entry: Entry) -> bool {
        self.packet.is_key() && self.packet.pts() == Some(entry.pts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::shared;
    use crate::source::Pick;
    use crate::tables::track_of;

    /// Numbers of the frames that are decoded for every `stride`-th one, with the table's way to
    /// leave others out or with none; `None` where the file is not there.
    fn decoded(name: &str, stride: usize, is_skipping: bool) -> Result<Option<Vec<usize>>> {
        let Some(path) = shared(name) else {
            return Ok(None);
        };
        let pick = Pick {
            path: &path,
            stream: None,
        };
        let (_, track) = track_of(pick)?;
        let index = &track.index;
        let mut stream = Stream::new(track.open(pick, None)?, Settings::PLAIN)?;
        let skip = if is_skipping {
            index.skip
        } else {
            Skip::Nothing
        };
        stream.want(index.times.iter().copied().step_by(stride).collect(), skip);
        let mut numbers = Vec::new();
        while stream.next_frame()? {
            let pts = stream.frame.pts();
            numbers.extend(pts.and_then(|pts| index.number_at(pts, 0)));
            if pts == stream.wanted.last().copied() {
                break;
            }
        }
        assert!(!stream.is_damaged, "{name}");
        Ok(Some(numbers))
    }

    #[test]
    fn frames_that_no_wanted_one_needs_are_not_decoded() -> Result<()> {
        for name in [
            "nasa_av1.mp4",
            "nasa_vfr_h264.mp4",
            "nasa_opengop_offset.ts",
            "nasa_hevc_main10.mp4",
            "nasa_mjpeg.avi",
        ] {
            let (all, some) = (decoded(name, 16, false)?, decoded(name, 16, true)?);
            let (Some(all), Some(some)) = (all, some) else {
                return Ok(());
            };
            assert!(all.iter().copied().eq(0..all.len()), "{name}");
            assert!(some.is_sorted_by(|a, b| a < b), "{name}");
            assert!(
                (0..all.len()).step_by(16).all(|i| some.contains(&i)),
                "{name}"
            );
            // a third and more of these files' frames are no other one's reference
            let counts = (some.len(), all.len());
            assert!(3 * counts.0 < 2 * counts.1, "{name}: {counts:?}");
        }
        Ok(())
    }

    #[test]
    fn a_decoder_goes_on_behind_a_lone_frame() -> Result<()> {
        let Some(path) = shared("nasa_mjpeg.avi") else {
            return Ok(());
        };
        let pick = Pick {
            path: &path,
            stream: None,
        };
        let (_, track) = track_of(pick)?;
        let index = &track.index;
        let mut stream = Stream::new(track.open(pick, None)?, Settings::PLAIN)?;
        for number in [0, 3] {
            let time = index.times[number];
            stream.want(vec![time], index.skip);
            assert!(stream.next_frame()?, "frame {number}");
            assert_eq!(stream.frame.pts(), Some(time));
        }
        Ok(())
    }
}
