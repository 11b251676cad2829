//! Recipes that came by command or calibration, kept for the next start, with those before them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::event::RecipeInfo;
use crate::line::CameraPlan;
use crate::line::recipe::RecipeSpec;
use crate::memory::{Memory, MemoryError};
use crate::output;

/// Name of the file in the line's state directory.
const FILE: &str = "recipes.json";
/// Folder of the memories beside it.
const MEMORIES: &str = "memories";
const MEMORY: &str = ".memory";
/// Recipes of one camera that a way back leads to; the oldest go.
const MOST_BEFORE: usize = 20;

/// One camera's recipe, and what the settings said when it came: changed settings win over an older command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    configured: RecipeSpec,
    recipe: RecipeSpec,
    /// Name of the memory that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    /// The settings have changed since, and somebody was told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    superseded: bool,
    /// What was in use before, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    before: Vec<Before>,
}

/// What was in use together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Before {
    #[serde(flatten)]
    recipe: RecipeSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
}

/// A recipe cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// Nothing is known of this camera.
    #[error("no camera '{camera}'")]
    NoCamera {
        /// Its name.
        camera: String,
    },
    /// There is no way back.
    #[error(
        "camera '{camera}': recipe '{recipe}' version {version} is in use, and none was before it; nothing to go back to"
    )]
    NothingBefore {
        /// Its name.
        camera: String,
        /// In use.
        recipe: String,
        /// Its version.
        version: u32,
    },
    /// It would be forgotten with the end of the service.
    #[error("no folder to keep a memory in; set directory in [commands], or STATE_DIRECTORY as systemd does")]
    NoFolder,
    /// The memory before is gone, or the new one finds no place.
    #[error("{0}; recipe and memory in use stay")]
    Memory(#[from] MemoryError),
    /// The disk, or the rights on it.
    #[error("the recipe in use stays, the new one cannot be kept: writing {file}")]
    Write {
        /// Where.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The recipes in use that are not those of the settings.
pub struct KeptRecipes {
    /// Where the file is; `None` keeps them until the service stops.
    directory: Option<PathBuf>,
    configured: BTreeMap<String, RecipeSpec>,
    /// Memories that the settings name.
    memories: BTreeMap<String, Arc<Memory>>,
    kept: BTreeMap<String, Kept>,
    /// Why the recipes of an earlier start are not in use.
    trouble: Option<String>,
}

impl KeptRecipes {
    /// Reads what an earlier start has kept, and gives every camera its own. A file that cannot be read is put aside and
    /// told ([`KeptRecipes::trouble`]): the settings' recipes are good ones, but not those that somebody asked for.
    pub fn open(directory: Option<&Path>, cameras: &mut [&mut CameraPlan]) -> Self {
        let (mut kept, mut trouble) = directory.map(read).unwrap_or_default();
        let configured: BTreeMap<String, RecipeSpec> =
            cameras.iter().map(|plan| (plan.name.to_string(), plan.recipe.clone())).collect();
        let mut news = false;
        for (camera, kept) in &mut kept {
            let superseded = configured.get(camera) != Some(&kept.configured);
            if superseded && !kept.superseded {
                let RecipeInfo { id, version } = &kept.recipe.info;
                tracing::warn!(
                    camera,
                    recipe = id,
                    version,
                    "the settings have changed since this recipe came by command; theirs is used"
                );
            }
            news |= superseded != kept.superseded;
            kept.superseded = superseded;
        }
        if let Some(directory) = directory.filter(|_| news)
            && let Err(error) = write(directory, &kept)
        {
            tracing::warn!("{}: {error}; the next start says it again", directory.join(FILE).display());
        }
        let mut memories = BTreeMap::new();
        for plan in cameras {
            memories.extend(plan.memory.clone().map(|memory| (plan.name.to_string(), memory)));
            if let Some(kept) = kept.get(&*plan.name).filter(|kept| kept.is_used()) {
                let RecipeInfo { id, version } = &kept.recipe.info;
                tracing::info!(camera = %plan.name, recipe = id, version, "recipe that came by command");
                plan.kept = Some(kept.recipe.clone());
                let file = kept.memory.as_ref().zip(directory).map(|(name, place)| place.join(MEMORIES).join(name));
                match file.map(|file| Memory::read(&file)).transpose() {
                    // That of the settings is for their product.
                    Ok(memory) => {
                        let same = kept.recipe.info.id == plan.recipe.info.id;
                        plan.memory = memory.map(Arc::new).or(plan.memory.take().filter(|_| same));
                    }
                    Err(error) => {
                        let text = format!("camera '{}' gets no verdicts without its memory: {error}", plan.name);
                        tracing::error!("{text}");
                        plan.memory = Some(Arc::new(Memory::lost(error.to_string())));
                        trouble = Some(trouble.map_or(text.clone(), |before| format!("{before}; {text}")));
                    }
                }
            }
        }
        Self { directory: directory.map(Path::to_owned), configured, memories, kept, trouble }
    }

    /// Why recipes that came by command are not in use, for an alarm.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Keeps these recipes. After an error nothing has changed.
    pub fn keep<'a>(&mut self, changes: impl Iterator<Item = (&'a str, &'a RecipeSpec)>) -> Result<(), KeptError> {
        let mut kept = self.kept.clone();
        for (camera, recipe) in changes {
            let configured = self.configured(camera)?.clone();
            let mut before = self.before(camera).to_vec();
            before.push(self.in_use(camera)?);
            before.drain(..before.len().saturating_sub(MOST_BEFORE));
            let (recipe, memory) = (recipe.clone(), self.memory_of(camera, &recipe.info.id)?.cloned());
            kept.insert(camera.to_owned(), Kept { configured, recipe, memory, superseded: false, before });
        }
        self.replace(kept)
    }

    /// Keeps a memory, which goes with the recipe in use from now on; says where. After an error nothing has changed but a
    /// file that nobody knows.
    pub fn keep_memory(&mut self, camera: &str, memory: &Memory) -> Result<PathBuf, KeptError> {
        let folder = self.directory.as_ref().ok_or(KeptError::NoFolder)?.join(MEMORIES);
        let name = format!("{camera}-{}{MEMORY}", memory.about().id);
        let file = folder.join(&name);
        let failed = |source| KeptError::Write { file: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        memory.write(&file)?;
        output::sync_folder(&folder).map_err(failed)?;
        let mut before = self.before(camera).to_vec();
        before.push(self.in_use(camera)?);
        before.drain(..before.len().saturating_sub(MOST_BEFORE));
        let (configured, recipe) = (self.configured(camera)?.clone(), self.used(camera)?.clone());
        let mut kept = self.kept.clone();
        let of_camera = Kept { configured, recipe, memory: Some(name), superseded: false, before };
        kept.insert(camera.to_owned(), of_camera);
        self.replace(kept)?;
        self.forget_memories(&folder, camera);
        Ok(file)
    }

    /// Files of memories that no way back leads to.
    fn forget_memories(&self, folder: &Path, camera: &str) {
        let Some(kept) = self.kept.get(camera) else { return };
        let known =
            |name: &str| kept.memory.iter().chain(kept.before.iter().flat_map(|b| &b.memory)).any(|n| n == name);
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let of_camera = name.strip_suffix(MEMORY).and_then(|name| name.rsplit_once('-'));
            if of_camera.is_some_and(|(of, _)| of == camera)
                && !known(&name)
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!("{}: {error}; an old memory stays", entry.path().display());
            }
        }
    }

    /// Name of the memory that goes with recipes of this name: another product has another one, or none.
    fn memory_of(&self, camera: &str, id: &str) -> Result<Option<&String>, KeptError> {
        if self.used(camera)?.info.id == id {
            return Ok(self.memory(camera));
        }
        let latest = self.before(camera).iter().rfind(|before| before.recipe.info.id == id);
        Ok(latest.and_then(|before| before.memory.as_ref()))
    }

    /// The memory that goes with recipes of this name, read anew; `None` where it is the one in use.
    pub fn other_memory(&self, camera: &str, id: &str) -> Result<Option<Option<Arc<Memory>>>, KeptError> {
        if self.used(camera)?.info.id == id {
            return Ok(None);
        }
        self.read_memory(camera, id, self.memory_of(camera, id)?).map(Some)
    }

    /// The memory that goes with [`KeptRecipes::previous`], read anew.
    pub fn previous_memory(&self, camera: &str) -> Result<Option<Arc<Memory>>, KeptError> {
        match self.before(camera).last() {
            Some(before) => self.read_memory(camera, &before.recipe.info.id, before.memory.as_ref()),
            None => Ok(None),
        }
    }

    /// The memory of this name; without one that of the settings, when it is for recipes of this name.
    fn read_memory(&self, camera: &str, id: &str, name: Option<&String>) -> Result<Option<Arc<Memory>>, KeptError> {
        let file = name.zip(self.directory.as_ref()).map(|(name, place)| place.join(MEMORIES).join(name));
        let read = file.map(|file| Memory::read(&file)).transpose()?;
        let configured = self.configured(camera).is_ok_and(|recipe| recipe.info.id == id);
        Ok(read.map(Arc::new).or_else(|| self.memories.get(camera).filter(|_| configured).cloned()))
    }

    fn memory(&self, camera: &str) -> Option<&String> {
        self.kept.get(camera).filter(|kept| kept.is_used()).and_then(|kept| kept.memory.as_ref())
    }

    fn in_use(&self, camera: &str) -> Result<Before, KeptError> {
        Ok(Before { recipe: self.used(camera)?.clone(), memory: self.memory(camera).cloned() })
    }

    /// The recipe in use: the kept one, or that of the settings.
    pub fn used(&self, camera: &str) -> Result<&RecipeSpec, KeptError> {
        let kept = self.kept.get(camera).filter(|kept| kept.is_used());
        kept.map_or_else(|| self.configured(camera), |kept| Ok(&kept.recipe))
    }

    /// What a way back from the recipe in use leads to: that before it, as a new version, because a version that was used
    /// before has said something else; the very recipe in use where only the memory was another one.
    pub fn previous(&self, camera: &str) -> Result<RecipeSpec, KeptError> {
        let used = self.used(camera)?;
        let Some(before) = self.before(camera).last() else {
            let RecipeInfo { id, version } = used.info.clone();
            return Err(KeptError::NothingBefore { camera: camera.to_owned(), recipe: id, version });
        };
        let before = &before.recipe;
        if before == used {
            return Ok(before.clone());
        }
        let newest = if before.info.id == used.info.id { used.info.version } else { before.info.version };
        let info = RecipeInfo { id: before.info.id.clone(), version: newest.saturating_add(1) };
        Ok(RecipeSpec { info, ..before.clone() })
    }

    /// Keeps [`KeptRecipes::previous`], and gives it back. After an error nothing has changed.
    pub fn roll_back(&mut self, camera: &str) -> Result<RecipeSpec, KeptError> {
        let recipe = self.previous(camera)?;
        let mut kept = self.kept.clone();
        if let Some(kept) = kept.get_mut(camera) {
            kept.memory = kept.before.pop().and_then(|before| before.memory);
            kept.recipe = recipe.clone();
        }
        self.replace(kept)?;
        Ok(recipe)
    }

    fn configured(&self, camera: &str) -> Result<&RecipeSpec, KeptError> {
        self.configured.get(camera).ok_or_else(|| KeptError::NoCamera { camera: camera.to_owned() })
    }

    /// Settings that have changed since end the way back, too.
    fn before(&self, camera: &str) -> &[Before] {
        self.kept.get(camera).filter(|kept| kept.is_used()).map_or(&[], |kept| &kept.before)
    }

    fn replace(&mut self, kept: BTreeMap<String, Kept>) -> Result<(), KeptError> {
        if let Some(directory) = &self.directory {
            write(directory, &kept).map_err(|source| KeptError::Write { file: directory.join(FILE), source })?;
        }
        self.kept = kept;
        Ok(())
    }
}

impl Kept {
    fn is_used(&self) -> bool {
        !self.superseded && self.recipe.check().is_ok()
    }
}

/// The recipe that a start with these settings would use, without changing the file: whoever only looks may do so beside a
/// running line.
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
    let same = kept.recipe.info.id == camera.recipe.info.id;
    let file = kept.memory.zip(directory).map(|(name, directory)| directory.join(MEMORIES).join(name));
    Ok(file.or_else(|| configured.filter(|_| same).map(Path::to_owned)))
}

fn kept_in_use(directory: Option<&Path>, camera: &CameraPlan) -> io::Result<Option<Kept>> {
    let Some(file) = directory.map(|directory| directory.join(FILE)) else { return Ok(None) };
    let bytes = match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let mut kept: BTreeMap<String, Kept> = serde_json::from_slice(&bytes)?;
    let of_camera = kept.remove(&*camera.name);
    Ok(of_camera.filter(|kept| kept.configured == camera.recipe && kept.recipe.check().is_ok()))
}

/// What is kept, or why it cannot be read. A damaged file is put aside, so that the next command does not replace it.
fn read(directory: &Path) -> (BTreeMap<String, Kept>, Option<String>) {
    let file = directory.join(FILE);
    let found = fs::read(&file).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from));
    let error = match found {
        Ok(kept) => return (kept, None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Default::default(),
        Err(error) => error,
    };
    let aside = file.with_extension("json.damaged");
    let place = match fs::rename(&file, &aside) {
        Ok(()) => aside,
        Err(_) => file.clone(),
    };
    let trouble = format!(
        "{}: {error}; the recipes of the settings are used: send the recipes again, what is left of them is in {}",
        file.display(),
        place.display()
    );
    tracing::error!("{trouble}");
    (BTreeMap::new(), Some(trouble))
}

/// The whole file or the old one, whenever the power goes.
fn write(directory: &Path, kept: &BTreeMap<String, Kept>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    output::write(&directory.join(FILE), &serde_json::to_vec_pretty(kept)?)?;
    output::sync_folder(directory)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::line::parts::TriggerPlan;
    use crate::line::queue::WhenFull;

    fn plan(version: u32) -> CameraPlan {
        CameraPlan {
            name: "top".into(),
            queue: 1,
            when_full: WhenFull::Reject,
            trigger: TriggerPlan::free(),
            recipe: RecipeSpec {
                info: RecipeInfo { id: "caps".into(), version },
                threshold: None,
                defect_threshold: 0.5,
                min_area_px: 1,
                regions: vec![vec![[0.0, 0.0], [9.5, 0.0], [0.0, 9.0]]],
            },
            kept: None,
            memory: None,
            picture: None,
            locate: None,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_recipe_is_kept_until_the_settings_change() {
        let folder = tempfile::tempdir().expect("temp dir");
        let state = folder.path().join("state");
        let mut first = plan(1);
        let mut kept = KeptRecipes::open(Some(&state), &mut [&mut first]);
        assert_eq!(first.kept, None);
        let new = RecipeSpec { defect_threshold: 0.7, ..plan(2).recipe };
        kept.keep([("top", &new)].into_iter()).expect("kept");

        let mut second = plan(1);
        KeptRecipes::open(Some(&state), &mut [&mut second]);
        assert_eq!(second.kept, Some(new));
        let mut changed = plan(1);
        changed.recipe.min_area_px = 7;
        KeptRecipes::open(Some(&state), &mut [&mut changed]);
        assert_eq!(changed.kept, None);

        fs::write(state.join(FILE), "{\"top\": 7").expect("written");
        let mut damaged = plan(1);
        KeptRecipes::open(Some(&state), &mut [&mut damaged]);
        assert_eq!(damaged.kept, None);
    }

    #[test]
    fn a_way_back_leads_to_the_recipes_before_as_new_versions() {
        let folder = tempfile::tempdir().expect("temp dir");
        let state = Some(folder.path());
        let mut kept = KeptRecipes::open(state, &mut [&mut plan(1)]);
        let told = kept.roll_back("top").expect_err("nothing before").to_string();
        assert!(told.contains("recipe 'caps' version 1 is in use, and none was before it"), "{told}");
        for (version, defect_threshold) in [(2, 0.6), (3, 0.7)] {
            let new = RecipeSpec { defect_threshold, ..plan(version).recipe };
            kept.keep([("top", &new)].into_iter()).expect("kept");
        }
        let mut kept = KeptRecipes::open(state, &mut [&mut plan(1)]);
        let back = kept.roll_back("top").expect("back");
        assert_eq!((back.info.version, back.defect_threshold), (4, 0.6));
        assert_eq!(recipe_in_use(state, &plan(1)).expect("read"), back);
        let back = kept.roll_back("top").expect("back");
        assert_eq!((back.info.version, back.defect_threshold), (5, 0.5));
        assert!(matches!(kept.roll_back("top"), Err(KeptError::NothingBefore { version: 5, .. })));
        let mut started = plan(1);
        KeptRecipes::open(state, &mut [&mut started]);
        assert_eq!(started.kept, Some(back));
        // Changed settings win, and nothing leads back behind them.
        let mut changed = plan(1);
        changed.recipe.min_area_px = 7;
        assert_eq!(recipe_in_use(state, &changed).expect("read"), changed.recipe);
        let mut kept = KeptRecipes::open(state, &mut [&mut changed]);
        assert!(matches!(kept.roll_back("top"), Err(KeptError::NothingBefore { version: 1, .. })));
    }

    #[test]
    fn a_memory_goes_with_its_product() {
        let mut kept = KeptRecipes::open(None, &mut [&mut plan(1)]);
        kept.keep([("top", &plan(2).recipe)].into_iter()).expect("kept");
        kept.kept.get_mut("top").expect("kept").memory = Some("top-7.memory".into());
        kept.keep([("top", &plan(3).recipe)].into_iter()).expect("kept");
        assert_eq!(kept.memory("top").map(String::as_str), Some("top-7.memory"));
        let lids = RecipeSpec { info: RecipeInfo { id: "lids".into(), version: 1 }, ..plan(1).recipe };
        kept.keep([("top", &lids)].into_iter()).expect("kept");
        assert_eq!(kept.memory("top"), None);
        kept.keep([("top", &plan(4).recipe)].into_iter()).expect("kept");
        assert_eq!(kept.memory("top").map(String::as_str), Some("top-7.memory"), "the product is back");
        assert_eq!(kept.roll_back("top").expect("back").info.id, "lids");
        assert_eq!(kept.memory("top"), None);
        assert_eq!(kept.roll_back("top").expect("back").info, RecipeInfo { id: "caps".into(), version: 4 });
        assert_eq!(kept.memory("top").map(String::as_str), Some("top-7.memory"));
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() {
        let folder = tempfile::tempdir().expect("temp dir");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let mut kept = KeptRecipes::open(Some(&file), &mut [&mut plan(1)]);
        let error = kept.keep([("top", &plan(2).recipe)].into_iter()).expect_err("no folder");
        assert!(error.to_string().starts_with("the recipe in use stays, the new one cannot be kept: writing "));
        assert!(kept.kept.is_empty());
    }
}
