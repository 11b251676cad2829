//! Which tensors of a file are the model's, and what they are called without the wrapping of whoever saved them.
//!
//! Training scripts put a state dictionary beside an optimiser, beside a second copy with averaged weights, and below
//! modules that only wrap another one. The place is told from tensors that every such model has.

use std::collections::BTreeMap;

/// What a file should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Clip,
    Vcp,
}

/// Modules that wrap another one; no tensor of the two models has such a part in its name.
const WRAPPERS: [&str; 6] =
    ["module", "_orig_mod", "model", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"];
/// Tensors of a VCP-CLIP file, in its root.
const VCP: [&str; 5] = [
    "New_Lan_Embed.prompt_query",
    "Zero_try.q_proj_pre.weight",
    "trainable_linearlayer.fc.0.weight",
    "prompt_embeddings",
    "deep_prompt_embeddings",
];

/// How one library names a tower.
struct Tower {
    /// Tensors of the tower, in its root.
    anchors: &'static [&'static str],
    /// The module that a whole model keeps the tower in; empty when its tensors lie in the root.
    module: &'static str,
    /// The same, as other classes call it.
    other_module: &'static str,
}

const OPEN_AI: [Tower; 2] = [
    Tower { anchors: &["conv1.weight", "ln_pre.weight", "ln_post.weight"], module: "visual", other_module: "visual" },
    Tower { anchors: &["token_embedding.weight", "ln_final.weight"], module: "", other_module: "text" },
];
const HUGGING_FACE: [Tower; 2] = [
    Tower {
        anchors: &["embeddings.patch_embedding.weight", "pre_layrnorm.weight", "post_layernorm.weight"],
        module: "vision_model",
        other_module: "vision_model",
    },
    Tower {
        anchors: &["embeddings.token_embedding.weight", "final_layer_norm.weight"],
        module: "text_model",
        other_module: "text_model",
    },
];
/// Tensors of a whole Hugging Face model beside its towers.
const BESIDE_TOWERS: [&str; 3] = ["visual_projection.", "text_projection.", "logit_scale"];

/// The tensors chosen: name in the model → name in the file.
pub(super) struct Chosen {
    pub(super) names: BTreeMap<String, String>,
    /// Where they were, when that is not simply the file.
    pub(super) place: Option<String>,
}

/// Chooses among all names of a file.
pub(super) fn choose<'a>(names: impl Iterator<Item = &'a str>, role: Role) -> Chosen {
    let cleaned = Cleaned::new(names);
    let (roots, names, anchors) = match role {
        Role::Vcp => {
            let root = cleaned.best(&VCP).unwrap_or_default();
            let names = cleaned.rename(|name| under(&root, name).map(str::to_owned));
            (vec![root], names, VCP.to_vec())
        }
        Role::Clip => {
            let towers = if cleaned.is_hugging_face() { &HUGGING_FACE } else { &OPEN_AI };
            let (roots, names) = cleaned.clip(towers);
            (roots, names, towers.iter().flat_map(|tower| tower.anchors).copied().collect())
        }
    };
    let place = cleaned.place(&roots, &anchors);
    Chosen { names, place }
}

/// Is this tensor beside the model what a training keeps: its optimiser, averages, counters, random numbers?
pub(super) fn is_training_state(name: &str) -> bool {
    const WORDS: [&str; 31] = [
        "scheduler",
        "sched",
        "scaler",
        "rng",
        "seed",
        "epoch",
        "step",
        "steps",
        "iter",
        "iteration",
        "iterations",
        "loss",
        "losses",
        "metric",
        "metrics",
        "best",
        "history",
        "args",
        "config",
        "cfg",
        "hparams",
        "callbacks",
        "loops",
        "generator",
        "lr",
        "grad",
        "criterion",
        "meta",
        "metadata",
        "random",
        "score",
    ];
    let first = name.split('.').next().unwrap_or(name);
    is_second(first) || words(first).any(|word| WORDS.contains(&word.as_str()))
}

/// Is this part of a name that of averaged weights, of a teacher, or of an optimiser?
fn is_second(part: &str) -> bool {
    const WORDS: [&str; 9] = ["ema", "swa", "teacher", "shadow", "averaged", "average", "avg", "momentum", "target"];
    part.to_lowercase().ends_with("ema")
        || words(part).any(|word| WORDS.contains(&word.as_str()) || word.starts_with("optim"))
}

fn words(part: &str) -> impl Iterator<Item = String> {
    part.split(['_', '-', ' ']).map(str::to_lowercase)
}

/// What follows `root` in a name.
fn under<'a>(root: &str, name: &'a str) -> Option<&'a str> {
    if root.is_empty() { Some(name) } else { name.strip_prefix(root)?.strip_prefix('.') }
}

/// What comes before a tensor of this name within its module.
fn before<'a>(name: &'a str, anchor: &str) -> Option<&'a str> {
    let rest = name.strip_suffix(anchor)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_suffix('.') }
}

fn join(module: &str, rest: &str) -> String {
    if module.is_empty() { rest.to_owned() } else { format!("{module}.{rest}") }
}

/// Names without wrapping modules → names in the file.
struct Cleaned<'a>(BTreeMap<String, &'a str>);

impl<'a> Cleaned<'a> {
    /// Of two that are the same without wrapping, the one with less of it.
    fn new(names: impl Iterator<Item = &'a str>) -> Self {
        let mut cleaned = BTreeMap::<String, &str>::new();
        for name in names {
            let mut parts: Vec<&str> = name.split('.').collect();
            let last = parts.pop();
            parts.retain(|part| !WRAPPERS.contains(part));
            parts.dedup_by(|a, b| a == b && matches!(*a, "vision_model" | "text_model" | "visual"));
            parts.extend(last);
            let place = cleaned.entry(parts.join(".")).or_insert(name);
            if name.len() < place.len() {
                *place = name;
            }
        }
        Self(cleaned)
    }

    /// The module that most of these tensors are in. One with averaged weights only when there is no other.
    fn best(&self, anchors: &[&str]) -> Option<String> {
        let mut votes = BTreeMap::<&str, usize>::new();
        for name in self.0.keys() {
            for prefix in anchors.iter().filter_map(|anchor| before(name, anchor)) {
                *votes.entry(prefix).or_default() += 1;
            }
        }
        let rank = |(prefix, votes): &(&str, usize)| {
            (prefix.split('.').any(is_second), usize::MAX - votes, prefix.len(), (*prefix).to_owned())
        };
        votes.into_iter().min_by_key(rank).map(|(prefix, _)| prefix.to_owned())
    }

    fn rename(&self, new: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
        let renamed = self.0.iter().filter_map(|(name, origin)| Some((new(name)?, (*origin).to_owned())));
        renamed.collect()
    }

    fn is_hugging_face(&self) -> bool {
        let theirs = ["embeddings.patch_embedding.weight", "pre_layrnorm.weight", "embeddings.token_embedding.weight"];
        self.0.keys().any(|name| theirs.iter().any(|anchor| before(name, anchor).is_some()))
    }

    /// Both towers of CLIP, or the one that is there, and what lies beside them.
    fn clip(&self, towers: &[Tower]) -> (Vec<String>, BTreeMap<String, String>) {
        let mut found: Vec<(String, &Tower)> =
            towers.iter().filter_map(|tower| Some((self.best(tower.anchors)?, tower))).collect();
        let roots: Vec<String> = found.iter().map(|(prefix, tower)| root(prefix, tower)).collect();
        // The longer prefix first: the text tower of OpenAI is the root that the vision tower lies in.
        found.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        let names = self.rename(|name| {
            for (prefix, tower) in &found {
                if let Some(rest) = under(prefix, name) {
                    let beside =
                        !tower.module.is_empty() && BESIDE_TOWERS.iter().any(|beside| rest.starts_with(beside));
                    return Some(if beside { rest.to_owned() } else { join(tower.module, rest) });
                }
            }
            match roots.is_empty() {
                true => Some(name.to_owned()),
                false => roots.iter().find_map(|root| under(root, name)).map(str::to_owned),
            }
        });
        (roots, names)
    }

    /// Where the file has its weights: what comes before the names in it, and which other places there are.
    fn place(&self, roots: &[String], anchors: &[&str]) -> Option<String> {
        let mut here = Vec::new();
        let mut others = Vec::new();
        for (name, origin) in &self.0 {
            let Some(prefix) = anchors.iter().find_map(|anchor| before(name, anchor)) else { continue };
            // The same end of the name as the file has it.
            let Some(anchor) = under(prefix, name) else { continue };
            let Some(written) = before(origin, anchor) else { continue };
            let written = ["visual", "text", "vision_model", "text_model"]
                .iter()
                .find_map(|module| before(written, module))
                .unwrap_or(written);
            let places = if roots.iter().any(|root| *root == *prefix || is_module_of(root, prefix)) {
                &mut here
            } else if prefix.split('.').any(|part| words(part).any(|word| word.starts_with("optim"))) {
                continue;
            } else {
                &mut others
            };
            if !(written.is_empty() || places.contains(&written)) {
                places.push(written);
            }
        }
        others.retain(|other| !here.contains(other));
        let list = |places: &[&str]| places.iter().map(|place| format!("'{place}'")).collect::<Vec<_>>().join(", ");
        match (here.is_empty(), others.is_empty()) {
            (true, true) => None,
            (false, true) => Some(format!("weights under {}", list(&here))),
            (true, false) => Some(format!("not the weights under {}", list(&others))),
            (false, false) => Some(format!("weights under {}, not those under {}", list(&here), list(&others))),
        }
    }
}

/// The module that the tower's module is in.
fn root(prefix: &str, tower: &Tower) -> String {
    [tower.module, tower.other_module]
        .iter()
        .filter(|module| !module.is_empty())
        .find_map(|module| before(prefix, module))
        .unwrap_or(prefix)
        .to_owned()
}

fn is_module_of(root: &str, prefix: &str) -> bool {
    under(root, prefix).is_some_and(|rest| matches!(rest, "visual" | "text" | "vision_model" | "text_model"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `model name = name in the file` of what was chosen, and the place.
    fn chosen(names: &[&str], role: Role) -> (Vec<String>, Option<String>) {
        let Chosen { names, place } = choose(names.iter().copied(), role);
        (names.into_iter().map(|(name, origin)| format!("{name} = {origin}")).collect(), place)
    }

    #[test]
    fn a_second_copy_is_left_and_told() {
        let (names, place) = chosen(
            &[
                "ema_state_dict.New_Lan_Embed.prompt_query",
                "ema_state_dict.prompt_embeddings",
                "model_state_dict.module.New_Lan_Embed.prompt_query",
                "model_state_dict.module.prompt_embeddings",
                "optimizer.state.0.exp_avg",
            ],
            Role::Vcp,
        );
        assert_eq!(
            names,
            [
                "New_Lan_Embed.prompt_query = model_state_dict.module.New_Lan_Embed.prompt_query",
                "prompt_embeddings = model_state_dict.module.prompt_embeddings"
            ]
        );
        let said = "weights under 'model_state_dict.module', not those under 'ema_state_dict'";
        assert_eq!(place.as_deref(), Some(said));
    }

    #[test]
    fn the_only_copy_is_taken_whatever_it_is_called() {
        let (names, place) = chosen(&["ema.prompt_embeddings", "epoch"], Role::Vcp);
        assert_eq!(names, ["prompt_embeddings = ema.prompt_embeddings"]);
        assert_eq!(place.as_deref(), Some("weights under 'ema'"));
    }

    #[test]
    fn wrapping_modules_are_no_names_wherever_they_are() {
        let (names, _) = chosen(
            &["_orig_mod.module.New_Lan_Embed.prompt_query", "model.prompt_embeddings", "Zero_try.module.x"],
            Role::Vcp,
        );
        assert_eq!(
            names,
            [
                "New_Lan_Embed.prompt_query = _orig_mod.module.New_Lan_Embed.prompt_query",
                "Zero_try.x = Zero_try.module.x",
                "prompt_embeddings = model.prompt_embeddings"
            ]
        );
    }

    #[test]
    fn towers_alone_get_the_names_of_the_whole() {
        let clip = |names: &[&str]| chosen(names, Role::Clip).0;
        assert_eq!(clip(&["conv1.weight", "proj"]), ["visual.conv1.weight = conv1.weight", "visual.proj = proj"]);
        assert_eq!(
            clip(&["text.token_embedding.weight", "visual.conv1.weight", "logit_scale", "text.attn_mask"]),
            [
                "attn_mask = text.attn_mask",
                "logit_scale = logit_scale",
                "token_embedding.weight = text.token_embedding.weight",
                "visual.conv1.weight = visual.conv1.weight"
            ]
        );
        assert_eq!(
            clip(&["embeddings.patch_embedding.weight", "encoder.layers.0.x", "visual_projection.weight"]),
            [
                "vision_model.embeddings.patch_embedding.weight = embeddings.patch_embedding.weight",
                "vision_model.encoder.layers.0.x = encoder.layers.0.x",
                "visual_projection.weight = visual_projection.weight"
            ]
        );
        assert_eq!(
            clip(&["text_model.text_model.embeddings.token_embedding.weight", "text_projection.weight"]),
            [
                "text_model.embeddings.token_embedding.weight = text_model.text_model.embeddings.token_embedding.weight",
                "text_projection.weight = text_projection.weight"
            ]
        );
    }

    #[test]
    fn what_a_training_keeps_is_no_surplus() {
        for name in ["optimizer.state.0.exp_avg", "model_ema.x", "lr_scheduler.best", "rng_state", "AdamW_optim.x"] {
            assert!(is_training_state(name), "{name}");
        }
        for name in ["Zero_try.other", "visual.extra", "alpha", "prompt_extra"] {
            assert!(!is_training_state(name), "{name}");
        }
    }
}
