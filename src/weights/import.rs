//! From a CLIP file and a VCP-CLIP file to a bundle, tensor by tensor.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::bundle::{Bundle, Draft, Prompt, Prompts, SourceFile, check_temperature, hash, write};
use super::choose::{Role, is_training_state};
use super::container::Container;
use super::detect::{Detected, Wanted, detect};
use super::error::ImportError;
use super::layout::{self, Named, TOKEN_ROWS, TOKEN_TABLE, VISION_POSITIONS};
use super::naming::Naming;
use super::plus::{self, Direct};
use super::position;
use crate::vcp_clip::Constants;
use crate::vcp_clip::pre_vcp::{DIRECT_BIAS, DIRECT_WEIGHT};
use crate::vcp_clip::prompt::{self, ABNORMAL_TEMPLATE, NORMAL_TEMPLATE, PromptError};

/// A tensor that VCP-CLIP files have and the method never uses.
const UNUSED_VCP: &str = "prompt_text_projection";
/// What the manifest says about rights; this program cannot know more.
const LICENCE_NOTE: &str = "These weights keep the licences of the files they were made of, named under sources. OpenAI publishes its CLIP \
    under the MIT licence; published weights of VCP-CLIP are under the terms of their authors, and weights that were trained \
    elsewhere under those of whoever trained them. Check them before you use or pass on this bundle.";

/// What to import.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// CLIP: a file, or a folder from Hugging Face.
    pub clip: PathBuf,
    /// The other tower, when each is saved alone.
    pub second_tower: Option<PathBuf>,
    /// VCP-CLIP.
    pub vcp: PathBuf,
    /// Side of the square input, pixels; a multiple of the patch size.
    pub image_size: usize,
    /// Vision blocks whose patch tokens are used, from 1; evenly spread when not given.
    pub taps: Option<Vec<usize>>,
    /// Heads of the Post-VCP cross-attention, 8 in the released model.
    pub post_heads: usize,
    /// What people call this model; the name of the bundle's folder when not given.
    pub name: Option<String>,
    /// The bundle's folder.
    pub out: PathBuf,
    /// May a bundle that is there be replaced?
    pub force: bool,
}

/// Imports weight files. `progress` hears the stage, and how much of it is done out of how much.
///
/// On an error no bundle is left at [`ImportRequest::out`], and a replaced one stays as it was.
pub fn import(request: &ImportRequest, progress: &mut dyn FnMut(&str, u64, u64)) -> Result<Bundle, ImportError> {
    import_with(request, Constants::default(), progress)
}

/// [`import`] for a model whose constants are not those of the released evaluation.
pub fn import_with(
    request: &ImportRequest,
    mut constants: Constants,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Bundle, ImportError> {
    let clip_files: Vec<PathBuf> = [&request.clip].into_iter().chain(&request.second_tower).cloned().collect();
    let mut clip = Container::open(&clip_files, Role::Clip)?;
    let mut vcp = Container::open(std::slice::from_ref(&request.vcp), Role::Vcp)?;
    let naming = Naming::of(&clip);
    let wanted =
        Wanted { image_size: request.image_size, taps: request.taps.as_deref(), post_heads: request.post_heads };
    let detected = detect(&clip, naming, &vcp, &wanted)?;
    let prompts = prompts()?;
    prompts.check(&detected.sizes).map_err(ImportError::Sizes)?;
    check_clip(&clip, naming, &detected)?;
    check_vcp(&vcp, &detected)?;
    for name in layout::TEMPERATURES {
        let values = vcp.load(name)?;
        check_temperature(name, &values)
            .map_err(|reason| ImportError::Temperature { path: vcp.path_of(name), reason })?;
    }

    if let Some(raw_weight) = plus::raw_weight(&mut vcp)? {
        constants.raw_weight = raw_weight;
    }
    let mut direct = match detected.sizes.direct_prompts {
        true => Some(Direct::load(&mut vcp, detected.sizes.text_width)?),
        false => None,
    };

    let mut sources = Vec::new();
    let clip_kind = format!("{}, {}", clip.kind(), naming.describe());
    identify("clip", &clip.files(), &clip_kind, &mut sources, progress)?;
    let vcp_kind = format!("{}{}", vcp.kind(), if direct.is_some() { ", VCP-CLIP+" } else { "" });
    identify("vcp", &vcp.files(), &vcp_kind, &mut sources, progress)?;
    let draft = Draft {
        name: request.name.clone().unwrap_or_else(|| folder_name(&request.out)),
        architecture: detected.sizes.clone(),
        constants,
        prompts,
        sources,
        licence_note: LICENCE_NOTE.to_owned(),
    };
    let token_ids = draft.token_ids();
    let total = draft.tensors().len() as u64;
    let mut done = 0;
    write(&request.out, request.force, draft, &mut |name, _| {
        progress("tensors", done, total);
        done += 1;
        let values = match name {
            TOKEN_ROWS => rows(load(&mut clip, naming, TOKEN_TABLE)?, &token_ids, detected.sizes.text_width),
            VISION_POSITIONS => {
                let native = load(&mut clip, naming, name)?;
                position::resize(&native, detected.sizes.vision_width, detected.native_grid, detected.sizes.grid())
                    .unwrap_or(native)
            }
            DIRECT_WEIGHT => direct.as_mut().map(|direct| std::mem::take(&mut direct.weight)).unwrap_or_default(),
            DIRECT_BIAS => direct.as_mut().map(|direct| std::mem::take(&mut direct.bias)).unwrap_or_default(),
            _ if layout::is_vcp(name) => vcp.load(name)?,
            _ => load(&mut clip, naming, name)?,
        };
        progress("tensors", done, total);
        Ok(values)
    })
}

/// The two prompts of the method with their tokens.
pub(super) fn prompts() -> Result<Prompts, PromptError> {
    let prompt =
        |template: &str| Ok(Prompt { template: template.to_owned(), tokens: prompt::tokenize_template(template)? });
    Ok(Prompts { normal: prompt(NORMAL_TEMPLATE)?, abnormal: prompt(ABNORMAL_TEMPLATE)? })
}

fn folder_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn check_clip(clip: &Container, naming: Naming, detected: &Detected) -> Result<(), ImportError> {
    let mut known = BTreeSet::new();
    for (name, shape) in layout::clip_file(&detected.sizes, detected.native_grid, detected.vocabulary) {
        let origin = naming.origin(&name);
        let shape = origin.part_shape(&shape);
        for part in origin.parts {
            check_tensor(clip, &part, &shape)?;
            known.insert(part);
        }
    }
    check_surplus(clip, |name| known.contains(name) || naming.is_unused(name) || layout::is_vcp(name))
}

fn check_vcp(vcp: &Container, detected: &Detected) -> Result<(), ImportError> {
    let direct = detected.sizes.direct_prompts;
    let mut expected: Vec<Named> = layout::vcp(&detected.sizes);
    if direct {
        expected.retain(|(name, _)| !plus::is_folded(name));
        expected.extend(plus::file(vcp, detected.sizes.text_width));
    }
    for (name, shape) in &expected {
        check_tensor(vcp, name, shape)?;
    }
    let known: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    let unused = |name: &str| {
        name == UNUSED_VCP || name == plus::ALPHA || layout::is_clip(name) || direct && plus::is_unused(name)
    };
    check_surplus(vcp, |name| known.contains(name) || unused(name))
}

fn check_tensor(file: &Container, name: &str, expected: &[usize]) -> Result<(), ImportError> {
    let path = file.path_of(name);
    let tensor = name.to_owned();
    let (Some(found), Some(element)) = (file.shape(name), file.element(name)) else {
        return Err(ImportError::Missing { path, tensor, expected: format!("{expected:?}") });
    };
    // One number is one number: numpy and others make a vector of a scalar.
    let scalar = expected.is_empty() && found.iter().all(|&size| size == 1);
    if found != expected && !scalar {
        let found = found.to_vec();
        return Err(ImportError::Shape { path, tensor, expected: format!("{expected:?}"), found });
    }
    if !element.is_float() {
        return Err(ImportError::Dtype { path, tensor, dtype: element.name() });
    }
    Ok(())
}

fn check_surplus(file: &Container, known: impl Fn(&str) -> bool) -> Result<(), ImportError> {
    let beside = |name: &str| is_training_state(name) || is_buffer(name) || is_lone(file, name);
    match file.names().into_iter().find(|name| !known(name) && !beside(name)) {
        None => Ok(()),
        Some(name) => Err(ImportError::Surplus {
            path: file.path_of(name),
            tensor: name.to_owned(),
            found: file.shape(name).unwrap_or_default().to_vec(),
        }),
    }
}

/// Is this a buffer that a module computes for itself? `torch.jit.script` stores also those that are in no state
/// dictionary.
fn is_buffer(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.ends_with("_mask")
        || matches!(last, "mask" | "position_ids" | "pos_ids" | "num_batches_tracked" | "logit_scale" | "logit_bias")
        || matches!(name, "image_mean" | "image_std" | "pixel_mean" | "pixel_std")
}

/// Is this a number or a few of them in no module, such as a counter of the training? All that the models have of that
/// kind is known, and what computes something else has matrices.
fn is_lone(file: &Container, name: &str) -> bool {
    let few = file.shape(name).is_some_and(|shape| shape.len() < 2);
    let whole = file.element(name).is_some_and(|element| !element.is_float());
    !name.contains('.') && (few || whole) && !layout::is_vcp(name) && name != plus::ALPHA
}

/// A CLIP tensor by its OpenAI name, put together from its parts.
fn load(clip: &mut Container, naming: Naming, name: &str) -> Result<Vec<f32>, ImportError> {
    let origin = naming.origin(name);
    if origin.transposed {
        let part = &origin.parts[0];
        let columns = clip.shape(part).and_then(|shape| shape.last().copied()).unwrap_or(1);
        let values = clip.load(part)?;
        return Ok((0..columns).flat_map(|column| values[column..].iter().step_by(columns).copied()).collect());
    }
    let mut values = Vec::new();
    for part in &origin.parts {
        let loaded = clip.load(part)?;
        if values.is_empty() {
            values = loaded;
        } else {
            values.extend(loaded);
        }
    }
    Ok(values)
}

fn rows(table: Vec<f32>, ids: &[u32], width: usize) -> Vec<f32> {
    ids.iter().flat_map(|&id| table.chunks_exact(width).nth(id as usize).unwrap_or(&[])).copied().collect()
}

fn identify(
    role: &str,
    files: &[PathBuf],
    kind: &str,
    sources: &mut Vec<SourceFile>,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<(), ImportError> {
    for (done, path) in files.iter().enumerate() {
        progress(&format!("hash of {role}"), done as u64, files.len() as u64);
        let hashed = File::open(path).and_then(|mut file| hash(&mut file));
        let (sha256, bytes) = hashed.map_err(|source| ImportError::Io { path: path.clone(), source })?;
        sources.push(SourceFile {
            role: role.to_owned(),
            file: folder_name(path),
            sha256,
            bytes,
            kind: kind.to_owned(),
        });
    }
    progress(&format!("hash of {role}"), files.len() as u64, files.len() as u64);
    Ok(())
}
