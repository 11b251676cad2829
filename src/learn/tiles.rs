//! Pictures cut into the tiles that a line looks at, so that a model learns from what it will see there.

use serde::Serialize;

use super::LearnError;
use super::augment;
use crate::dataset::{Item, Mask};
use crate::dice::Dice;
use crate::frame::Image;
use crate::view::{Rect, TileLayout, TileSpec, Transform, ViewError, ViewSpec, cut};

/// What the dice of the good tiles are for; tells them from others of the same seed.
const GOOD_TILES: u64 = u64::from_le_bytes(*b"goodtile");

/// How pictures are cut, and which of their tiles are learned from: all that show a defect, and some that show none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TilePlan {
    /// Sides of the square tiles, pixels of the picture; each size covers the picture once.
    pub sizes_px: Vec<u32>,
    /// Least share of a tile that it has in common with the next one.
    pub overlap: f32,
    /// Rectangle `[x, y, width, height]` of each picture outside of which nothing is looked at.
    pub crop: Option<[u32; 4]>,
    /// Tiles without a defect that are learned from, of each picture.
    pub good: usize,
}

/// A tile of a picture that is learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Where it lies, pixels of the picture.
    pub rect: Rect,
    /// Whether it shows a defect.
    pub anomalous: bool,
}

impl TilePlan {
    /// Errors name the setting and what it may be.
    pub fn check(&self) -> Result<(), LearnError> {
        for spec in self.specs() {
            let view = ViewSpec { crop: self.crop, tiles: Some(spec), ..ViewSpec::default() };
            view.check().map_err(|error| LearnError::Settings(format!("--tiles, --overlap, --crop: {error}")))?;
        }
        Ok(())
    }

    fn specs(&self) -> impl Iterator<Item = TileSpec> + '_ {
        self.sizes_px.iter().map(|&size_px| TileSpec::Size { size_px, overlap: self.overlap })
    }

    /// The tiles of one picture that are learned from at `image_size`, the side that they are brought to. A tile whose part of a defect
    /// vanishes at that size is neither good nor anomalous, and is left out. `number` is that of the picture: with `seed` it draws
    /// the good tiles.
    pub fn tiles(&self, item: &Item, image_size: usize, seed: u64, number: u64) -> Result<Vec<Tile>, LearnError> {
        self.among(&Open::read(item)?, image_size, seed, number)
    }

    /// The pixels of [`Self::tiles`], and of their masks; the picture is read once.
    pub fn pieces(
        &self,
        item: &Item,
        image_size: usize,
        seed: u64,
        number: u64,
    ) -> Result<Vec<(Image, Option<Mask>)>, LearnError> {
        let open = Open::read(item)?;
        let tiles = self.among(&open, image_size, seed, number)?;
        Ok(tiles.into_iter().map(|tile| open.piece(tile.rect)).collect())
    }

    fn among(&self, open: &Open, image_size: usize, seed: u64, number: u64) -> Result<Vec<Tile>, LearnError> {
        let Open { item, image, mask, .. } = open;
        let view = ViewSpec { crop: self.crop, ..ViewSpec::default() };
        let transform = Transform::new(&view, (image.width, image.height)).map_err(|error| fits(item, &error))?;
        let [left, top, ..] = transform.crop();
        let (mut anomalous, mut good) = (Vec::new(), Vec::new());
        for spec in self.specs() {
            let layout = TileLayout::new(&spec, transform.view_size(), &[]).map_err(|error| fits(item, &error))?;
            for &tile in layout.tiles() {
                let rect = Rect { x: tile.x + left, y: tile.y + top, ..tile };
                match mask.as_ref().map_or(Shows::Nothing, |mask| Shows::of(mask, rect, image_size)) {
                    Shows::Nothing => good.push(Tile { rect, anomalous: false }),
                    Shows::Defect => anomalous.push(Tile { rect, anomalous: true }),
                    Shows::Trace => {}
                }
            }
        }
        let order = augment::order(good.len(), &mut Dice::new(seed, [GOOD_TILES, number, 0]));
        anomalous.extend(order.into_iter().take(self.good).map(|at| good[at]));
        Ok(anomalous)
    }
}

/// What a tile shows of its picture's defects.
enum Shows {
    Nothing,
    /// Less than is left at the model's size.
    Trace,
    Defect,
}

impl Shows {
    fn of(mask: &Mask, rect: Rect, image_size: usize) -> Self {
        let Some(mask) = mask.cut([rect.x, rect.y, rect.width, rect.height]) else { return Self::Nothing };
        if !mask.anomalous.contains(&true) {
            return Self::Nothing;
        }
        if mask.resized(image_size).contains(&true) { Self::Defect } else { Self::Trace }
    }
}

/// The last picture that was read: where features are kept, the tiles of one come one after another, and are cut from what was
/// read once.
#[derive(Default)]
pub struct Opened(Option<Open>);

struct Open {
    item: Item,
    image: Image,
    mask: Option<Mask>,
    /// That of the whole picture.
    transform: Transform,
}

impl Open {
    fn read(item: &Item) -> Result<Self, LearnError> {
        let (image, mask) = item.load()?;
        let transform =
            Transform::new(&ViewSpec::default(), (image.width, image.height)).map_err(|error| fits(item, &error))?;
        Ok(Self { item: item.clone(), image, mask, transform })
    }

    fn piece(&self, rect: Rect) -> (Image, Option<Mask>) {
        let mask = self.mask.as_ref().and_then(|mask| mask.cut([rect.x, rect.y, rect.width, rect.height]));
        (cut(&self.image, &self.transform, rect), mask)
    }
}

impl Opened {
    /// The pixels of a tile of `item`, and of its mask.
    pub fn tile(&mut self, item: &Item, rect: Rect) -> Result<(Image, Option<Mask>), LearnError> {
        let open = match self.0.take().filter(|open| open.item == *item) {
            Some(open) => open,
            None => Open::read(item)?,
        };
        let piece = open.piece(rect);
        self.0 = Some(open);
        Ok(piece)
    }
}

fn fits(item: &Item, error: &ViewError) -> LearnError {
    LearnError::Settings(format!("{}: {error}", item.image.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::{Class, Defect, DefectKind, FrameRequest, FrameSample, Motion, SizedDefect, render_frame};

    const PLAN: TilePlan = TilePlan { sizes_px: Vec::new(), overlap: 0.25, crop: None, good: 3 };

    fn made(folder: &std::path::Path, defect: bool) -> (Item, FrameSample) {
        let sized = SizedDefect { defect: Defect { kind: DefectKind::Hole, difficulty: 0.0 }, size_px: 14.0 };
        let frame = render_frame(&FrameRequest {
            class: Class::Gear,
            width: 512,
            height: 400,
            product: 3,
            part: 3,
            defect: defect.then_some(sized),
            motion: Motion { shift_px: 10.0, turn_degrees: 5.0 },
        });
        let (image, mask) = (folder.join("part.png"), folder.join("mask.png"));
        image::save_buffer(&image, &frame.rgb, frame.width, frame.height, image::ColorType::Rgb8).unwrap();
        image::save_buffer(&mask, &frame.mask, frame.width, frame.height, image::ColorType::L8).unwrap();
        (Item { image, masks: defect.then_some(mask).into_iter().collect(), anomalous: defect, kind: None }, frame)
    }

    #[test]
    fn every_tile_with_a_defect_is_learned_from_and_some_without() {
        let folder = tempfile::tempdir().unwrap();
        let (item, frame) = made(folder.path(), true);
        let plan = TilePlan { sizes_px: vec![128, 200], ..PLAN };
        let tiles = plan.tiles(&item, 96, 1, 0).unwrap();
        assert_eq!(tiles, plan.tiles(&item, 96, 1, 0).unwrap());
        let marked = |rect: Rect| {
            let inside = |pixel: &usize| {
                let (x, y) = ((pixel % 512) as u32, (pixel / 512) as u32);
                (rect.x..rect.x + rect.width).contains(&x) && (rect.y..rect.y + rect.height).contains(&y)
            };
            frame.mask.iter().enumerate().filter(|(pixel, mask)| **mask > 0 && inside(pixel)).count()
        };
        let with_defect: Vec<&Tile> = tiles.iter().filter(|tile| tile.anomalous).collect();
        for side in [128, 200] {
            assert!(with_defect.iter().any(|tile| tile.rect.width == side), "{tiles:?}");
        }
        assert!(with_defect.iter().all(|tile| marked(tile.rect) > 0));
        let good: Vec<&Tile> = tiles.iter().filter(|tile| !tile.anomalous).collect();
        assert_eq!(good.len(), 3);
        assert!(good.iter().all(|tile| marked(tile.rect) == 0));
        assert_ne!(tiles, plan.tiles(&item, 96, 2, 0).unwrap());

        let mut opened = Opened::default();
        let Tile { rect, .. } = *with_defect[0];
        let (piece, mask) = opened.tile(&item, rect).unwrap();
        assert_eq!((piece.width, piece.height), (rect.width, rect.height));
        let corner = 3 * (rect.y as usize * 512 + rect.x as usize);
        assert_eq!(piece.data()[..3], frame.rgb[corner..corner + 3]);
        assert_eq!(mask.unwrap().anomalous.iter().filter(|marked| **marked).count(), marked(rect));
    }

    #[test]
    fn tiles_lie_in_the_crop_and_what_vanishes_in_them_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (item, frame) = made(folder.path(), true);
        let [x, y, width, height] = frame.defects[0].bounds;
        let crop = [x - 20, y - 20, width + 40, height + 40];
        let plan = TilePlan { sizes_px: vec![400], crop: Some(crop), ..PLAN };
        let tiles = plan.tiles(&item, 96, 1, 0).unwrap();
        let rect = Rect { x: crop[0], y: crop[1], width: crop[2], height: crop[3] };
        assert_eq!(tiles, [Tile { rect, anomalous: true }]);
        // In four pixels nothing of it is left: that tile is not learned from as a good one.
        let whole = TilePlan { sizes_px: vec![512], ..PLAN };
        assert!(whole.tiles(&item, 4, 1, 0).unwrap().is_empty());
        let outside = TilePlan { crop: Some([500, 0, 100, 100]), ..whole };
        let error = outside.tiles(&item, 96, 1, 0).unwrap_err().to_string();
        assert!(error.contains("part.png") && error.contains("500"), "{error}");
    }

    #[test]
    fn senseless_tiles_are_named() {
        let small = TilePlan { sizes_px: vec![256, 4], ..PLAN }.check().unwrap_err().to_string();
        assert!(small.starts_with("--tiles, ") && small.contains('4'), "{small}");
        let overlap = TilePlan { sizes_px: vec![256], overlap: 0.9, ..PLAN }.check().unwrap_err().to_string();
        assert!(overlap.contains("0.9"), "{overlap}");
    }
}
