//! An answer as a prediction; whatever is not all there, or no number, is none.

use super::question::Wanted;
use super::spec::MapForm;
use crate::anomaly::{AnomalyMap, Prediction, StageTimes};
use crate::oip::model::{MAP, MAP_U16, PATHS, SCORE, TOKENS};
use crate::oip::{InferResponse, tensor};
use crate::tokens::PatchTokens;

/// The prediction for the one picture that was asked about; `side` is S.
pub(super) fn prediction(answer: &InferResponse, side: usize, wanted: Wanted) -> Result<Prediction, String> {
    let has = |name: &str| answer.outputs.iter().any(|output| output.name == name);
    let name = if wanted.form == MapForm::Uint16 && has(MAP_U16) { MAP_U16 } else { MAP };
    let map = values(answer, name, side * side)?;
    let score = values(answer, SCORE, 1)?[0];
    let mut map = AnomalyMap::new(side, map);
    if wanted.paths && has(PATHS) {
        let mut raw = values(answer, PATHS, 2 * side * side)?;
        let new = raw.split_off(side * side);
        map = map.with_paths([raw, new]);
    }
    let tokens = if wanted.tokens && has(TOKENS) { Some(tokens(answer)?) } else { None };
    Ok(Prediction { map, score, times: StageTimes::default(), tokens })
}

fn values(answer: &InferResponse, name: &str, count: usize) -> Result<Vec<f32>, String> {
    let values = tensor::output(answer, name, count).map_err(|error| error.to_string())?;
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(values),
        Some(value) => Err(format!("'{name}' holds {value}, which is no number")),
    }
}

fn tokens(answer: &InferResponse) -> Result<PatchTokens, String> {
    let shape = answer.outputs.iter().find(|output| output.name == TOKENS).map_or(&[][..], |output| &output.shape);
    let strange = || format!("'{TOKENS}' is {shape:?}, which are no tokens of one picture");
    let &[1, layers, patches, width] = shape else { return Err(strange()) };
    let size = |number: i64| usize::try_from(number).ok().filter(|number| (1..=1 << 16).contains(number));
    let [layers, patches, width] = [layers, patches, width].map(size);
    let (layers, patches, width) = layers.zip(patches).zip(width).map(|((l, p), w)| (l, p, w)).ok_or_else(strange)?;
    let grid = patches.isqrt();
    if grid * grid != patches {
        return Err(strange());
    }
    let all = values(answer, TOKENS, layers * patches * width)?;
    Ok(PatchTokens::new(grid, width, all.chunks_exact(patches * width).map(<[f32]>::to_vec).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(map: &[f32], score: f32) -> InferResponse {
        InferResponse {
            outputs: vec![tensor::head(MAP, "FP32", &[1, 2, 2]), tensor::head(SCORE, "FP32", &[1, 1])],
            raw_output_contents: vec![tensor::floats(map), tensor::floats(&[score])],
            ..InferResponse::default()
        }
    }

    #[test]
    fn only_a_whole_map_of_numbers_with_a_score_is_an_answer() {
        let wanted = Wanted::default();
        let fine = prediction(&answer(&[0.0, 0.5, 0.25, 1.0], 0.75), 2, wanted).expect("whole");
        assert_eq!((fine.score, fine.map.peak(), fine.map.values().len()), (0.75, 1.0, 4));
        assert!(prediction(&answer(&[0.0; 3], 0.0), 2, wanted).is_err());
        assert!(prediction(&answer(&[0.0, f32::NAN, 0.0, 0.0], 0.0), 2, wanted).is_err());
        assert!(prediction(&answer(&[0.0; 4], f32::INFINITY), 2, wanted).is_err());
        let mut without = answer(&[0.0; 4], 0.0);
        without.outputs.remove(0);
        without.raw_output_contents.remove(0);
        assert!(prediction(&without, 2, wanted).is_err());
        assert!(prediction(&InferResponse::default(), 2, wanted).is_err());
    }
}
