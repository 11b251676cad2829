//! A file with less than a whole picture is no picture: every kind of file, cut, holed and mended in ways that decoders
//! pass over without a word.

use std::path::{Path, PathBuf};

use vcp_line::source::image_file::{from_bytes, load, whole_jpeg};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images")
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).unwrap()
}

fn all(ending: &str) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = files.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    assert!(!names.is_empty(), "no {ending}");
    names.into_iter().map(|name| (name.clone(), fixture(&name))).collect()
}

/// Where the data of the first scan begins.
fn scan(jpeg: &[u8]) -> usize {
    let header = jpeg.windows(2).position(|marker| marker == [0xFF, 0xDA]).unwrap();
    header + 2 + usize::from(u16::from_be_bytes([jpeg[header + 2], jpeg[header + 3]]))
}

/// How many beginnings of the file still give its picture; one that gives another picture fails.
fn beginnings(name: &str, whole: &[u8]) -> usize {
    let picture = from_bytes(whole).unwrap_or_else(|reason| panic!("{name}: {reason}"));
    let mut same = 0;
    for length in 0..whole.len() {
        match from_bytes(&whole[..length]) {
            Ok(found) => {
                assert!(found == picture, "{name} cut to {length} of {} bytes is another picture", whole.len());
                same += 1;
            }
            Err(reason) => assert!(!reason.is_empty()),
        }
    }
    same
}

#[test]
fn no_beginning_of_a_jpeg_or_png_is_a_picture() {
    for (name, whole) in all(".jpg").into_iter().chain(all(".png")) {
        assert_eq!(beginnings(&name, &whole), 0, "{name}");
    }
}

#[test]
fn a_beginning_of_another_file_lacks_nothing_or_is_refused() {
    for (name, whole) in all(".bmp").into_iter().chain(all(".webp")).chain(all(".tif")) {
        let same = beginnings(&name, &whole);
        // The second page of a TIFF is no part of its picture; rows of a BMP, and a RIFF of odd length, are filled up.
        let spare = if name == "pages.tif" { whole.len() * 2 / 3 } else { 3 };
        assert!(same <= spare, "{name}: {same} beginnings give the picture");
    }
}

/// The kind of the damage that a camera's or a copy's broken connection leaves when the end is written all the same.
#[test]
fn a_jpeg_whose_data_breaks_off_before_its_end_marker_is_refused() {
    for (name, whole) in all(".jpg") {
        let picture = from_bytes(&whole).unwrap();
        let mut same = 0;
        for length in scan(&whole)..whole.len() - 2 {
            let mended = [&whole[..length], &[0xFF, 0xD9]].concat();
            if let Ok(found) = from_bytes(&mended) {
                assert!(found == picture, "{name} cut to {length} and ended is another picture");
                same += 1;
            }
        }
        assert!(same <= 1, "{name}: {same}");
    }
}

#[test]
fn a_jpeg_says_how_much_of_it_is_there() {
    let whole = fixture("rgb.jpg");
    let half = [&whole[..scan(&whole) + 100], &[0xFF, 0xD9]].concat();
    let reason = from_bytes(&half).unwrap_err();
    assert!(reason.starts_with("is damaged: ") && reason.contains(" of 6 blocks of a scan are there"), "{reason}");
    let cut = from_bytes(&whole[..whole.len() - 2]).unwrap_err();
    assert_eq!(cut, "is damaged: the file ends before the picture does; copy or save it again");
}

#[test]
fn bytes_lost_inside_a_jpeg_are_noticed() {
    for (name, whole) in all(".jpg") {
        let from = scan(&whole);
        let mut noticed = 0;
        let places: Vec<_> = (from..whole.len() - 60).step_by(5).collect();
        for &at in &places {
            let holed = [&whole[..at], &whole[at + 40..]].concat();
            noticed += usize::from(from_bytes(&holed).is_err());
        }
        // In a picture this small as many blocks may come out as there were, by chance.
        assert!(noticed * 2 > places.len(), "{name}: {noticed} of {}", places.len());
    }
}

#[test]
fn a_restart_marker_that_is_missing_or_out_of_turn_is_noticed() {
    let whole = fixture("restarts.jpg");
    let from = scan(&whole);
    let markers: Vec<_> =
        (from..whole.len() - 1).filter(|&at| whole[at] == 0xFF && (0xD0..=0xD7).contains(&whole[at + 1])).collect();
    assert_eq!(markers.len(), 2);
    for &at in &markers {
        let without = [&whole[..at], &whole[at + 2..]].concat();
        assert!(from_bytes(&without).is_err(), "{at}");
        let mut other = whole.clone();
        other[at + 1] ^= 4;
        assert!(from_bytes(&other).is_err(), "{at}");
    }
    let part = [&whole[..markers[0]], &whole[markers[1]..]].concat();
    assert!(from_bytes(&part).is_err());
}

#[test]
fn what_follows_a_jpeg_or_lies_inside_its_headers_is_no_part_of_it() {
    let whole = fixture("progressive.jpg");
    let picture = from_bytes(&whole).unwrap();
    for after in [&b"\0\0\0"[..], b"\r\n", &whole, b"trailing \xFF\xD8\xFF"] {
        assert_eq!(from_bytes(&[&whole, after].concat()).unwrap(), picture);
    }
    // A thumbnail is a whole picture of its own: its end is not the picture's.
    let thumbnail = [b"Exif\0\0", &fixture("grey.jpg")[..]].concat();
    let length = (thumbnail.len() as u16 + 2).to_be_bytes();
    let header = [&whole[..2], &[0xFF, 0xE1], &length, &thumbnail].concat();
    let with = [&header[..], &whole[2..]].concat();
    assert_eq!(from_bytes(&with).unwrap(), picture);
    for length in [header.len(), header.len() + 100, with.len() - 200] {
        assert!(from_bytes(&with[..length]).is_err(), "{length}");
    }
    // Filling bytes before a marker, and a few bytes of an encoder that pads its data.
    let end = whole.len() - 2;
    for padding in [&[0xFF, 0xFF, 0xFF][..], &[0; 300], &[0x55; 4]] {
        assert_eq!(from_bytes(&[&whole[..end], padding, &whole[end..]].concat()).unwrap(), picture, "{padding:?}");
    }
}

#[test]
fn a_scan_that_is_left_out_is_noticed() {
    let whole = fixture("progressive.jpg");
    let scans: Vec<_> = (0..whole.len() - 1).filter(|&at| whole[at..at + 2] == [0xFF, 0xDA]).collect();
    assert!(scans.len() > 5);
    for pair in scans.windows(2) {
        assert!(whole_jpeg(&[&whole[..pair[0]], &whole[pair[1]..]].concat()).is_err());
    }
}

#[test]
fn a_png_is_checked_chunk_by_chunk() {
    let whole = fixture("rgb16.png");
    let data = whole.windows(4).position(|kind| kind == b"IDAT").unwrap();
    for at in [data + 20, data + 60, whole.len() - 20] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        let reason = from_bytes(&flipped).unwrap_err();
        assert_eq!(reason, "is damaged: the checksum of its IDAT chunk is wrong; copy or save it again");
    }
    assert!(from_bytes(&[&whole[..], b"more"].concat()).is_ok());
}

/// The place of a tag's entry in a little-endian classic TIFF.
fn entry(tiff: &[u8], tag: u16) -> usize {
    let at = u32::from_le_bytes(*tiff[4..].first_chunk().unwrap()) as usize;
    let count = usize::from(u16::from_le_bytes(*tiff[at..].first_chunk().unwrap()));
    (0..count).map(|entry| at + 2 + entry * 12).find(|&at| tiff[at..at + 2] == tag.to_le_bytes()).unwrap()
}

#[test]
fn a_strip_that_is_not_all_there_is_noticed() {
    for (name, whole) in all(".tif") {
        if name == "big.tif" {
            continue;
        }
        let counts = entry(&whole, 279);
        for count in [0u32, u32::MAX] {
            let mut other = whole.clone();
            other[counts + 8..counts + 12].copy_from_slice(&count.to_le_bytes());
            // Several strips have their counts elsewhere.
            if whole[counts + 4] == 1 {
                assert!(from_bytes(&other).unwrap_err().contains("strip or tile 0 of 1"), "{name}");
            }
        }
    }
    // Data that ends inside a strip of the right length: the decoder takes what it finds.
    for name in ["jpeg.tif", "grey_jpeg.tif", "deflate_predictor.tif", "rgb_lzw.tif", "packbits.tif", "fax.tif"] {
        let whole = fixture(name);
        let value = |tag| u32::from_le_bytes(*whole[entry(&whole, tag) + 8..].first_chunk().unwrap()) as usize;
        let (from, length) = (value(273), value(279));
        let mut hollow = whole.clone();
        hollow[from + length / 2..from + length].fill(0);
        assert!(from_bytes(&hollow).is_err(), "{name}");
    }
}

/// Found by fuzzing: depths that the decoder takes and nobody writes, and tags that another reader sees otherwise.
#[test]
fn a_tiff_of_an_odd_depth_is_refused_by_name() {
    let whole = fixture("grey.tif");
    let bits = entry(&whole, 258);
    for depth in [0, 3, 5, 7, 12, 14, 24, 32, 64, 255] {
        let mut other = whole.clone();
        other[bits + 8] = depth;
        let reason = from_bytes(&other).unwrap_err();
        assert!(!reason.contains("panicked"), "{depth}: {reason}");
        if [3, 5, 7].contains(&depth) {
            assert_eq!(reason, format!("has {depth} bits a channel; save it with 8 or 16"));
        }
    }
    // The number of the depth as bytes, and as a number too large for the tag.
    for kind in [1, 4, 16] {
        for width in [2, 4] {
            let mut other = whole.clone();
            other[bits + 2] = kind;
            other[bits + 8..bits + 8 + width].fill(255);
            assert!(from_bytes(&other).is_err(), "{kind} {width}");
        }
    }
}

#[test]
fn a_tiff_of_no_pixels_is_refused() {
    for name in ["grey1.tif", "rgb.tif", "fax.tif", "palette.tif", "grey16.tif"] {
        let Some(whole) = std::fs::read(fixtures().join(name)).ok() else { continue };
        for tag in [256, 257] {
            let mut empty = whole.clone();
            let at = entry(&empty, tag);
            empty[at + 8..at + 12].fill(0);
            let reason = from_bytes(&empty).expect_err("no pixels");
            assert!(reason.starts_with("is damaged: it says that it has "), "{name}, tag {tag}: {reason}");
        }
    }
}

/// The decoder (tiff 0.11.3) prints on standard error when it refuses such a text, so it must not see it.
#[test]
fn a_tiff_with_a_text_longer_than_the_file_is_damaged() {
    let mut tiff = fixture("rgb.tif");
    let at = entry(&tiff, 259);
    tiff[at + 2..at + 8].copy_from_slice(&[2, 0, 0xFF, 0xFF, 0xFF, 0x7F]);
    assert!(from_bytes(&tiff).expect_err("too long").contains("the file ends before the picture does"));
}

/// A BMP of 8-bit indices, run-length coded: rows of 6 pixels from the bottom up.
fn run_length_coded(data: &[u8]) -> Vec<u8> {
    let palette: Vec<u8> = (0..=255u8).flat_map(|level| [level, level / 2, 0, 0]).collect();
    let start = 54 + palette.len() as u32;
    let numbers = [40, 6, 4, 1 | 8 << 16, 1, data.len() as u32, 0, 0, 256, 0].map(u32::to_le_bytes).concat();
    let file = [start + data.len() as u32, 0, start].map(u32::to_le_bytes).concat();
    [b"BM", &file[..], &numbers, &palette, data].concat()
}

#[test]
fn a_run_length_coded_bmp_is_whole_or_refused() {
    // Runs, a literal stretch of odd length, a jump, and the end.
    let data = [6, 9, 0, 0, 0, 3, 1, 2, 3, 0, 3, 7, 0, 0, 6, 4, 0, 0, 2, 1, 4, 2, 0, 1];
    let whole = run_length_coded(&data);
    assert_eq!(from_bytes(&whole).unwrap().rgb_at(0, 3), [0, 4, 9]);
    assert_eq!(beginnings("run-length coded", &whole), 0);
}

#[test]
fn a_webp_whose_lengths_were_mended_is_refused() {
    for name in ["lossy.webp", "rgb.webp"] {
        let whole = fixture(name);
        for lost in [20, 60, 120] {
            let mut cut = whole[..(whole.len() - lost) & !1].to_vec();
            let (all, chunk) = (cut.len() as u32 - 8, cut.len() as u32 - 20);
            cut[4..8].copy_from_slice(&all.to_le_bytes());
            cut[16..20].copy_from_slice(&chunk.to_le_bytes());
            assert!(from_bytes(&cut).is_err(), "{name} without {lost} bytes");
        }
    }
}

#[test]
fn the_error_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.jpg");
    let whole = fixture("rgb.jpg");
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("half.jpg: is damaged: the file ends before the picture does; copy or save it again"),
        "{error}"
    );
}

/// A little-endian TIFF of three planes in tiles of 16 x 16, 8 or 16 bits each.
fn planes_in_tiles((width, height): (u16, u16), bits: u16, sample: impl Fn(usize, usize, usize) -> u8) -> Vec<u8> {
    let (across, down) = (usize::from(width).div_ceil(16), usize::from(height).div_ceil(16));
    let tiles = across * down * 3;
    let bytes = usize::from(bits / 8);
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    let (lists, data) = (8 + 2 + 11 * 12 + 4, 8 + 2 + 11 * 12 + 4 + 6 + 2 * 4 * tiles);
    let entries = [
        (256u16, 3u16, 1usize, usize::from(width)),
        (257, 3, 1, usize::from(height)),
        (258, 3, 3, lists),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (277, 3, 1, 3),
        (284, 3, 1, 2),
        (322, 3, 1, 16),
        (323, 3, 1, 16),
        (324, 4, tiles, lists + 6),
        (325, 4, tiles, lists + 6 + 4 * tiles),
    ];
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend((count as u32).to_le_bytes());
        file.extend((value as u32).to_le_bytes());
    }
    file.extend([0; 4]);
    (0..3).for_each(|_| file.extend(bits.to_le_bytes()));
    (0..tiles).for_each(|tile| file.extend(((data + tile * 256 * bytes) as u32).to_le_bytes()));
    (0..tiles).for_each(|_| file.extend(((256 * bytes) as u32).to_le_bytes()));
    for tile in 0..tiles {
        let (plane, place) = (tile / (across * down), tile % (across * down));
        for at in 0..256 {
            let (x, y) = (place % across * 16 + at % 16, place / across * 16 + at / 16);
            file.extend(std::iter::repeat_n(sample(x, y, plane), bytes));
        }
    }
    file
}

/// The decoder panics at the lower and right edge of every plane but the first.
#[test]
fn planes_in_tiles_are_read_to_their_edges() {
    let sample = |x: usize, y: usize, plane: usize| (x * 5 + y * 3 + plane * 90) as u8;
    for size in [(20, 20), (16, 16), (32, 40), (40, 32), (5, 3), (48, 48)] {
        for bits in [8, 16] {
            let image = from_bytes(&planes_in_tiles(size, bits, sample)).unwrap_or_else(|e| panic!("{size:?}: {e}"));
            assert_eq!((image.width, image.height), (size.0.into(), size.1.into()));
            let pixels = (0..usize::from(size.1)).flat_map(|y| (0..usize::from(size.0)).map(move |x| (x, y)));
            let expected: Vec<u8> = pixels.flat_map(|(x, y)| [0, 1, 2].map(|plane| sample(x, y, plane))).collect();
            assert!(image.data() == expected, "{size:?}, {bits} bits");
        }
        let whole = planes_in_tiles(size, 8, sample);
        assert!(from_bytes(&whole[..whole.len() - 1]).is_err(), "{size:?}");
    }
    let mut odd = planes_in_tiles((20, 20), 8, sample);
    let tile = entry(&odd, 323) + 8;
    for rows in [0u16, 1, u16::MAX] {
        odd[tile..tile + 2].copy_from_slice(&rows.to_le_bytes());
        assert!(from_bytes(&odd).is_err(), "{rows}");
    }
}
