//! What every picture promises: the same bytes everywhere, the same product under every defect, a mask that is true.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::catalogue::make;
use super::field::at;
use super::{Class, Defect, DefectKind, Request, Sample, render};
use crate::dice::Dice;

fn sample(class: Class, size: u32, defect: Option<(DefectKind, f32)>, seed: u64) -> Sample {
    let defect = defect.map(|(kind, difficulty)| Defect { kind, difficulty });
    render(&Request { class, size, defect, seed })
}

fn fingerprint(sample: &Sample) -> String {
    let mut hash = Sha256::new();
    hash.update(&sample.rgb);
    hash.update(&sample.mask);
    hash.update(sample.caption.as_bytes());
    hex::encode(&hash.finalize()[..8])
}

/// Largest difference of a channel, for every pixel.
fn differences(a: &Sample, b: &Sample) -> Vec<u8> {
    let pairs = a.rgb.chunks_exact(3).zip(b.rgb.chunks_exact(3));
    pairs.map(|(a, b)| (0..3).map(|c| a[c].abs_diff(b[c])).max().unwrap()).collect()
}

/// The numbers are those of this program, made on x86-64; every other machine must repeat them.
#[test]
fn pictures_are_the_same_bytes_on_every_machine() {
    let made: Vec<String> = [
        sample(Class::Leather, 96, None, 1),
        sample(Class::PrintedBoard, 96, Some((DefectKind::Misprint, 0.2)), 2),
        sample(Class::Gear, 96, Some((DefectKind::MissingPiece, 0.4)), 3),
        sample(Class::Mesh, 64, Some((DefectKind::Crack, 0.0)), 4),
        sample(Class::Coin, 100, Some((DefectKind::Dent, 0.7)), u64::MAX),
        sample(Class::Marble, 128, Some((DefectKind::Stain, 1.0)), 6),
        sample(Class::Mosaic, 96, Some((DefectKind::MissingPiece, 0.2)), 2),
        sample(Class::CrownCap, 96, Some((DefectKind::Misprint, 0.3)), 8),
        sample(Class::ChipPackage, 96, Some((DefectKind::MissingPiece, 0.3)), 9),
    ]
    .iter()
    .map(fingerprint)
    .collect();
    assert_eq!(
        made,
        [
            "0fa8b65a8a5d8d8c",
            "65544771dafef8ea",
            "ea3cf498ab4cd102",
            "5bcd4605402a34db",
            "68a270ade415ec8a",
            "7b7d7637aa02fabc",
            "ca9bb42cf609da47",
            "8f40c11415a94253",
            "29e3330615ca55cc"
        ]
    );
}

#[test]
fn a_defect_lies_on_the_very_same_product() {
    for (index, &class) in Class::ALL.iter().enumerate() {
        let seed = 40 + index as u64;
        let good = sample(class, 96, None, seed);
        assert!(good.mask.iter().all(|&pixel| pixel == 0), "{class}");
        for &kind in DefectKind::ALL {
            let bad = sample(class, 96, Some((kind, 0.4)), seed);
            let outside = differences(&good, &bad).into_iter().zip(&bad.mask).filter(|(_, mask)| **mask == 0);
            // The mask begins at 8 levels; rounding to eight bits adds one.
            let most = outside.map(|(change, _)| change).max().unwrap();
            assert!(most <= 9, "{class} {kind}: changed by {most} levels outside of the mask");
        }
    }
}

#[test]
fn masks_hold_what_visibly_changed() {
    for &class in Class::ALL {
        for &kind in DefectKind::ALL {
            let good = sample(class, 96, None, 3);
            let bad = sample(class, 96, Some((kind, 0.5)), 3);
            let changes = differences(&good, &bad);
            let inside: Vec<u8> = changes
                .into_iter()
                .zip(&bad.mask)
                .filter(|(_, mask)| **mask == 255)
                .map(|(change, _)| change)
                .collect();
            let area = inside.len() as f32 / bad.mask.len() as f32;
            assert!((0.002..0.08).contains(&area), "{class} {kind}: area {area}");
            let changed = inside.iter().filter(|&&change| change >= 3).count() as f32 / inside.len() as f32;
            assert!(changed > 0.7, "{class} {kind}: only {changed} of the mask changed");
            let mean = inside.iter().map(|&change| f32::from(change)).sum::<f32>() / inside.len() as f32;
            assert!(mean > 10.0, "{class} {kind}: changed by {mean} levels on average");
        }
    }
}

#[test]
fn products_of_pieces_have_several() {
    for &class in Class::ALL {
        for seed in 0..6 {
            let product = make(class, &mut Dice::labelled(&["pieces"], seed));
            let places = (0..200 * 200).map(|i| at((i % 200) as f32 * 0.01 - 1.0, (i / 200) as f32 * 0.01 - 1.0));
            let ids: BTreeSet<u32> = places.filter_map(|p| product.piece(p)).map(|piece| piece.id).collect();
            assert_eq!(ids.len() > 1, product.look().pieces, "{class}: {} pieces", ids.len());
        }
    }
}

#[test]
fn harder_defects_are_fainter() {
    let visible = |difficulty: f32| -> u64 {
        let mut sum = 0;
        for &class in Class::ALL {
            for (seed, &kind) in DefectKind::ALL.iter().enumerate() {
                let good = sample(class, 64, None, seed as u64);
                let bad = sample(class, 64, Some((kind, difficulty)), seed as u64);
                sum += differences(&good, &bad).into_iter().map(u64::from).sum::<u64>();
            }
        }
        sum
    };
    let (easy, middle, hard) = (visible(0.0), visible(0.5), visible(1.0));
    assert!(easy > middle * 3 / 2 && middle > hard * 3 / 2, "{easy} {middle} {hard}");
}

#[test]
fn captions_and_names_are_words() {
    let mut names = BTreeSet::new();
    for &class in Class::ALL {
        assert!(names.insert(class.name()), "{class} twice");
        assert_eq!(class.name().parse(), Ok(class));
        assert!(class.name().chars().all(|letter| letter.is_ascii_lowercase() || letter == '-'), "{class}");
        for seed in 0..4 {
            let caption = sample(class, 64, None, seed).caption;
            assert!(caption.contains("good ") && caption.ends_with(class.noun()), "{caption}");
        }
        let caption = sample(class, 64, Some((DefectKind::MissingPiece, 0.0)), 1).caption;
        assert!(caption.contains("damaged ") && caption.ends_with("with a missing piece"), "{caption}");
    }
    for &kind in DefectKind::ALL {
        assert!(names.insert(kind.name()), "{kind} twice");
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    let error = "dint".parse::<DefectKind>().unwrap_err().to_string();
    assert_eq!(
        error,
        "'dint' is no kind of defect; there are scratch, dent, stain, crack, hole, missing-piece, fibre, discolouration, \
         misprint"
    );
}

#[test]
fn sizes_show_the_same_scene() {
    let share =
        |sample: &Sample| sample.mask.iter().filter(|&&pixel| pixel > 0).count() as f32 / sample.mask.len() as f32;
    let (small, large) = (
        sample(Class::Tile, 128, Some((DefectKind::Stain, 0.2)), 8),
        sample(Class::Tile, 256, Some((DefectKind::Stain, 0.2)), 8),
    );
    assert!((share(&small) / share(&large) - 1.0).abs() < 0.15, "{} {}", share(&small), share(&large));
    assert_eq!(sample(Class::Tile, 1, None, 8).size, 64);
    let huge = sample(Class::Ring, 2048, Some((DefectKind::Scratch, 1.0)), 8);
    assert_eq!((huge.rgb.len(), huge.mask.len()), (2048 * 2048 * 3, 2048 * 2048));
}
