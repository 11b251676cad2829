//! What large frames promise: the same bytes everywhere, parts within the frame, defects of the size asked for, true masks.

use sha2::{Digest, Sha256};

use super::{Class, Defect, DefectKind, FrameRequest, FrameSample, Motion, SizedDefect, render_frame};

const BELT: Motion = Motion { shift_px: 40.0, turn_degrees: 5.0 };

fn frame(class: Class, (width, height): (u32, u32), defect: Option<(DefectKind, f32)>, seed: u64) -> FrameSample {
    let sized = |(kind, size_px)| SizedDefect { defect: Defect { kind, difficulty: 0.3 }, size_px };
    let defect = defect.map(sized);
    render_frame(&FrameRequest { class, width, height, product: seed, part: seed + 1, defect, motion: BELT })
}

fn fingerprint(frame: &FrameSample) -> String {
    let mut hash = Sha256::new();
    hash.update(&frame.rgb);
    hash.update(&frame.mask);
    hash.update(frame.caption.as_bytes());
    hash.update(format!("{:?}{:?}", frame.part, frame.defects));
    hex::encode(&hash.finalize()[..8])
}

/// The numbers are those of this program, made on x86-64; every other machine must repeat them.
#[test]
fn frames_are_the_same_bytes_on_every_machine() {
    let made: Vec<String> = [
        frame(Class::Gear, (512, 400), None, 1),
        frame(Class::Leather, (400, 512), Some((DefectKind::Hole, 12.0)), 2),
        frame(Class::Domino, (512, 400), Some((DefectKind::Scratch, 9.0)), 3),
    ]
    .iter()
    .map(fingerprint)
    .collect();
    assert_eq!(made, ["8b008527ec43e960", "e6422028e6ccbfc4", "97df04f4f494585b"]);
}

#[test]
fn every_part_lies_whole_in_its_frame_and_says_where() {
    for (index, &class) in Class::ALL.iter().enumerate() {
        let (width, height) = (512, 400);
        let made = frame(class, (width, height), None, 70 + index as u64);
        let [x, y, across, down] = made.part.bounds;
        assert!(x > 2 && y > 2 && x + across < width - 2 && y + down < height - 2, "{class}: {:?}", made.part);
        assert!((110..290).contains(&across.max(down)), "{class}: {:?}", made.part);
        let inside = |middle: f32, from: u32, size: u32| middle > from as f32 && middle < (from + size) as f32;
        assert!(inside(made.part.centre[0], x, across) && inside(made.part.centre[1], y, down), "{class}");
        assert!(made.part.shift.iter().all(|shift| shift.abs() <= 40.0) && made.part.turn_degrees.abs() <= 5.0);
        assert!(made.mask.iter().all(|&pixel| pixel == 0) && made.defects.is_empty());
    }
}

#[test]
fn defects_have_the_size_asked_for_and_change_nothing_outside_of_their_masks() {
    let (mut all, mut near, mut single) = (0, 0, 0);
    for (index, &class) in Class::ALL.iter().enumerate() {
        for (step, wanted) in [8.0, 19.0].into_iter().enumerate() {
            let kind = DefectKind::ALL[(2 * index + step) % DefectKind::ALL.len()];
            let seed = 300 + index as u64;
            let (good, bad) =
                (frame(class, (512, 512), None, seed), frame(class, (512, 512), Some((kind, wanted)), seed));
            assert_eq!(good.part, bad.part);
            let largest = bad.defects.first().unwrap_or_else(|| panic!("{class} {kind} {wanted}: no defect"));
            assert!((0.5..2.0).contains(&(largest.size_px / wanted)), "{class} {kind} {wanted}: {}", largest.size_px);
            all += 1;
            near += usize::from((0.85..1.18).contains(&(largest.size_px / wanted)));
            single += usize::from(bad.defects.len() == 1);
            let changes = good.rgb.chunks_exact(3).zip(bad.rgb.chunks_exact(3));
            let changes = changes.map(|(good, bad)| (0..3).map(|c| good[c].abs_diff(bad[c])).max().unwrap());
            let (mut inside, mut seen) = (0, 0);
            for (pixel, change) in changes.enumerate() {
                if bad.mask[pixel] == 0 {
                    assert!(change <= 9, "{class} {kind}: changed by {change} outside of the mask");
                } else {
                    inside += 1;
                    seen += usize::from(change > 2);
                    let [x, y, across, down] = largest.bounds.map(|side| side as usize);
                    let (column, row) = (pixel % 512, pixel / 512);
                    let held = (x..x + across).contains(&column) && (y..y + down).contains(&row);
                    assert!(held || bad.defects.len() > 1, "{class} {kind}");
                }
            }
            assert!(seen * 10 > inside * 6, "{class} {kind} {wanted}: {seen} of {inside} pixels changed");
        }
    }
    assert!(near * 10 > all * 9 && single * 10 > all * 9, "{near} near, {single} single of {all}");
}

/// At the first places tried nothing of this print differs from what it lies on.
#[test]
fn a_defect_that_was_asked_for_is_there() {
    let defect = Defect { kind: DefectKind::Misprint, difficulty: 0.041 };
    let made = render_frame(&FrameRequest {
        class: Class::PrintedBoard,
        width: 2448,
        height: 2048,
        product: 65_000_026,
        part: 65_000_026,
        defect: Some(SizedDefect { defect, size_px: 28.3 }),
        motion: BELT,
    });
    let defect = made.defects.first().expect("a defect");
    assert!((14.0..57.0).contains(&defect.size_px), "{defect:?}");
    assert!(made.mask.iter().any(|&pixel| pixel > 0));
}

#[test]
fn one_product_comes_along_again_and_again_lying_otherwise() {
    let request = FrameRequest {
        class: Class::Keycap,
        width: 512,
        height: 400,
        product: 5,
        part: 1,
        defect: None,
        motion: Motion { shift_px: 0.0, turn_degrees: 0.0 },
    };
    let still = render_frame(&request);
    assert_eq!((still.part.centre, still.part.turn_degrees), ([256.0, 200.0], 0.0));
    let moved = render_frame(&FrameRequest { part: 2, motion: BELT, ..request });
    let [x, y, across, down] = still.part.bounds;
    let [shifted_x, shifted_y, shifted_across, shifted_down] = moved.part.bounds;
    let middle = |from: u32, size: u32| from as f32 + 0.5 * size as f32;
    let dx = middle(shifted_x, shifted_across) - middle(x, across);
    let dy = middle(shifted_y, shifted_down) - middle(y, down);
    let [sx, sy] = moved.part.shift;
    assert!((dx - sx).abs() < 2.0 && (dy - sy).abs() < 2.0, "{dx} {dy} for {sx} {sy}");
    assert_ne!(still.rgb, moved.rgb);
}
