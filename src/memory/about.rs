//! What a memory says about itself, and what it fits.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::MemoryError;
use crate::event::ModelInfo;
use crate::tokens::PatchTokens;
use crate::view::ViewSpec;

/// Version of the file's layout.
pub const FORMAT: u32 = 2;
/// Pictures of another aspect ratio are squeezed otherwise into the model's square: this much of it, relatively, is no
/// difference that a patch would show.
const SAME_SHAPE: f64 = 0.01;

/// Where a memory comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// [`FORMAT`].
    pub format: u32,
    /// The beginning of the hash over its tokens, how they are used and everything else that is said here, hexadecimal.
    pub id: String,
    /// When it was made.
    pub made: Timestamp,
    /// Who made it, as far as is known.
    pub by: String,
    /// Good pictures it was made of.
    pub parts: usize,
    /// Tokens kept per tapped layer.
    pub tokens: Vec<usize>,
    /// Model, engine and precision whose tokens these are.
    pub model: ModelInfo,
    /// G, patches along one side.
    pub grid: usize,
    /// Cv, numbers of a token.
    pub width: usize,
    /// Columns and rows of the first good picture.
    pub picture: (u32, u32),
    /// What of the pictures was looked at, and in which tiles.
    #[serde(default, skip_serializing_if = "ViewSpec::is_whole")]
    pub view: ViewSpec,
    /// SHA-256 of the size, format and pixels of the good pictures, in ascending order, as far as whoever made it has told.
    #[serde(default, with = "hashes", skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<[u8; 32]>,
}

/// Hashes as texts.
mod hashes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(hashes: &[[u8; 32]], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(hashes.iter().map(hex::encode))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<[u8; 32]>, D::Error> {
        let hash = |text: String| {
            let mut hash = [0; 32];
            hex::decode_to_slice(&text, &mut hash)
                .map(|()| hash)
                .map_err(|error| Error::custom(format!("{text}: {error}")))
        };
        Vec::<String>::deserialize(deserializer)?.into_iter().map(hash).collect()
    }
}

impl About {
    /// Of no memory.
    pub(super) fn nothing() -> Self {
        let nobody = String::new;
        let model = ModelInfo { name: nobody(), sha256: nobody(), engine: nobody(), precision: nobody(), memory: None };
        Self {
            format: FORMAT,
            id: "0".repeat(16),
            made: Timestamp::UNIX_EPOCH,
            by: nobody(),
            parts: 0,
            tokens: Vec::new(),
            model,
            grid: 0,
            width: 0,
            picture: (0, 0),
            view: ViewSpec::default(),
            pictures: Vec::new(),
        }
    }

    /// Whether it was made of the picture with this hash, too: how far that is from it says nothing about other parts.
    pub fn knows(&self, picture: &[u8; 32]) -> bool {
        self.pictures.binary_search(picture).is_ok()
    }

    fn unfit(&self, what: &'static str, made: impl ToString, here: impl ToString) -> MemoryError {
        MemoryError::Unfit { id: self.id.clone(), what, made: made.to_string(), here: here.to_string() }
    }

    /// Errors unless the model is the same, run by the same engine in the same precision: distances between tokens of two
    /// precisions are no distances between parts.
    pub fn fits(&self, model: &ModelInfo) -> Result<(), MemoryError> {
        let short = |sha256: &str| sha256.get(..12).unwrap_or(sha256).to_owned();
        if self.model.sha256 != model.sha256 {
            let named = |model: &ModelInfo| format!("'{}' ({}…)", model.name, short(&model.sha256));
            return Err(self.unfit("the model", named(&self.model), named(model)));
        }
        if self.model.engine != model.engine {
            return Err(self.unfit("the engine", &self.model.engine, &model.engine));
        }
        if self.model.precision != model.precision {
            return Err(self.unfit("the precision", &self.model.precision, &model.precision));
        }
        Ok(())
    }

    /// Errors unless pictures are looked at through the same view, in the same tiles: patches of another scale are other patches.
    pub fn fits_view(&self, view: &ViewSpec) -> Result<(), MemoryError> {
        if self.view == *view {
            return Ok(());
        }
        let named = |view: &ViewSpec| match view.is_whole() {
            true => "of whole pictures".to_owned(),
            false => serde_json::to_string(view).unwrap_or_default(),
        };
        Err(self.unfit("the view", named(&self.view), named(view)))
    }

    /// Errors unless pictures of this size have the shape of the good ones.
    pub fn fits_picture(&self, (width, height): (u32, u32)) -> Result<(), MemoryError> {
        if same_shape(self.picture, (width, height)) {
            return Ok(());
        }
        let (columns, rows) = self.picture;
        Err(self.unfit("pictures of", format!("{columns}x{rows}"), format!("{width}x{height}")))
    }

    /// Errors unless the tokens have the sizes of those in the memory.
    pub fn fits_tokens(&self, tokens: &PatchTokens) -> Result<(), MemoryError> {
        let (here, made) =
            ([tokens.grid(), tokens.width(), tokens.layers()], [self.grid, self.width, self.tokens.len()]);
        if here == made {
            return Ok(());
        }
        let named = |[grid, width, taps]: [usize; 3]| format!("{taps}x{grid}x{grid}x{width}");
        Err(self.unfit("tokens of", named(made), named(here)))
    }
}

/// Whether pictures of both sizes become the same in the model's square input.
pub fn same_shape(a: (u32, u32), b: (u32, u32)) -> bool {
    let (across, along) = (f64::from(a.0) * f64::from(b.1), f64::from(b.0) * f64::from(a.1));
    (across - along).abs() <= SAME_SHAPE * across.max(along)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        let model = ModelInfo {
            name: "demo".into(),
            sha256: "0123456789abcdef".into(),
            engine: "openvino".into(),
            precision: "fp32".into(),
            memory: None,
        };
        About {
            format: FORMAT,
            id: "00ff".into(),
            made: Timestamp::UNIX_EPOCH,
            by: "line".into(),
            parts: 4,
            tokens: vec![10, 10],
            model,
            grid: 2,
            width: 3,
            picture: (640, 480),
            view: ViewSpec::default(),
            pictures: Vec::new(),
        }
    }

    #[test]
    fn what_does_not_fit_is_named_with_the_next_step() {
        let memory = about();
        let model = memory.model.clone();
        assert!(memory.fits(&model).is_ok());
        assert!(memory.fits(&ModelInfo { name: "renamed".into(), ..model.clone() }).is_ok());
        let said = |model: ModelInfo| memory.fits(&model).expect_err("another").to_string();
        assert_eq!(
            said(ModelInfo { precision: "bf16".into(), ..model.clone() }),
            "the memory 00ff was made with the precision fp32, here it is bf16; make a new one with `vcp-line learn`"
        );
        assert!(said(ModelInfo { engine: "tensorrt".into(), ..model.clone() }).contains("the engine openvino"));
        let other = said(ModelInfo { sha256: "fedcba9876543210".into(), ..model });
        assert!(other.contains("the model 'demo' (0123456789ab…), here it is 'demo' (fedcba987654…)"), "{other}");
        let tokens = PatchTokens::new(2, 3, vec![vec![0.0; 12]]);
        assert!(memory.fits_tokens(&tokens).expect_err("one tap").to_string().contains("2x2x2x3, here it is 1x2x2x3"));
    }

    #[test]
    fn another_view_is_refused() {
        let memory = about();
        let tiles = ViewSpec {
            tiles: Some(crate::view::TileSpec::Size { size_px: 518, overlap: 0.25 }),
            ..ViewSpec::default()
        };
        assert!(memory.fits_view(&ViewSpec::default()).is_ok());
        let said = memory.fits_view(&tiles).expect_err("another").to_string();
        assert_eq!(
            said,
            "the memory 00ff was made with the view of whole pictures, here it is \
             {\"tiles\":{\"size_px\":518,\"overlap\":0.25}}; make a new one with `vcp-line learn`"
        );
        let text = serde_json::to_string(&About { view: tiles.clone(), ..about() }).expect("written");
        assert_eq!(serde_json::from_str::<About>(&text).expect("read").view, tiles);
        assert!(!serde_json::to_string(&memory).expect("written").contains("view"), "files stay what they were");
    }

    #[test]
    fn the_size_may_differ_and_the_shape_not() {
        let memory = about();
        for size in [(640, 480), (1280, 960), (320, 241)] {
            assert!(memory.fits_picture(size).is_ok(), "{size:?}");
        }
        for size in [(480, 640), (640, 640), (640, 400)] {
            assert!(memory.fits_picture(size).is_err(), "{size:?}");
        }
    }
}
