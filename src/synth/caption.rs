//! Captions: short sentences that are true of the picture.

use super::class::Class;
use super::defect::DefectKind;
use crate::dice::Dice;

/// `a photo of a good ring`, or `a photo of a damaged ring with a scratch`: always these words.
pub fn plain_caption(class: Class, defect: Option<DefectKind>) -> String {
    let noun = class.noun();
    match defect {
        None => format!("a photo of a good {noun}"),
        Some(kind) => format!("a photo of a damaged {noun} with a {}", kind.noun()),
    }
}

/// `word` is an adjective of the product or empty.
pub(super) fn caption(class: Class, word: &str, defect: Option<DefectKind>, dice: &mut Dice) -> String {
    let shot = dice.pick(&["a photo", "a photo", "a photo", "a close-up photo", "a picture"]);
    let named = !word.is_empty() && dice.chance(0.5);
    let noun = class.noun();
    let product = if named { format!("{word} {noun}") } else { noun.to_owned() };
    match defect {
        None => format!("{shot} of a good {product}"),
        Some(kind) => format!("{shot} of a damaged {product} with a {}", kind.noun()),
    }
}
