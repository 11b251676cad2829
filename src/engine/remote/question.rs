//! A picture as it travels, and what a server can be asked for.

use prost::bytes::Bytes;

use super::spec::MapForm;
use crate::frame::Image;
use crate::oip::model::{IMAGE, MAP, MAP_U16, PATHS, SCORE, TOKENS};
use crate::oip::{self, InferRequest, ModelMetadata, tensor};
use crate::vcp_clip::preprocess::Preprocessor;

/// A picture of the model's size.
#[derive(Clone)]
pub(super) struct Question {
    /// Red, green, blue, a byte each.
    eight: Bytes,
    /// The same in 16 bits, where the picture has levels.
    sixteen: Option<Bytes>,
}

/// What is wanted besides map and score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub form: MapForm,
    pub tokens: bool,
    pub paths: bool,
}

/// What a server of the model can do besides the plain answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features {
    sixteen: bool,
    map_u16: bool,
    tokens: bool,
    paths: bool,
}

impl Question {
    pub fn eight_bit(pixels: Bytes) -> Self {
        Self { eight: pixels, sixteen: None }
    }

    /// The picture as the model would see it.
    pub fn of(image: &Image, preprocessor: &mut Preprocessor) -> Self {
        Self { eight: preprocessor.rgb(image).into(), sixteen: preprocessor.rgb16(image).map(Bytes::from) }
    }

    pub fn request(&self, model: &str, side: usize, wanted: Wanted, features: Features) -> InferRequest {
        let (pixels, datatype) = match &self.sixteen {
            Some(pixels) if features.sixteen => (pixels, "UINT16"),
            _ => (&self.eight, "UINT8"),
        };
        let map = if wanted.form == MapForm::Uint16 && features.map_u16 { MAP_U16 } else { MAP };
        let more = [(PATHS, wanted.paths && features.paths), (TOKENS, wanted.tokens && features.tokens)];
        let names =
            [map, SCORE].into_iter().chain(more.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name));
        InferRequest {
            model_name: model.to_owned(),
            inputs: vec![tensor::head(IMAGE, datatype, &[1, side, side, 3])],
            outputs: names.map(|name| oip::Wanted { name: name.to_owned(), ..oip::Wanted::default() }).collect(),
            raw_input_contents: vec![pixels.clone()],
            ..InferRequest::default()
        }
    }
}

impl Features {
    /// What the model's metadata says; an error when it takes or gives something else than the model of side `side`.
    pub fn of(metadata: &ModelMetadata, side: usize) -> Result<Self, String> {
        let size = side as i64;
        let fits = |shape: &[i64], wanted: &[i64]| {
            shape.len() == wanted.len() && shape.iter().zip(wanted).all(|(a, b)| *a == -1 || *b == -1 || a == b)
        };
        let input = metadata.inputs.iter().find(|input| input.name == IMAGE);
        let fine = input.is_some_and(|input| input.datatype == "UINT8" && fits(&input.shape, &[-1, size, size, 3]));
        if !fine {
            return Err(format!("takes {:?}; '{IMAGE}' UINT8 [-1, {size}, {size}, 3] is this line's", metadata.inputs));
        }
        let has = |name: &str| metadata.outputs.iter().any(|output| output.name == name);
        if !has(MAP) || !has(SCORE) {
            return Err(format!("gives {:?}; '{MAP}' and '{SCORE}' are needed", metadata.outputs));
        }
        let sixteen = metadata.platform.starts_with("vcp-line_");
        Ok(Self { sixteen, map_u16: has(MAP_U16), tokens: has(TOKENS), paths: has(PATHS) })
    }
}
