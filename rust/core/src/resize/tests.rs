use super::rows::{mix_columns_plain, mix_rows_plain};
use super::*;

/// Numbers below `end` that look random.
fn noise(count: usize, end: u32) -> Vec<u16> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) % end) as u16
    };
    (0..count).map(|_| next()).collect()
}

fn span(real: usize, out: usize) -> Span {
    Span {
        canvas: real + 4,
        pad: 2,
        first: 0,
        real,
        out,
    }
}

#[test]
fn wide_and_plain_rows_are_equal() {
    let words = noise(5 * 83, 1 << 15);
    let bytes: Vec<u8> = words.iter().map(|word| *word as u8).collect();
    let mix = Mix {
        from: 0,
        weights: &[3000, 4000, 384, 5000, 4000],
        init: 64,
        shift: 14,
    };
    let mut out = [vec![0; 83], vec![1; 83]];
    let rows: Vec<&[u8]> = bytes.chunks(83).collect();
    mix_rows(&rows, &mix, &mut out[0]);
    mix_rows_plain(&rows, &mix, &mut out[1]);
    assert_eq!(out[0], out[1]);
    let rows: Vec<&[u16]> = words.chunks(83).collect();
    mix_rows(&rows, &mix, &mut out[0]);
    mix_rows_plain(&rows, &mix, &mut out[1]);
    assert_eq!(out[0], out[1]);
}

#[test]
fn wide_and_plain_columns_are_equal() {
    for (real, out) in [
        (97, 41),
        (400, 13),
        (9, 70),
        (2000, 9),
        (320, 256),
        (90, 46),
    ] {
        let weights = Weights::new(Filter::Bilinear, span(real, out), Grid::full(real), 2048);
        let mut row: Vec<i16> = noise(real, 1 << 15).iter().map(|n| *n as i16).collect();
        row.resize(weights.row_length(), 0);
        let mut made = [0, 1].map(|start| vec![start; out.next_multiple_of(BLOCK)]);
        mix_columns(&row, &weights, &mut made[0]);
        mix_columns_plain(&row, &weights, &mut made[1]);
        assert_eq!(made[0], made[1], "{real} to {out}");
    }
}

#[test]
fn wide_and_plain_colors_are_equal() {
    let samples: Vec<i16> = noise(3 * 50, 1 << 15).iter().map(|n| *n as i16).collect();
    let rows = [&samples[..50], &samples[50..100], &samples[100..]];
    let matrix = Matrix::new([0.299, 0.114], false, 8);
    let mut made = [vec![0; 150], vec![1; 150]];
    color::to_rgb(rows, Some(&matrix), &mut made[0]);
    color::to_rgb_plain(rows, Some(&matrix), &mut made[1]);
    assert_eq!(made[0], made[1]);
}

#[test]
fn pictures_at_their_own_size_are_those_of_the_passes() {
    let cases = [
        (64, 128, 2, [0, 0]),
        (75, 0, 1, [2, 4]),
        (9, 128, 2, [1, 2]),
    ];
    for (width, place, row_step, [top, left]) in cases {
        let size = [13, width];
        let grid = |samples: usize, step, place| Grid {
            samples: samples.div_ceil(step),
            step,
            place,
        };
        let chroma = [grid(13, row_step, 64), grid(width, 2, place)];
        let colors = Colors::Yuv {
            matrix: Matrix::new([0.299, 0.114], false, 8),
            chroma,
            is_joined: false,
        };
        let span = |first, total| Span {
            canvas: total - first - 1,
            pad: 0,
            first,
            real: total - first - 1,
            out: total - first - 1,
        };
        let spans = [span(top, 13), span(left, width)];
        let resize = Resize::new(Format { depth: 8, colors }, size, Filter::Bilinear, spans);
        let samples: Vec<u8> = noise(3 * 13 * width, 256)
            .iter()
            .map(|n| *n as u8)
            .collect();
        let plane = |from: usize, [rows, cols]: [usize; 2]| {
            Rows::Bytes(samples[from..].chunks_exact(cols).take(rows).collect())
        };
        let small = chroma.map(|grid| grid.samples);
        let picture = [plane(0, size), plane(7, small), plane(13 * width, small)];
        let bytes = 3 * spans[0].out * spans[1].out;
        let mut made = [vec![0; bytes], vec![1; bytes]];
        resize.show(&picture, &mut Scratch::default(), &mut made[0]);
        resize.show_by_passes(&picture, &mut Scratch::default(), &mut made[1]);
        assert_eq!(made[0], made[1], "{width}");
        #[cfg(target_arch = "x86_64")]
        assert_eq!(resize.native.is_some(), is_x86_feature_detected!("avx2"));
    }
}

#[test]
fn weights_add_up_to_one() {
    for filter in [Filter::Bilinear, Filter::Area] {
        let grid = Grid {
            samples: 50,
            step: 2,
            place: 128,
        };
        let weights = Weights::new(filter, span(99, 37), grid, 0);
        for i in 0..37 {
            let (_, values) = weights.row(i);
            let sum: i32 = values.iter().map(|value| i32::from(*value)).sum();
            assert_eq!(sum + weights.fills[i], ONE, "{filter:?}, pixel {i}");
        }
    }
}

#[test]
fn white_and_black_are_exact() {
    for (is_full_range, black, white) in [(false, 16, 235), (true, 0, 255)] {
        let matrix = Matrix::new([0.2126, 0.0722], is_full_range, 8);
        let row = |value: i16| [value << POINT; 3];
        let luma = [row(black)[0], row(white)[0], row(black)[0]];
        let mut out = [7; 9];
        color::to_rgb([&luma, &row(128), &row(128)], Some(&matrix), &mut out);
        assert_eq!(out, [0, 0, 0, 255, 255, 255, 0, 0, 0]);
    }
}
