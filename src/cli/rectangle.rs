//! A rectangle of pictures as an argument.

/// `[x, y, width, height]` from `X,Y,WIDTH,HEIGHT`.
pub fn parse(text: &str) -> Result<[u32; 4], String> {
    let numbers: Option<Vec<u32>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    let numbers = numbers.and_then(|numbers| <[u32; 4]>::try_from(numbers).ok());
    numbers.ok_or_else(|| "write X,Y,WIDTH,HEIGHT in pixels of the pictures".to_owned())
}
