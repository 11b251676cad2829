//! The colours of a mosaic in a build without OpenCV: it says which feature is missing.

use super::bayer::BayerOrder;

const MISSING: &str = "a mosaic of colours (Bayer) needs OpenCV, which is not in this build: rebuild with \
     `cargo build --features opencv`, or set the camera to RGB8 or Mono8";

/// Always an error.
pub fn demosaic_8(_order: BayerOrder, _width: usize, _height: usize, _seen: &[u8]) -> Result<Vec<u8>, String> {
    Err(MISSING.to_owned())
}

/// Always an error.
pub fn demosaic_16(_order: BayerOrder, _width: usize, _height: usize, _seen: &[u16]) -> Result<Vec<u8>, String> {
    Err(MISSING.to_owned())
}
