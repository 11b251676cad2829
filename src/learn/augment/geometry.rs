//! Turning pictures and putting them together; the mask goes wherever its picture goes.

use super::Picture;

/// Rotates about the centre, counter-clockwise, keeping the size. Colours are interpolated linearly, the mask takes the
/// nearest pixel; beyond the border lies the mirrored picture, without its outermost pixel (`d c b | a b c d | c b a`).
pub(super) fn rotate(picture: &Picture, degrees: f64) -> Picture {
    let Picture { width, height, channels, .. } = *picture;
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (centre_x, centre_y) = ((width as f64 - 1.0) / 2.0, (height as f64 - 1.0) / 2.0);
    let mut data = Vec::with_capacity(picture.data.len());
    let mut defect = Vec::with_capacity(picture.defect.len());
    for y in 0..height {
        for x in 0..width {
            let (dx, dy) = (x as f64 - centre_x, y as f64 - centre_y);
            let (from_x, from_y) = (cos * dx - sin * dy + centre_x, sin * dx + cos * dy + centre_y);
            let (left, top) = (from_x.floor(), from_y.floor());
            let (right_share, lower_share) = (from_x - left, from_y - top);
            let columns = [mirrored(left as isize, width), mirrored(left as isize + 1, width)];
            let rows = [mirrored(top as isize, height), mirrored(top as isize + 1, height)];
            for channel in 0..channels {
                let level = |row: usize, column: usize| {
                    f64::from(picture.data[(rows[row] * width + columns[column]) * channels + channel])
                };
                let upper = level(0, 0) + right_share * (level(0, 1) - level(0, 0));
                let lower = level(1, 0) + right_share * (level(1, 1) - level(1, 0));
                data.push((upper + lower_share * (lower - upper)).round() as u8);
            }
            let nearest = |share: f64| usize::from(share >= 0.5);
            defect.push(picture.defect[rows[nearest(lower_share)] * width + columns[nearest(right_share)]]);
        }
    }
    Picture { width, height, channels, data, defect }
}

/// Index `i` mirrored into `0 .. n`, the outermost one not repeated.
fn mirrored(i: isize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let period = 2 * (n - 1);
    let i = i.rem_euclid(period as isize) as usize;
    if i < n { i } else { period - i }
}

/// Turns by 90° counter-clockwise, `turns` times.
pub(super) fn quarter_turns(picture: Picture, turns: usize) -> Picture {
    let Picture { width, height, channels, .. } = picture;
    let from: Box<dyn Fn(usize, usize) -> usize> = match turns % 4 {
        0 => return picture,
        1 => Box::new(move |x, y| x * width + width - 1 - y),
        2 => Box::new(move |x, y| (height - 1 - y) * width + width - 1 - x),
        _ => Box::new(move |x, y| (height - 1 - x) * width + y),
    };
    let (new_width, new_height) = if turns % 2 == 1 { (height, width) } else { (width, height) };
    let mut data = Vec::with_capacity(picture.data.len());
    let mut defect = Vec::with_capacity(picture.defect.len());
    for y in 0..new_height {
        for x in 0..new_width {
            let at = from(x, y);
            data.extend_from_slice(&picture.data[at * channels..(at + 1) * channels]);
            defect.push(picture.defect[at]);
        }
    }
    Picture { width: new_width, height: new_height, channels, data, defect }
}

/// Four pictures two by two on a black ground, each quarter as large as the first.
pub(super) fn mosaic(pictures: &[Picture; 4]) -> Picture {
    let (part_width, part_height) = (pictures[0].width, pictures[0].height);
    let (width, height, channels) = (2 * part_width, 2 * part_height, 3);
    let mut data = vec![0; width * height * channels];
    let mut defect = vec![false; width * height];
    for (index, picture) in pictures.iter().enumerate() {
        let (left, top) = (index % 2 * part_width, index / 2 * part_height);
        // A larger picture reaches into the quarters after it, which are then put over it.
        for y in 0..picture.height.min(height - top) {
            for x in 0..picture.width.min(width - left) {
                let from = y * picture.width + x;
                let to = (top + y) * width + left + x;
                let pixel = &picture.data[from * picture.channels..(from + 1) * picture.channels];
                for (channel, level) in data[to * channels..(to + 1) * channels].iter_mut().enumerate() {
                    *level = pixel[channel.min(picture.channels - 1)];
                }
                defect[to] = picture.defect[from];
            }
        }
    }
    Picture { width, height, channels, data, defect }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: usize, height: usize) -> Picture {
        let data = (0..width * height).map(|i| i as u8).collect();
        Picture { width, height, channels: 1, data, defect: (0..width * height).map(|i| i % 3 == 0).collect() }
    }

    #[test]
    fn quarter_turns_go_round() {
        let once = quarter_turns(numbered(3, 2), 1);
        assert_eq!((once.width, once.height), (2, 3));
        assert_eq!(once.data, [2, 5, 1, 4, 0, 3]);
        assert_eq!(quarter_turns(numbered(3, 2), 2).data, [5, 4, 3, 2, 1, 0]);
        assert_eq!(quarter_turns(once.clone(), 2), quarter_turns(numbered(3, 2), 3));
        assert_eq!(quarter_turns(once, 3), numbered(3, 2));
    }

    #[test]
    fn a_rotation_by_90_is_a_quarter_turn_and_by_0_nothing() {
        assert_eq!(rotate(&numbered(5, 5), 0.0), numbered(5, 5));
        assert_eq!(rotate(&numbered(5, 5), 90.0), quarter_turns(numbered(5, 5), 1));
        let indices: Vec<usize> = (-4..7).map(|i| mirrored(i, 3)).collect();
        assert_eq!(indices, [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]);
        assert_eq!(mirrored(-3, 1), 0);
    }

    #[test]
    fn a_mosaic_has_four_quarters_of_the_first_size() {
        let made = mosaic(&[numbered(2, 1), numbered(3, 2), numbered(1, 1), numbered(2, 1)]);
        assert_eq!((made.width, made.height, made.channels), (4, 2, 3));
        let grey: Vec<u8> = made.data.iter().step_by(3).copied().collect();
        assert_eq!(grey, [0, 1, 0, 1, 0, 0, 0, 1]);
        assert_eq!(made.defect, [true, false, true, false, true, false, true, false]);
    }
}
