//! What pictures of a camera are compared with: the good parts in the calibration file of its recipe.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::CameraConfig;
use crate::drift::Baseline;

/// Folder of calibration files, in the one for what must outlast the line.
pub const CALIBRATIONS: &str = "calibrations";

/// Where the good parts of each recipe are to be found.
#[derive(Clone, Debug, Default)]
pub struct Pictures {
    directory: Option<PathBuf>,
    /// Files that the settings name, and for which recipe.
    configured: BTreeMap<String, (String, PathBuf)>,
}

impl Pictures {
    /// Of these cameras; `directory` is for what must outlast the line.
    pub fn new(directory: Option<&Path>, cameras: &[CameraConfig]) -> Self {
        let named = |camera: &CameraConfig| {
            let recipe = camera.plan.recipe.info.id.clone();
            Some((camera.plan.name.to_string(), (recipe, camera.calibration.clone()?)))
        };
        Self { directory: directory.map(Path::to_owned), configured: cameras.iter().filter_map(named).collect() }
    }

    /// The file that the settings name for this recipe, else the one that a calibration has left in the state folder.
    fn file(&self, camera: &str, recipe: &str) -> Option<PathBuf> {
        let named = self.configured.get(camera).filter(|(id, _)| id == recipe).map(|(_, file)| file.clone());
        let left = || {
            let file = self.directory.as_ref()?.join(CALIBRATIONS).join(format!("{camera}-{recipe}.json"));
            file.exists().then_some(file)
        };
        named.or_else(left)
    }

    /// The good parts to compare with. Whatever ails the file keeps no part from being inspected: it is said.
    pub fn baseline(&self, camera: &str, recipe: &str) -> Option<Arc<Baseline>> {
        let file = self.file(camera, recipe)?;
        match Baseline::read(&file) {
            Ok(Some(baseline)) => {
                let watched: Vec<_> = baseline.watched().iter().map(|watched| watched.measure).collect();
                tracing::info!(
                    camera,
                    recipe,
                    parts = baseline.parts(),
                    ?watched,
                    "pictures are compared with good parts"
                );
                for not in baseline.unwatched() {
                    tracing::info!(camera, measure = ?not.measure, "not watched: {}", not.why);
                }
                Some(Arc::new(baseline))
            }
            Ok(None) => {
                let file = file.display();
                tracing::warn!(camera, %file, "the calibration file says nothing of pictures: changes of them are not told");
                None
            }
            Err(error) => {
                tracing::error!(camera, "{error}; changes of the picture are not told");
                None
            }
        }
    }
}
