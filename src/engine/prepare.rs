//! What every engine does before the network: pre-processing as the model wants it.

use crate::vcp_clip::preprocess::Preprocessor;
use crate::weights::bundle::Bundle;

/// Pre-processing as the bundle wants it.
pub(super) fn preprocessor(bundle: &Bundle) -> Preprocessor {
    let manifest = bundle.manifest();
    let constants = &manifest.constants;
    Preprocessor::new(manifest.architecture.image_size, constants.mean, constants.std)
}
