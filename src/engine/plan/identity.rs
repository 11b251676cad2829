//! What a plan was built for, kept beside it as JSON, and whether that fits this program, model and card.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{PlanError, dotted};
use super::flavour::Flavour;
use crate::engine::Precision;
use crate::engine::expected::Expected;
use crate::output::NewFile;

/// Version of the identity file.
pub const FORMAT: u32 = 1;
/// Largest batch of a plan when nothing else is asked.
pub const MAX_BATCH: usize = 4;
/// Bytes an identity file may have; real ones have six thousand.
const MOST_BYTES: u64 = 1 << 20;

/// The identity of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanIdentity {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the model.
    pub model: String,
    /// SHA-256 of the bundle's weights, hexadecimal.
    pub model_sha256: String,
    /// `engine::onnx::typed::GRAPH_VERSION` it was built from.
    pub graph_version: u32,
    /// Which TensorRT built it.
    pub flavour: Flavour,
    /// Its version, `1.7.1`.
    pub version: String,
    /// Architectures it runs on, compute capability × 10, ascending.
    pub sms: Vec<u32>,
    /// CUDA version of the driver that was there, `13.0`; only where the plan depends on it.
    pub driver: Option<String>,
    /// Name of the card that was there, as its driver says it; only where the plan depends on it.
    pub card: Option<String>,
    /// Arithmetic.
    pub precision: Precision,
    /// SHA-256 of the scales that the layers in 8 bits are computed by, hexadecimal; `None` where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales_sha256: Option<String>,
    /// Batches of 1 to this many.
    pub max_batch: usize,
    /// Bytes of the plan.
    pub plan_bytes: u64,
    /// SHA-256 of the plan, hexadecimal.
    pub plan_sha256: String,
    /// What the reference engine says about the picture of the self-test.
    pub self_test: Expected,
}

/// The card and driver that a plan is for.
#[derive(Clone, Copy, Debug)]
pub struct Card<'a> {
    /// As the driver names it.
    pub name: &'a str,
    /// Compute capability × 10.
    pub sm: u32,
    /// CUDA version of the driver, `13.0`.
    pub driver: &'a str,
}

/// The machine and the wish a plan must fit.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// SHA-256 of the bundle's weights.
    pub model_sha256: &'a str,
    /// Graph that this program continues from.
    pub graph_version: u32,
    /// TensorRT in use.
    pub flavour: Flavour,
    /// Its version.
    pub version: &'a str,
    /// Where it is to run.
    pub card: Card<'a>,
    /// Arithmetic asked for.
    pub arithmetic: Arithmetic<'a>,
}

/// What a plan computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arithmetic<'a> {
    /// Which numbers.
    pub precision: Precision,
    /// SHA-256 of the scales of a precision of 8 bits, hexadecimal.
    pub scales_sha256: Option<&'a str>,
}

impl From<Precision> for Arithmetic<'_> {
    fn from(precision: Precision) -> Self {
        Self { precision, scales_sha256: None }
    }
}

/// As much of a hash as a person compares.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// Where a plan lies when nobody says otherwise: in the bundle's folder. Plans of other scales have other names.
pub fn default_path<'a>(bundle: &Path, flavour: Flavour, arithmetic: impl Into<Arithmetic<'a>>) -> PathBuf {
    let Arithmetic { precision, scales_sha256 } = arithmetic.into();
    let scales = scales_sha256.map(|hash| format!("-{}", short(hash))).unwrap_or_default();
    bundle.join(format!("{flavour}-{precision}{scales}.plan"))
}

/// Where a plan is looked for, in this order; it is built at the last of them. A service may write to its `state` folder
/// alone, and each of its bundles has a plan of its own there.
pub fn places<'a>(
    file: Option<&Path>,
    bundle: &Path,
    flavour: Flavour,
    arithmetic: impl Into<Arithmetic<'a>>,
    state: Option<&Path>,
) -> Vec<PathBuf> {
    if let Some(file) = file {
        return vec![file.to_owned()];
    }
    let arithmetic = arithmetic.into();
    let beside = default_path(bundle, flavour, arithmetic);
    let own = state.zip(bundle.file_name()).map(|(state, name)| state.join("plans").join(name));
    let own = own.map(|folder| default_path(&folder, flavour, arithmetic));
    [beside].into_iter().chain(own).collect()
}

/// The identity file of a plan.
pub fn identity_path(plan: &Path) -> PathBuf {
    let mut name = plan.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// The command that builds a plan, as it is typed; `scales` where they lie elsewhere than beside the bundle.
pub fn build_command(
    bundle: &Path,
    plan: &Path,
    precision: Precision,
    sm: Option<u32>,
    scales: Option<&Path>,
) -> String {
    let sm = sm.map(|sm| format!(" --sm {sm}")).unwrap_or_default();
    let scales = scales.map(|scales| format!(" --scales {}", scales.display())).unwrap_or_default();
    let (bundle, plan) = (bundle.display(), plan.display());
    format!("`vcp-line model build {bundle} --engine tensorrt --precision {precision}{scales}{sm} -o {plan}`")
}

impl PlanIdentity {
    /// Why the plan is of no use for `wanted`; `None` when it is.
    pub fn misfit(&self, wanted: &Wanted<'_>) -> Option<String> {
        if self.model_sha256 != wanted.model_sha256 {
            let (found, wanted) = (short(&self.model_sha256), short(wanted.model_sha256));
            return Some(format!("it was built from model {found}…, the bundle holds {wanted}…"));
        }
        if self.graph_version != wanted.graph_version {
            let (found, wanted) = (self.graph_version, wanted.graph_version);
            return Some(format!("it was built from graph version {found}, this program continues from {wanted}"));
        }
        let Arithmetic { precision, scales_sha256 } = wanted.arithmetic;
        if self.precision != precision {
            return Some(format!("it computes in {}, {precision} is asked for", self.precision));
        }
        if self.scales_sha256.as_deref() != scales_sha256 {
            let words = |hash: Option<&str>| hash.map_or_else(|| "none".to_owned(), |hash| format!("{}…", short(hash)));
            let (found, wanted) = (words(self.scales_sha256.as_deref()), words(scales_sha256));
            return Some(format!("it was built with the scales {found}, those of the bundle are now {wanted}"));
        }
        if self.flavour != wanted.flavour || self.version != wanted.version {
            let (flavour, version) = (wanted.flavour, wanted.version);
            return Some(format!("{} {} built it, {flavour} {version} is loaded", self.flavour, self.version));
        }
        let Card { name, sm, driver } = wanted.card;
        if !self.sms.contains(&sm) {
            let covered: Vec<String> = self.sms.iter().map(dotted).collect();
            return Some(format!("it covers SM {}, this card is SM {}", covered.join(", "), dotted(&sm)));
        }
        match (&self.card, &self.driver) {
            (Some(card), _) if card != name => Some(format!("it was tuned on {card}, this card is {name}")),
            (_, Some(built)) if built != driver => {
                Some(format!("it was built with a driver for CUDA {built}, this one is for CUDA {driver}"))
            }
            _ => None,
        }
    }

    /// Reads the identity of the plan at `path`; `build` is the command that makes it anew.
    pub fn read(path: &Path, build: &str) -> Result<Self, PlanError> {
        let file = identity_path(path);
        let damaged = |reason: String| PlanError::Damaged { path: file.clone(), reason, build: build.to_owned() };
        let io = |source| PlanError::Io { action: "read", path: file.clone(), source };
        for wanted in [path, &file] {
            if !wanted.try_exists().map_err(|source| PlanError::Io {
                action: "look for",
                path: wanted.to_owned(),
                source,
            })? {
                return Err(PlanError::Absent { path: wanted.to_owned(), build: build.to_owned() });
            }
        }
        let bytes = std::fs::metadata(&file).map_err(io)?.len();
        if bytes > MOST_BYTES {
            return Err(damaged(format!("{bytes} bytes are no identity file")));
        }
        let text = std::fs::read(&file).map_err(io)?;
        // A later format may have other fields: the version is looked at first.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if head.format != FORMAT {
            let reason = format!("its identity has format {}, this program reads format {FORMAT}", head.format);
            return Err(PlanError::Misfit { path: path.to_owned(), reason, build: build.to_owned() });
        }
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))
    }

    /// Reads the plan and compares it with its hash.
    pub fn read_plan(&self, path: &Path, build: &str) -> Result<Vec<u8>, PlanError> {
        let plan =
            std::fs::read(path).map_err(|source| PlanError::Io { action: "read", path: path.to_owned(), source })?;
        let reason = if plan.len() as u64 != self.plan_bytes {
            format!("{} bytes, expected {}", plan.len(), self.plan_bytes)
        } else if sha256(&plan) != self.plan_sha256 {
            "its SHA-256 is not the one written beside it".to_owned()
        } else {
            return Ok(plan);
        };
        Err(PlanError::Damaged { path: path.to_owned(), reason, build: build.to_owned() })
    }

    /// Writes plan and identity. Each appears whole under its name, the identity last; one without the other, as after
    /// a power cut in between, is refused by its hash.
    pub fn write(&self, path: &Path, plan: &[u8]) -> Result<(), PlanError> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|source| PlanError::Io {
            action: "write",
            path: identity_path(path),
            source: source.into(),
        })?;
        text.push(b'\n');
        put(path, plan)?;
        put(&identity_path(path), &text)
    }
}

/// SHA-256, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), PlanError> {
    let io = |source| PlanError::Io { action: "write", path: path.to_owned(), source };
    let mut file = NewFile::beside(path).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    // Readable by the service's user, whoever built it.
    let rights = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.file().and_then(|file| file.set_permissions(rights)).map_err(io)?;
    file.put().map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Under the unit the bundle's folder is root's and cannot be written.
    #[test]
    fn a_service_builds_its_plan_in_its_state_folder() {
        let places = |file: Option<&str>, state: Option<&str>| {
            let bundle = Path::new("/var/lib/vcp-line/models/caps");
            places(file.map(Path::new), bundle, Flavour::TensorrtRtx, Precision::Fp16, state.map(Path::new))
        };
        let beside = default_path(Path::new("/var/lib/vcp-line/models/caps"), Flavour::TensorrtRtx, Precision::Fp16);
        let own = Path::new("/var/lib/vcp-line/demo/plans/caps").join(beside.file_name().unwrap());
        assert_eq!(places(None, None), std::slice::from_ref(&beside));
        assert_eq!(places(None, Some("/var/lib/vcp-line/demo")), [beside, own], "what root has built is read first");
        assert_eq!(places(Some("/x/cap.plan"), Some("/var/lib/vcp-line/demo")), [PathBuf::from("/x/cap.plan")]);
    }

    fn identity() -> PlanIdentity {
        PlanIdentity {
            format: FORMAT,
            model: "m".into(),
            model_sha256: "a".repeat(64),
            graph_version: 1,
            flavour: Flavour::TensorrtRtx,
            version: "1.7.1".into(),
            sms: vec![80, 89],
            driver: None,
            card: None,
            precision: Precision::Fp16,
            scales_sha256: None,
            max_batch: 4,
            plan_bytes: 3,
            plan_sha256: sha256(b"abc"),
            self_test: Expected::default(),
        }
    }

    fn wanted(hash: &str) -> Wanted<'_> {
        Wanted {
            model_sha256: hash,
            graph_version: 1,
            flavour: Flavour::TensorrtRtx,
            version: "1.7.1",
            card: Card { name: "A", sm: 89, driver: "13.0" },
            arithmetic: Precision::Fp16.into(),
        }
    }

    #[test]
    fn every_difference_is_named() {
        let hash = "a".repeat(64);
        assert_eq!(identity().misfit(&wanted(&hash)), None);
        let misfit = |wanted: Wanted<'_>| identity().misfit(&wanted).expect("does not fit");
        let other = "b".repeat(64);
        assert!(misfit(wanted(&other)).contains("model aaaaaaaaaaaa…, the bundle holds bbbbbbbbbbbb…"));
        assert!(misfit(Wanted { graph_version: 2, ..wanted(&hash) }).contains("graph version 1"));
        assert!(
            misfit(Wanted { arithmetic: Precision::Fp32.into(), ..wanted(&hash) }).contains("fp16, fp32 is asked for")
        );
        assert!(misfit(Wanted { version: "1.6.1", ..wanted(&hash) }).contains("tensorrt-rtx 1.7.1 built it"));
        assert!(misfit(Wanted { flavour: Flavour::Tensorrt, ..wanted(&hash) }).contains("tensorrt 1.7.1 is loaded"));
        let card = Card { name: "A", sm: 120, driver: "13.0" };
        assert_eq!(misfit(Wanted { card, ..wanted(&hash) }), "it covers SM 8.0, 8.9, this card is SM 12.0");
        let bound = PlanIdentity { driver: Some("12.8".into()), card: Some("A".into()), ..identity() };
        assert!(bound.misfit(&wanted(&hash)).expect("another driver").contains("CUDA 12.8"));
        let tuned = PlanIdentity { card: Some("B".into()), ..bound };
        assert_eq!(tuned.misfit(&wanted(&hash)).expect("another card"), "it was tuned on B, this card is A");
    }

    #[test]
    fn a_plan_of_other_scales_has_another_name_and_is_refused_under_any() {
        let (hash, scales, others) = ("a".repeat(64), "c".repeat(64), "d".repeat(64));
        let of = |scales_sha256| Arithmetic { precision: Precision::Int8, scales_sha256 };
        let name = |scales| default_path(Path::new("b"), Flavour::TensorrtRtx, of(scales));
        assert_eq!(name(Some(&scales)), Path::new("b/tensorrt-rtx-int8-cccccccccccc.plan"));
        assert_ne!(name(Some(&scales)), name(Some(&others)));
        let plan = PlanIdentity { precision: Precision::Int8, scales_sha256: Some(scales.clone()), ..identity() };
        let misfit = |scales| plan.misfit(&Wanted { arithmetic: of(scales), ..wanted(&hash) });
        assert_eq!(misfit(Some(&scales)), None);
        let said = misfit(Some(&others)).expect("other scales");
        assert_eq!(said, "it was built with the scales cccccccccccc…, those of the bundle are now dddddddddddd…");
        assert!(misfit(None).expect("no scales").ends_with("now none"));
        let scales = Some(Path::new("s.json"));
        let said = build_command(Path::new("B"), Path::new("P"), Precision::Fp8, Some(89), scales);
        let wanted = "`vcp-line model build B --engine tensorrt --precision fp8 --scales s.json --sm 89 -o P`";
        assert_eq!(said, wanted);
        // What an earlier version wrote has no scales, and neither has what is written without.
        let text = serde_json::to_string(&identity()).expect("text");
        assert!(!text.contains("scales"), "{text}");
        assert_eq!(serde_json::from_str::<PlanIdentity>(&text).expect("read"), identity());
    }

    #[test]
    fn a_plan_is_read_back_and_damage_is_seen() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("x.plan");
        let build = build_command(Path::new("B"), &path, Precision::Fp16, Some(89), None);
        assert!(matches!(PlanIdentity::read(&path, &build), Err(PlanError::Absent { .. })));
        identity().write(&path, b"abc").expect("written");
        assert_eq!(PlanIdentity::read(&path, &build).expect("read"), identity());
        assert_eq!(identity().read_plan(&path, &build).expect("read"), b"abc");
        for (bytes, reason) in [(&b"abd"[..], "SHA-256"), (b"ab", "2 bytes, expected 3")] {
            std::fs::write(&path, bytes).expect("written");
            let error = identity().read_plan(&path, &build).expect_err("damaged").to_string();
            assert!(error.contains(reason) && error.contains(&build), "{error}");
        }
        std::fs::write(identity_path(&path), r#"{"format": 7}"#).expect("written");
        let error = PlanIdentity::read(&path, &build).expect_err("another format").to_string();
        assert!(error.contains("format 7"), "{error}");
        std::fs::write(identity_path(&path), "{").expect("written");
        assert!(matches!(PlanIdentity::read(&path, &build), Err(PlanError::Damaged { .. })));
    }
}
