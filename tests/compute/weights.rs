//! Every container of the same weights gives the same bundle, at any size; the wrong tensors are named.

use std::path::{Path, PathBuf};

use crate::support::seeded::{self, Store, Tensors, write};
use vcp_line::vcp_clip::Architecture;
use vcp_line::weights::{Bundle, Dtype, ImportError, ImportRequest, import, random};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/oracle/tiny").join(name)
}

fn request(clip: &Path, vcp: &Path, image_size: usize, out: &Path) -> ImportRequest {
    ImportRequest {
        clip: clip.to_owned(),
        second_tower: None,
        vcp: vcp.to_owned(),
        image_size,
        taps: None,
        post_heads: 8,
        name: None,
        out: out.to_owned(),
        force: false,
    }
}

fn run(request: &ImportRequest) -> Result<Bundle, ImportError> {
    import(request, &mut |_, _, _| {})
}

/// Names in a folder, sorted.
fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_container_gives_the_same_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = seeded::tiny();
    let open_ai = seeded::clip("tiny", &sizes, 6);
    let theirs = seeded::hugging_face(&open_ai);
    let flat = seeded::vcp("tiny", &sizes);
    let clips = [
        fixture("clip.pt"),
        write(&dir.path().join("openai.safetensors"), &open_ai, Store::F16, false),
        write(&dir.path().join("hf32.bin"), &theirs, Store::F32, true),
        write(&dir.path().join("hf64"), &theirs, Store::F64, true),
        sharded(dir.path(), &theirs),
    ];
    let vcps = [
        fixture("vcp.pth"),
        fixture("tiny_vcp_cudatag.pth"),
        write(&dir.path().join("vcp.safetensors"), &flat, Store::F32, false),
    ];
    let mut hashes = Vec::new();
    for clip in &clips {
        for vcp in &vcps {
            let out = dir.path().join(format!("bundle{}", hashes.len()));
            let bundle = run(&request(clip, vcp, 98, &out)).unwrap();
            assert_eq!(bundle.manifest().architecture, sizes);
            hashes.push(bundle.sha256().to_owned());
        }
    }
    assert_eq!(hashes.len(), 15);
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

/// The tensors in two files with an index, as Hugging Face stores large models.
fn sharded(dir: &Path, tensors: &Tensors) -> PathBuf {
    let folder = dir.join("sharded");
    std::fs::create_dir(&folder).unwrap();
    let mut map = serde_json::Map::new();
    let mut halves = [Tensors::new(), Tensors::new()];
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        halves[i % 2].insert(name.clone(), tensor.clone());
        map.insert(name.clone(), format!("model-{}.safetensors", i % 2).into());
    }
    for (i, half) in halves.iter().enumerate() {
        write(&folder.join(format!("model-{i}.safetensors")), half, Store::F16, false);
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": map});
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    folder
}

#[test]
fn a_bundle_holds_what_the_files_held() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = seeded::tiny();
    let bundle = run(&request(&fixture("clip.pt"), &fixture("vcp.pth"), 98, &dir.path().join("b"))).unwrap();
    let clip = seeded::clip("tiny", &sizes, 6);
    for (name, (shape, values)) in &clip {
        match name.as_str() {
            "logit_scale" => assert!(bundle.tensor(name).is_err()),
            "visual.positional_embedding" => assert_positions(&bundle),
            "token_embedding.weight" => {
                let ids = [320, 539, 886, 1125, 13568, 49406, 49407];
                assert_eq!(bundle.manifest().token_ids, ids);
                let rows: Vec<f32> = ids.iter().flat_map(|&id| &values[id as usize * 64..][..64]).copied().collect();
                assert_eq!(bundle.f32("token_embedding.rows").unwrap(), (vec![7, 64], rows));
            }
            _ => assert_eq!(bundle.f32(name).unwrap(), (shape.clone(), values.clone()), "{name}"),
        }
    }
    for (name, (shape, values)) in &seeded::vcp("tiny", &sizes) {
        if name == "prompt_text_projection" {
            assert!(bundle.tensor(name).is_err());
            continue;
        }
        let (found_shape, found) = bundle.f32(name).unwrap();
        assert_eq!(&found, values, "{name}");
        assert!(found_shape == *shape || found_shape == shape[..2], "{name}");
    }
    for name in bundle.names() {
        let tensor = bundle.tensor(name).unwrap();
        if tensor.length >= 64 {
            assert_eq!(tensor.offset_in_file % 64, 0, "{name}");
        }
    }
    assert_eq!(bundle.tensor("visual.conv1.weight").unwrap().dtype, Dtype::F16);
    assert_eq!(bundle.tensor("prompt_proj.weight").unwrap().dtype, Dtype::F32);
    let manifest = bundle.manifest();
    assert_eq!(manifest.prompts.normal.tokens, [49406, 320, 1125, 539, 320, 886, 49408, 49407]);
    assert_eq!(manifest.prompts.abnormal.tokens, [49406, 320, 1125, 539, 320, 13568, 49408, 49407]);
    assert_eq!(manifest.sources[0].kind, "TorchScript archive, OpenAI names");
    assert_eq!(manifest.sources[1].kind, "torch.save file");
    assert_eq!(listing(dir.path()), ["b"]);
}

/// Against torch's own resize; the tolerance covers its 32-bit arithmetic.
fn assert_positions(bundle: &Bundle) {
    let bytes = std::fs::read(fixture("golden/pos_embed.safetensors")).unwrap();
    let golden = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let golden = golden.tensor("visual.positional_embedding.resized").unwrap();
    let (shape, values) = bundle.f32("visual.positional_embedding").unwrap();
    assert_eq!(shape, golden.shape());
    let worst = values
        .iter()
        .zip(golden.data().as_chunks::<4>().0)
        .map(|(value, bytes)| (value - f32::from_le_bytes(*bytes)).abs())
        .fold(0.0, f32::max);
    assert!(worst < 2e-6, "position embedding differs by {worst}");
}

#[test]
fn other_sizes_are_read_from_the_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let small = Architecture { vision_layers: 5, text_layers: 2, deep_prompts: 1, ..seeded::tiny() };
    let cases = [
        (Architecture { patch: 8, image_size: 24, taps: vec![1, 2, 3, 4, 5], ..small.clone() }, 3),
        (
            Architecture {
                patch: 16,
                image_size: 32,
                prompt_tokens: 2,
                class_vectors: 3,
                taps: vec![5],
                ..small.clone()
            },
            4,
        ),
        (Architecture { vision_width: 128, vision_layers: 4, taps: vec![2, 4], image_size: 84, ..small.clone() }, 6),
        (
            Architecture {
                text_width: 128,
                text_layers: 3,
                deep_prompts: 2,
                context_length: 32,
                taps: vec![5],
                ..small.clone()
            },
            2,
        ),
        (Architecture { vision_width: 96, taps: vec![5], ..small }, 6),
    ];
    for (i, (sizes, grid)) in cases.into_iter().enumerate() {
        let name = |what: &str| dir.path().join(format!("{what}{i}"));
        let open_ai = seeded::clip("other", &sizes, grid);
        let clip = write(&name("clip"), &open_ai, Store::F16, false);
        let theirs = write(&name("hf"), &seeded::hugging_face(&open_ai), Store::F32, true);
        let vcp = write(&name("vcp"), &seeded::vcp("other", &sizes), Store::F32, false);
        let one = run(&request(&clip, &vcp, sizes.image_size, &name("bundle"))).unwrap();
        assert_eq!(one.manifest().architecture, sizes);
        let two = run(&request(&theirs, &vcp, sizes.image_size, &name("bundle-hf"))).unwrap();
        assert_eq!(one.sha256(), two.sha256());
    }
}

/// The error when one tensor of the tiny files is changed.
fn error_of(change_clip: impl Fn(&mut Tensors), change_vcp: impl Fn(&mut Tensors), size: usize) -> String {
    let dir = tempfile::tempdir().unwrap();
    let sizes = Architecture { vision_layers: 4, text_layers: 2, deep_prompts: 1, ..seeded::tiny() };
    let mut clip = seeded::clip("tiny", &sizes, 6);
    let mut vcp = seeded::vcp("tiny", &sizes);
    change_clip(&mut clip);
    change_vcp(&mut vcp);
    let clip = write(&dir.path().join("clip"), &clip, Store::F32, false);
    let vcp = write(&dir.path().join("vcp"), &vcp, Store::F32, false);
    let error = run(&request(&clip, &vcp, size, &dir.path().join("out"))).unwrap_err();
    assert_eq!(listing(dir.path()), ["clip", "vcp"]);
    error.to_string().replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn missing_surplus_and_misshapen_tensors_are_named() {
    let keep = |_: &mut Tensors| {};
    let drop = |name: &'static str| move |tensors: &mut Tensors| assert!(tensors.remove(name).is_some());
    let put = |name: &'static str, shape: &'static [usize]| {
        move |tensors: &mut Tensors| {
            tensors.insert(name.to_owned(), (shape.to_vec(), vec![0.0; shape.iter().product()]));
        }
    };
    let block = "visual.transformer.resblocks.2.mlp.c_fc.bias";
    assert_eq!(error_of(drop(block), keep, 98), format!("tensor '{block}' is missing from clip: expected shape [256]"));
    assert_eq!(
        error_of(drop("visual.conv1.weight"), keep, 98),
        "tensor 'visual.conv1.weight' is missing from clip: expected shape [64, 3, P, P]"
    );
    assert_eq!(
        error_of(put("visual.extra", &[3]), keep, 98),
        "tensor 'visual.extra' of clip with shape [3] is not part of the model: is this the right file?"
    );
    assert_eq!(
        error_of(put("visual.class_embedding", &[63]), keep, 98),
        "tensor 'visual.class_embedding' of clip has shape [63], expected [64]"
    );
    assert_eq!(
        error_of(put("visual.conv1.weight", &[32, 3, 14, 14]), keep, 98),
        "tensor 'visual.conv1.weight' of clip has shape [32, 3, 14, 14], expected [64, 3, P, P]"
    );
    assert_eq!(
        error_of(keep, drop("Zero_try.k_proj_pre_1.bias"), 98),
        "tensor 'Zero_try.k_proj_pre_1.bias' is missing from vcp: expected shape [64]"
    );
    assert_eq!(
        error_of(keep, put("Zero_try.q_proj_pre.weight", &[64, 64]), 98),
        "tensor 'Zero_try.q_proj_pre.weight' of vcp has shape [64, 64], expected [64, 64, 1]"
    );
    assert_eq!(
        error_of(keep, put("Zero_try.other", &[]), 98),
        "tensor 'Zero_try.other' of vcp with shape [] is not part of the model: is this the right file?"
    );
    let hot = |tensors: &mut Tensors| tensors.get_mut("Zero_try.prompt_temp_l1").unwrap().1[0] = 89.0;
    assert_eq!(
        error_of(keep, hot, 98),
        "vcp: tensor 'Zero_try.prompt_temp_l1' holds 89, whose exponential is no finite number; train it again, or take \
         another checkpoint"
    );
    assert_eq!(
        error_of(keep, keep, 100),
        "image size 100 is no multiple of the patch size 14; give another --image-size"
    );
    let not_a_number = |tensors: &mut Tensors| tensors.get_mut("ln_final.bias").unwrap().1[3] = f32::NAN;
    assert_eq!(
        error_of(not_a_number, keep, 98),
        "tensor 'ln_final.bias' of clip holds a value that is not finite in 32-bit floats"
    );
}

#[test]
fn a_text_tower_that_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tiny = Architecture { vision_layers: 4, text_layers: 2, deep_prompts: 1, ..seeded::tiny() };
    let error = |clip: &Architecture, vcp: &Architecture| {
        let clip = write(&dir.path().join("clip"), &seeded::clip("fit", clip, 6), Store::F16, false);
        let vcp = write(&dir.path().join("vcp"), &seeded::vcp("fit", vcp), Store::F32, false);
        run(&request(&clip, &vcp, 98, &dir.path().join("out"))).map(drop).map_err(|error| error.to_string())
    };
    // Eight tokens, one of them replaced by two class vectors, and one prompt token.
    let ten = Architecture { context_length: 10, ..tiny.clone() };
    assert_eq!(error(&ten, &ten), Ok(()));
    std::fs::remove_dir_all(dir.path().join("out")).unwrap();
    let nine = Architecture { context_length: 9, ..tiny.clone() };
    assert_eq!(
        error(&nine, &nine).unwrap_err(),
        "prompt 'a photo of a good <|class|>' is 8 tokens long; with 2 class vectors and 1 prompt tokens it takes 10 \
         positions, and the text tower has 9"
    );
    for deep_prompts in [2, 0] {
        let said = error(&tiny, &Architecture { deep_prompts, ..tiny.clone() }).unwrap_err();
        let expected = format!("prompts for {deep_prompts} later text blocks and the text tower has 2 blocks");
        assert!(said.contains(&expected), "{said}");
    }
    let narrow = Architecture { vision_width: 200, post_heads: 8, ..tiny };
    assert_eq!(error(&narrow, &narrow).unwrap_err(), "the vision tower has 200 channels, which 3 heads cannot share");
    assert_eq!(listing(dir.path()), ["clip", "vcp"]);
}

#[test]
fn wrong_taps_and_heads_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = request(&fixture("clip.pt"), &fixture("vcp.pth"), 98, &dir.path().join("b"));
    let error = |request: ImportRequest| run(&request).unwrap_err().to_string();
    assert_eq!(
        error(ImportRequest { taps: Some(vec![3, 6, 9]), ..base.clone() }),
        "3 taps were given and the VCP-CLIP file has 4 linear layers; give one tap for each with --taps"
    );
    assert_eq!(
        error(ImportRequest { taps: Some(vec![3, 9, 6, 12]), ..base.clone() }),
        "taps [3, 9, 6, 12] are not in ascending order"
    );
    assert_eq!(
        error(ImportRequest { taps: Some(vec![3, 6, 9, 13]), ..base.clone() }),
        "taps [3, 6, 9, 13] are not all within blocks 1 to 12"
    );
    assert_eq!(
        error(ImportRequest { post_heads: 7, ..base.clone() }),
        "7 Post-VCP heads do not divide the vision tower's 64 channels"
    );
    assert!(listing(dir.path()).is_empty());
    let bundle = run(&ImportRequest { taps: Some(vec![1, 2, 3, 4]), name: Some("mine".to_owned()), ..base }).unwrap();
    assert_eq!((bundle.manifest().architecture.taps.as_slice(), &*bundle.manifest().name), (&[1, 2, 3, 4][..], "mine"));
}

#[test]
fn a_random_model_is_the_same_for_the_same_seed() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = seeded::tiny();
    let make = |name: &str, seed| random(&dir.path().join(name), &sizes, seed).unwrap().sha256().to_owned();
    let (one, same, other) = (make("a", 1), make("b", 1), make("c", 2));
    assert_eq!(one, same);
    assert_ne!(one, other);
    assert_eq!(Bundle::open(&dir.path().join("a")).unwrap().manifest().name, "random-demo");
}
