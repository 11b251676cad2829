//! `--levels`: what the values of pictures of more than 8 bits mean.

use std::sync::Arc;

use crate::frame::Levels;

/// Reads `BLACK,WHITE` or `BLACK,WHITE,GAMMA`.
pub fn levels(text: &str) -> Result<Arc<Levels>, String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let value = |text: &str| text.parse::<u16>().map_err(|_| format!("'{text}' is no value from 0 to 65535"));
    let (black, white, gamma) = match parts[..] {
        [black, white] => (value(black)?, value(white)?, 1.0),
        [black, white, gamma] => {
            (value(black)?, value(white)?, gamma.parse().map_err(|_| format!("'{gamma}' is no gamma"))?)
        }
        _ => return Err("write BLACK,WHITE or BLACK,WHITE,GAMMA, such as 0,4095 for 12 bits".to_owned()),
    };
    Levels::new(black, white, gamma).map(Arc::new).map_err(|error| error.to_string())
}
