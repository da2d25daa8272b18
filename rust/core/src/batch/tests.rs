#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use super::{Brain, Clips, Format, Half, Single, split, split_plain};

/// Every level three times, once for each channel, and an odd number of pixels more.
fn levels(pixels: usize) -> Vec<u8> {
    (0..3 * pixels).map(|i| (i * 7 + i / 256) as u8).collect()
}

fn agree<F: Format>(pixels: usize, offset: usize) {
    let source = levels(pixels);
    let table = F::table();
    let mut planes = vec![F::Value::default(); 3 * pixels + offset];
    let mut plain = planes.clone();
    for (out, is_plain) in [(&mut planes, false), (&mut plain, true)] {
        let (r, rest) = out[offset..].split_at_mut(pixels);
        let (g, b) = rest.split_at_mut(pixels);
        if is_plain {
            split_plain::<F>(&source, [r, g, b], &table);
        } else {
            split::<F>(&source, [r, g, b], &table);
        }
    }
    assert_eq!(planes, plain, "{pixels} pixels from {offset}");
}

#[test]
fn fast_and_plain_agree_on_every_level_and_length() {
    for pixels in [0, 1, 15, 16, 17, 47, 64, 255, 256, 1024] {
        for offset in [0, 1, 8] {
            agree::<Single>(pixels, offset);
            agree::<Half>(pixels, offset);
            agree::<Brain>(pixels, offset);
        }
    }
}

#[test]
fn ends_and_a_middle_level_are_known() {
    let table = Single::table();
    assert_eq!((table[0], table[255]), (-1.0, 1.0));
    assert_eq!((Half::table()[0], Half::table()[255]), (0xbc00, 0x3c00));
    assert_eq!((Brain::table()[0], Brain::table()[255]), (0xbf80, 0x3f80));
}

#[test]
fn clips_come_in_order_whatever_the_threads() {
    let (pixels, channels, frames) = (50, 3, 2);
    let video: Vec<u8> = (0..5 * pixels * channels)
        .map(|i| (i % 251) as u8)
        .collect();
    let other: Vec<u8> = video.iter().rev().copied().collect();
    let videos = [&video[..], &other[..], &video[..]];
    let numbers = [0, 4, 1, 1, 3, 2];
    let clips = Clips {
        videos: &videos,
        numbers: &numbers,
        frames,
        pixels,
        channels,
    };
    let bytes = pixels * channels;
    let mut wanted = Vec::new();
    for (i, number) in numbers.iter().enumerate() {
        wanted.extend_from_slice(&videos[i / frames][number * bytes..][..bytes]);
    }
    let table = Single::table();
    for threads in [0, 1, 2, 3, 8] {
        let mut out = vec![0; wanted.len()];
        clips.gather(&mut out, threads).unwrap();
        assert_eq!(out, wanted);
        let mut floats = vec![0.0; wanted.len()];
        clips.normalise::<Single>(&mut floats, threads).unwrap();
        for (i, level) in wanted.iter().enumerate() {
            let (clip, rest) = (i / (frames * bytes), i % (frames * bytes));
            let (t, pixel, c) = (rest / bytes, rest % bytes / channels, rest % channels);
            let at = ((clip * channels + c) * frames + t) * pixels + pixel;
            assert_eq!(floats[at].to_bits(), table[usize::from(*level)].to_bits());
        }
    }
}

#[test]
fn grey_and_four_channels_are_taken_apart_too() {
    for channels in [1, 4] {
        let video: Vec<u8> = (0..20 * channels).map(|i| i as u8).collect();
        let clips = Clips {
            videos: &[&video],
            numbers: &[0],
            frames: 1,
            pixels: 20,
            channels,
        };
        let mut out = vec![0.0; video.len()];
        clips.normalise::<Single>(&mut out, 1).unwrap();
        for (i, level) in video.iter().enumerate() {
            let at = i % channels * 20 + i / channels;
            assert_eq!(
                out[at].to_bits(),
                Single::table()[usize::from(*level)].to_bits()
            );
        }
    }
}

#[test]
fn frames_beyond_the_video_and_wrong_sizes_are_refused() {
    let video = vec![0; 2 * 12];
    let mut clips = Clips {
        videos: &[&video],
        numbers: &[2],
        frames: 1,
        pixels: 4,
        channels: 3,
    };
    let beyond = clips.gather(&mut [0; 12], 1).unwrap_err();
    assert!(beyond.to_string().contains("frame 2 of a video of 2"));
    clips.numbers = &[1];
    assert!(clips.gather(&mut [0; 11], 1).is_err());
    assert!(clips.gather(&mut [0; 12], 1).is_ok());
    clips.frames = usize::MAX;
    assert!(clips.gather(&mut [0; 12], 1).is_err());
    clips.frames = 0;
    clips.numbers = &[];
    assert!(clips.gather(&mut [], 1).is_ok());
}
