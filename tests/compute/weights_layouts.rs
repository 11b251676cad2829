//! Weights as people have them: in folders, in parts, tower by tower, wrapped, and beside what a training keeps.

use std::path::{Path, PathBuf};

use crate::support::seeded::{self, Store, Tensors, write};
use crate::support::torch_save::Pickle;
use vcp_line::weights::{Bundle, ImportError, ImportRequest, import};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/oracle/tiny").join(name)
}

/// Imports and says the hash of the bundle's weights and what each file was.
fn imported(clip: &[PathBuf], vcp: &Path) -> Result<(String, String, String), ImportError> {
    let dir = tempfile::tempdir().unwrap();
    let request = ImportRequest {
        clip: clip[0].clone(),
        second_tower: clip.get(1).cloned(),
        vcp: vcp.to_owned(),
        image_size: 98,
        taps: None,
        post_heads: 8,
        name: None,
        out: dir.path().join("b"),
        force: false,
    };
    let bundle: Bundle = import(&request, &mut |_, _, _| {})?;
    let kind = |role: &str| bundle.manifest().sources.iter().find(|source| source.role == role).unwrap().kind.clone();
    Ok((bundle.sha256().to_owned(), kind("clip"), kind("vcp")))
}

fn usual() -> String {
    imported(&[fixture("clip.pt")], &fixture("vcp.pth")).unwrap().0
}

fn renamed(tensors: &Tensors, new: impl Fn(&str) -> Option<String>) -> Tensors {
    tensors.iter().filter_map(|(name, tensor)| Some((new(name)?, tensor.clone()))).collect()
}

#[test]
fn clip_is_read_from_every_layout_of_its_libraries() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    let open_ai = seeded::clip("tiny", &seeded::tiny(), 6);
    let theirs = seeded::hugging_face(&open_ai);
    let put = |name: &str, tensors: &Tensors| write(&at(name), tensors, Store::F16, false);
    let save = |name: &str, tensors: &Tensors| {
        let mut pickle = Pickle::default();
        pickle.tensors(tensors, "").save(&at(name))
    };
    // transformers: one file, or several with an index, of each kind; other files of a training beside them.
    save("bin/pytorch_model.bin", &theirs);
    save("bin/training_args.bin", &Tensors::new());
    std::fs::create_dir_all(at("cache/snapshots/ce19dc91")).unwrap();
    std::os::unix::fs::symlink(at("bin/pytorch_model.bin"), at("cache/snapshots/ce19dc91/pytorch_model.bin")).unwrap();
    // Two versions of a model in the cache: the last one is named.
    put("versions/snapshots/aaaa/model.safetensors", &Tensors::new());
    put("versions/snapshots/bbbb/model.safetensors", &theirs);
    let several = imported(&[at("versions")], &fixture("vcp.pth")).unwrap_err().to_string();
    assert!(several.contains("several versions") && several.contains("aaaa"), "{several}");
    std::fs::create_dir(dir.path().join("versions/refs")).unwrap();
    std::fs::write(at("versions/refs/main"), "bbbb\n").unwrap();
    let mut map = serde_json::Map::new();
    for half in 0..2 {
        let file = format!("pytorch_model-0000{half}-of-00002.bin");
        let part: Tensors = theirs.clone().into_iter().skip(half).step_by(2).collect();
        map.extend(part.keys().map(|name| (name.clone(), file.clone().into())));
        save(&format!("bins/{file}"), &part);
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
    std::fs::write(at("bins/pytorch_model.bin.index.json"), index).unwrap();
    // Towers saved alone, under the names of the whole model or of the tower.
    let tower = |module: &str, projection: &str| {
        renamed(&theirs, |name| (name.starts_with(module) || name.starts_with(projection)).then(|| name.to_owned()))
    };
    let vision = tower("vision_model.", "visual_projection");
    let text = tower("text_model.", "text_projection");
    put("towers/image_encoder/model.safetensors", &vision);
    put("towers/text_encoder/model.safetensors", &text);
    let bare = |tower: &Tensors, module: &str| {
        renamed(tower, |name| Some(name.strip_prefix(module).unwrap_or(name).to_owned()))
    };
    // open_clip: its own file names, the text tower in a module of its own, a vision tower without one.
    put("open_clip/open_clip_model.safetensors", &open_ai);
    save("open_clip_bin/open_clip_pytorch_model.bin", &open_ai);
    let mut custom = renamed(&open_ai, |name| match name.starts_with("visual.") || name == "logit_scale" {
        true => Some(name.to_owned()),
        false => Some(format!("text.{name}")),
    });
    // A scripted module stores what it keeps in no state dictionary as well.
    custom.insert("text.attn_mask".to_owned(), (vec![77, 77], vec![0.0; 77 * 77]));
    put("open_clip_custom/open_clip_model.safetensors", &custom);
    let open_text = renamed(&open_ai, |name| (!name.starts_with("visual.")).then(|| name.to_owned()));
    let open_vision = renamed(&open_ai, |name| name.strip_prefix("visual.").map(str::to_owned));

    let expected = usual();
    let cases: Vec<(Vec<PathBuf>, &str)> = vec![
        (vec![at("bin")], "torch.save file, Hugging Face names"),
        (vec![at("cache")], "torch.save file, Hugging Face names"),
        (vec![at("versions")], "safetensors, Hugging Face names"),
        (vec![at("bins")], "torch.save file, Hugging Face names"),
        (vec![at("bins/pytorch_model.bin.index.json")], "torch.save file, Hugging Face names"),
        (vec![at("towers")], "safetensors, Hugging Face names"),
        (vec![at("towers/text_encoder"), at("towers/image_encoder")], "safetensors, Hugging Face names"),
        (
            vec![
                put("vision.safetensors", &bare(&vision, "vision_model.")),
                put("text.safetensors", &bare(&text, "text_model.")),
            ],
            "safetensors, Hugging Face names",
        ),
        (vec![at("open_clip")], "safetensors, OpenAI names"),
        (vec![at("open_clip_bin")], "torch.save file, OpenAI names"),
        (vec![at("open_clip_custom")], "safetensors, OpenAI names"),
        (vec![put("open_vision", &open_vision), put("open_text", &open_text)], "safetensors, OpenAI names"),
        (
            vec![put("wrapped", &renamed(&open_ai, |name| Some(format!("_orig_mod.module.{name}"))))],
            "safetensors, weights under '_orig_mod.module', OpenAI names",
        ),
    ];
    for (files, kind) in cases {
        let (hash, clip, _) =
            imported(&files, &fixture("vcp.pth")).unwrap_or_else(|error| panic!("{files:?}: {error}"));
        assert_eq!((hash, &*clip), (expected.clone(), kind), "{files:?}");
    }

    // One tower is half a model; two that are the same are no whole one; a folder of many says what there is.
    let said = |files: &[PathBuf]| imported(files, &fixture("vcp.pth")).unwrap_err().to_string();
    let half = said(&[at("towers/image_encoder")]);
    assert!(half.starts_with("tensor 'text_model.embeddings.position_embedding.weight' is missing from "), "{half}");
    let twice = said(&[at("open_clip"), at("open_clip_bin")]);
    assert!(twice.contains("is there and in "), "{twice}");
    std::fs::create_dir(at("many")).unwrap();
    for name in ["a.safetensors", "b.bin"] {
        std::fs::write(at("many").join(name), b"x").unwrap();
    }
    assert!(said(&[at("many")]).contains("a folder with several weight files, so name the one that is meant"));
}

/// What lies beside weights in checkpoints, by its name: opcodes of a value.
const BESIDE: [(&str, &[u8]); 22] = [
    ("epoch", b"K\x03"),
    ("score", b"cnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87RC\x08\0\0\0\0\0\0\0\0tR"),
    (
        "curve",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR(K\x01K\x02\x85cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R\x89C\x01xtb",
    ),
    ("args", b"cargparse\nNamespace\n)\x81}X\x02\x00\x00\x00lrG\x3f\xf0\0\0\0\0\0\0sb"),
    ("seed", b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00"),
    ("initial_seed", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"),
    ("huge", b"\x8b\x0c\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c"),
    ("classes", b"c__builtin__\nset\n](K\x01K\x02e\x85R"),
    ("frozen", b"(K\x01K\x02\x91"),
    ("new_set", b"\x8f(K\x01K\x02\x90"),
    ("saved", b"cdatetime\ndatetime\nC\x0a\x07\xea\x0b\x1c\x05\x00\x00\x00\x00\x00\x85R"),
    ("folder", b"cpathlib\nPosixPath\n(X\x01\x00\x00\x00/X\x01\x00\x00\x00atR"),
    ("size", b"ctorch\nSize\nK\x01K\x02\x86\x85R"),
    ("dtype", b"ctorch\nfloat16\n"),
    ("device", b"ctorch\ndevice\nX\x04\x00\x00\x00cudaK\x00\x86R"),
    ("generator", b"ctorch._C\nGenerator\n)R}X\x01\x00\x00\x00sK\x01sb"),
    ("config", b"c__main__\nConfig\n)\x81}X\x01\x00\x00\x00aNsb"),
    ("named", b"c__main__\nConfig\n)}X\x01\x00\x00\x00aNs\x92"),
    ("scheduler", b"ctorch.optim.lr_scheduler\nStepLR\n)\x81}b"),
    ("bytes", b"\x96\x02\x00\x00\x00\x00\x00\x00\x00ab"),
    ("counts", b"ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R(K\x01]NK\x02u"),
    ("latin", b"X\x01\x00\x00\x00\xff"),
];

/// A checkpoint with everything of [`BESIDE`], an optimiser, and the dictionaries that `fill` writes.
fn checkpoint(fill: impl Fn(&mut Pickle)) -> Pickle {
    let mut pickle = Pickle::default();
    pickle.raw(b"}(");
    for (name, value) in BESIDE {
        pickle.text(name).raw(value);
    }
    pickle.text("optimizer").raw(b"}(").text("state").raw(b"}(K\x00}(").text("exp_avg").tensor(&[2], &[1.0, 2.0]);
    // A state by something that is no name.
    pickle.raw(b"uN").tensor(&[1], &[1.0]).raw(b"K\x01K\x02\x86").tensor(&[1], &[1.0]).raw(b"uu");
    fill(&mut pickle);
    pickle.raw(b"u");
    pickle
}

#[test]
fn a_checkpoint_of_a_training_is_read_for_its_weights() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("checkpoint.pth");
    let flat = seeded::vcp("tiny", &seeded::tiny());
    let other: Tensors =
        flat.iter().map(|(name, (shape, values))| (name.clone(), (shape.clone(), vec![0.5; values.len()]))).collect();
    let expected = usual();
    let clip = [fixture("clip.pt")];
    let check = |pickle: &Pickle, said: &str| {
        for (path, container) in [
            (pickle.save(&file), "torch.save file"),
            (pickle.save_old(&file.with_extension("old")), "torch.save file of the old format"),
        ] {
            let (hash, _, kind) = imported(&clip, &path).unwrap_or_else(|error| panic!("{said}: {error}"));
            assert_eq!((hash, kind), (expected.clone(), format!("{container}{said}")));
        }
    };
    for (key, prefix) in [
        ("state_dict", ""),
        ("model", ""),
        ("model_state_dict", "module."),
        ("net", "_orig_mod."),
        ("ema", "module._orig_mod."),
        ("weights", "model."),
    ] {
        let pickle = checkpoint(|pickle| _ = pickle.text(key).tensors(&flat, prefix));
        check(&pickle, &format!(", weights under '{}'", format!("{key}.{prefix}").trim_end_matches('.')));
    }
    // Two copies: the trained one is taken, not its average, and both are told.
    let two = checkpoint(|pickle| {
        pickle.text("ema_state_dict").tensors(&other, "").text("state_dict").tensors(&flat, "");
    });
    check(&two, ", weights under 'state_dict', not those under 'ema_state_dict'");
    // Beside the weights themselves, and with wrapping modules in the middle of names and here and there only.
    let mixed = renamed(&flat, |name| {
        Some(match name.split_once('.') {
            Some((module, rest)) if module != "prompt_proj" => format!("{module}.module.{rest}"),
            _ => format!("model.{name}"),
        })
    });
    let beside = checkpoint(|pickle| {
        for (name, (shape, values)) in &mixed {
            pickle.text(name).tensor(shape, values);
        }
    });
    assert_eq!(imported(&clip, &beside.save(&file)).unwrap().0, expected);
    // A dictionary of a class of its own.
    let mut own = Pickle::default();
    own.raw(b"cours.utils\nStateDict\n)\x81(");
    for (name, (shape, values)) in &flat {
        own.text(name).tensor(shape, values);
    }
    check(own.raw(b"u}X\x09\x00\x00\x00_metadataNsb"), "");
}

#[test]
fn numbers_are_read_however_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vcp.pth");
    let flat = seeded::vcp("tiny", &seeded::tiny());
    let expected = usual();
    let hash = |pickle: &Pickle| imported(&[fixture("clip.pt")], &pickle.save(&file)).unwrap().0;
    // Of a machine of the other byte order.
    let mut big = Pickle { big_endian: true, ..Pickle::default() };
    assert_eq!(hash(big.tensors(&flat, "")), expected);
    // Scalars as vectors of one, matrices by columns, and one number for a whole vector.
    let mut odd = Pickle::default();
    let (mut scalars, mut turned, mut repeated) = (0, 0, 0);
    odd.raw(b"}(");
    let mut constant = flat.clone();
    constant.get_mut("prompt_norm.bias").unwrap().1.fill(0.25);
    for (name, (shape, values)) in &constant {
        odd.text(name);
        match shape[..] {
            [] => {
                scalars += 1;
                odd.tensor(&[1], values);
            }
            [rows, columns] => {
                turned += 1;
                let by_columns: Vec<f32> =
                    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect();
                odd.strided(shape, &[1, rows], &by_columns);
            }
            [64] if name == "prompt_norm.bias" => {
                repeated += 1;
                odd.strided(shape, &[0], &values[..1]);
            }
            _ => _ = odd.tensor(shape, values),
        }
    }
    assert_eq!((scalars, turned > 0, repeated), (2, true, 1));
    let mut plain = Pickle::default();
    assert_eq!(hash(odd.raw(b"u")), hash(plain.tensors(&constant, "")));
    let one = renamed(&flat, |name| Some(name.to_owned()));
    let scalars_of_one: Tensors = one
        .into_iter()
        .map(|(name, (shape, values))| (name, (if shape.is_empty() { vec![1] } else { shape }, values)))
        .collect();
    let safe = write(&dir.path().join("one.safetensors"), &scalars_of_one, Store::F32, false);
    assert_eq!(imported(&[fixture("clip.pt")], &safe).unwrap().0, expected);
}

#[test]
fn what_would_act_is_refused_wherever_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vcp.pth");
    let flat = seeded::vcp("tiny", &seeded::tiny());
    for (call, name) in [
        (&b"cposix\nsystem\nX\x04\x00\x00\x00true\x85R"[..], "posix.system"),
        (b"\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R", "builtins.eval"),
        (b"(ios\npopen\n", "os.popen"),
        (b"(csubprocess\nPopen\nX\x01\x00\x00\x00ao", "subprocess.Popen"),
        (b"crunpy\n_run_code\n)\x81}b", "runpy._run_code"),
        (b"c__builtin__\nexecfile\n", "__builtin__.execfile"),
    ] {
        let pickle = checkpoint(|pickle| {
            pickle.text("state_dict").tensors(&flat, "").text("extra").raw(call);
        });
        for path in [pickle.save(&file), pickle.save_old(&file)] {
            let said = imported(&[fixture("clip.pt")], &path).unwrap_err().to_string();
            assert!(said.contains(&format!("refused: its pickle asks for '{name}'")), "{said}");
        }
    }
}

/// A storage that is said to be larger where nobody looks is not believed.
#[test]
fn a_storage_has_one_length() {
    let dir = tempfile::tempdir().unwrap();
    let mut pickle = Pickle::default();
    pickle.raw(b"}(").text("prompt_embeddings").tensor(&[1], &[1.0]).text("prompt_proj.bias");
    pickle.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((").text("storage").raw(b"ctorch\nDoubleStorage\n").text("0");
    pickle
        .text("cpu")
        .raw(b"\x8a\x07\xff\xff\xff\xff\xff\xff\x0ftQK\x00K\x01\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRu");
    for path in [pickle.save(&dir.path().join("new")), pickle.save_old(&dir.path().join("old"))] {
        let said = imported(&[fixture("clip.pt")], &path).unwrap_err().to_string();
        assert!(said.contains("pickle says two lengths of storage '0', or an impossible one"), "{said}");
    }
}
