//! What a start would use, for whoever only looks, which may be beside a running line: no file is changed.

use std::io;
use std::path::{Path, PathBuf};

use super::file::{Before, FILE, Kept, MEMORIES, parse};
use crate::line::CameraPlan;
use crate::line::recipe::RecipeSpec;

/// The recipe that a start with these settings would use.
pub fn recipe_in_use(directory: Option<&Path>, camera: &CameraPlan) -> io::Result<RecipeSpec> {
    Ok(kept_in_use(directory, camera)?.map_or_else(|| camera.recipe.clone(), |kept| kept.recipe))
}

/// The file of the memory that a start with these settings would use; `configured` is the one that they name.
pub fn memory_in_use(
    directory: Option<&Path>,
    camera: &CameraPlan,
    configured: Option<&Path>,
) -> io::Result<Option<PathBuf>> {
    let Some(kept) = kept_in_use(directory, camera)? else { return Ok(configured.map(Path::to_owned)) };
    let settings = kept.recipe.info.id == camera.recipe.info.id && !kept.with.without_memory;
    let file = kept.with.memory.zip(directory).map(|(name, directory)| directory.join(MEMORIES).join(name));
    Ok(file.or_else(|| configured.filter(|_| settings).map(Path::to_owned)))
}

/// What a camera was and is judged by, the latest last; a start with these settings uses the last.
pub fn recipe_history(directory: Option<&Path>, camera: &CameraPlan) -> io::Result<Vec<Before>> {
    let settings = Before::of_settings(&camera.recipe);
    let Some(file) = directory.map(|directory| directory.join(FILE)) else { return Ok(vec![settings]) };
    let mut kept = match parse(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![settings]),
        read => read?,
    };
    let Some(kept) = kept.remove(&*camera.name) else { return Ok(vec![settings]) };
    let used = kept_in_use(directory, camera)?.is_some();
    let now = kept.now();
    Ok(kept.history.into_iter().chain([now]).chain((!used).then_some(settings)).collect())
}

fn kept_in_use(directory: Option<&Path>, camera: &CameraPlan) -> io::Result<Option<Kept>> {
    let Some(file) = directory.map(|directory| directory.join(FILE)) else { return Ok(None) };
    let mut kept = match parse(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let of_camera = kept.remove(&*camera.name);
    Ok(of_camera.filter(|kept| kept.configured == camera.recipe && kept.recipe.check().is_ok()))
}
