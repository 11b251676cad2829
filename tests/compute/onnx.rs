//! The exported network: what the file says, and that another runtime computes the reference engine's numbers from it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::tiny::{self, PATCHES, SIZE, WIDTH};
#[cfg(feature = "openvino")]
use crate::support::tiny::{IMAGES, input};
use prost::Message;
use vcp_line::engine::finish;
use vcp_line::engine::onnx::proto::{Dimension, FLOAT, FLOAT16, Model, ValueInfo};
use vcp_line::engine::onnx::{self, INLINE_LIMIT};
#[cfg(feature = "openvino")]
use vcp_line::engine::{EngineChoice, EngineSpec, PlanSpec, Precision};
use vcp_line::weights::Bundle;

/// Place of a tensor's bytes in the ONNX format: in another file.
const EXTERNAL: Option<i32> = Some(1);

fn export(bundle: &Bundle, to: &Path, inline_limit: u64) -> Vec<PathBuf> {
    onnx::export(bundle, &finish::text_constants(bundle).unwrap(), to, inline_limit).unwrap()
}

fn decode(path: &Path) -> Model {
    Model::decode(&*std::fs::read(path).unwrap()).unwrap()
}

/// Name, element type and axes (`None`: the batch).
fn described(value: &ValueInfo) -> (String, i32, Vec<Option<i64>>) {
    let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    let axis = |dim: &Dimension| match (dim.dim_value, dim.dim_param.as_deref()) {
        (Some(value), None) => Some(value),
        (None, Some("batch")) => None,
        other => panic!("{}: {other:?}", value.name),
    };
    (value.name.clone(), tensor.elem_type, tensor.shape.as_ref().unwrap().dim.iter().map(axis).collect())
}

#[test]
fn the_file_says_what_goes_in_and_out() {
    let (folder, path) = tiny::bundle();
    let bundle = Bundle::open(&path).unwrap();
    let file = folder.path().join("tiny.onnx");
    assert_eq!(export(&bundle, &file, INLINE_LIMIT), [file.as_path()]);
    let model = decode(&file);
    assert_eq!(model.opset_import.len(), 1);
    assert!(model.opset_import[0].domain.is_empty() && model.opset_import[0].version >= 17);
    assert_eq!(model.metadata_props[0].key, "model_sha256");
    assert_eq!(model.metadata_props[0].value, bundle.sha256());
    let graph = model.graph.unwrap();
    let (size, patches, width) = (Some(SIZE as i64), Some(PATCHES as i64), Some(WIDTH as i64));
    let inputs: Vec<_> = graph.input.iter().map(described).collect();
    assert_eq!(inputs, [("image".to_owned(), FLOAT, vec![None, Some(3), size, size])]);
    let mut expected: Vec<_> =
        tiny::TAPS.iter().map(|layer| (format!("tokens.{layer}"), FLOAT, vec![None, patches, width])).collect();
    expected.push(("text".to_owned(), FLOAT, vec![None, Some(2), width]));
    expected.extend(tiny::TAPS.iter().map(|layer| (format!("raw.{layer}"), FLOAT, vec![None, patches, Some(2)])));
    assert_eq!(graph.output.iter().map(described).collect::<Vec<_>>(), expected);

    // Every value is made before it is used, and once.
    let mut made: BTreeSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
    for tensor in &graph.initializer {
        assert!(made.insert(&tensor.name), "{} twice", tensor.name);
        assert!(tensor.raw_data.is_some() && tensor.external_data.is_empty(), "{} is elsewhere", tensor.name);
    }
    for node in &graph.node {
        node.input.iter().for_each(|input| assert!(made.contains(input.as_str()), "{} needs {input}", node.name));
        node.output.iter().for_each(|output| assert!(made.insert(output), "{output} twice"));
    }
    graph.output.iter().for_each(|output| assert!(made.contains(output.name.as_str()), "{} is not made", output.name));
}

#[test]
fn large_weights_lie_beside_the_file() {
    let (folder, path) = tiny::bundle();
    let bundle = Bundle::open(&path).unwrap();
    let file = folder.path().join("tiny.onnx");
    let data = folder.path().join("tiny.onnx.data");
    assert_eq!(export(&bundle, &file, 0), [data.as_path(), file.as_path()]);
    let data = std::fs::read(data).unwrap();
    let mut beside = BTreeSet::new();
    for tensor in decode(&file).graph.unwrap().initializer {
        if tensor.data_location != EXTERNAL {
            assert!(tensor.raw_data.unwrap().len() < 64 << 10, "{} is large and inside", tensor.name);
            continue;
        }
        assert_eq!(tensor.raw_data, None, "{}", tensor.name);
        let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).unwrap().value.clone();
        assert_eq!(entry("location"), "tiny.onnx.data");
        let (offset, length): (usize, usize) = (entry("offset").parse().unwrap(), entry("length").parse().unwrap());
        let bytes = match tensor.data_type {
            FLOAT => 4,
            FLOAT16 => 2,
            other => panic!("{} holds {other}", tensor.name),
        };
        assert_eq!(length, tensor.dims.iter().product::<i64>() as usize * bytes, "{}", tensor.name);
        // The name of a weight ends with the shape it is used in: the stored name comes before it.
        let name = tensor.name.split('[').next().unwrap().to_owned();
        assert_eq!(&data[offset..offset + length], bundle.bytes(&name).unwrap(), "{name}");
        beside.insert(name);
    }
    let missing: Vec<_> = bundle.names().filter(|name| onnx::is_in_graph(name) && !beside.contains(*name)).collect();
    // Only what the constant start of the texts has used up: their words and prompts, and the temperature.
    let used_up = ["New_Lan_Embed.prompt_temp", "deep_prompt_embeddings", "prompt_embeddings", "prompt_proj.bias"];
    assert_eq!(missing, [&used_up[..], &["prompt_proj.weight"]].concat());
}

#[cfg(feature = "openvino")]
#[test]
fn openvino_reads_the_file_and_agrees_for_a_batch_of_two() {
    use openvino::{Core, DeviceType, ElementType, RwPropertyKey, Shape, Tensor};
    use vcp_line::engine::reference::ReferenceEngine;

    /// Text embeddings have length 1; tokens and logits are near 10: float32, added up in another order.
    const RELATIVE: f32 = 2e-5;

    let (folder, path) = tiny::bundle();
    let bundle = Bundle::open(&path).unwrap();
    let pictures = input(&IMAGES[..2]);
    let spec = EngineSpec {
        bundle: path,
        engine: EngineChoice::Reference,
        precision: Precision::Fp32,
        max_batch: 2,
        threads: None,
        plan: PlanSpec::default(),
        remote: None,
        scales: None,
    };
    let traces = ReferenceEngine::open(&spec).unwrap().trace(2, pictures.clone());
    for inline_limit in [INLINE_LIMIT, 0] {
        let file = folder.path().join(format!("{inline_limit}.onnx"));
        export(&bundle, &file, inline_limit);
        let mut core = Core::new().unwrap();
        core.set_property(&DeviceType::CPU, &RwPropertyKey::HintInferencePrecision, "f32").unwrap();
        let model = core.read_model_from_file(file.to_str().unwrap(), "").unwrap();
        let mut compiled = core.compile_model(&model, DeviceType::CPU).unwrap();
        let mut request = compiled.create_infer_request().unwrap();
        let shape = Shape::new(&[2, 3, SIZE as i64, SIZE as i64]).unwrap();
        let mut tensor = Tensor::new(ElementType::F32, &shape).unwrap();
        tensor.get_data_mut::<f32>().unwrap().copy_from_slice(&pictures);
        request.set_input_tensor(&tensor).unwrap();
        request.infer().unwrap();
        let near = |name: &str, expected: [&[f32]; 2]| {
            let tensor = request.get_tensor(name).unwrap();
            let found: &[f32] = tensor.get_data().unwrap();
            let expected = expected.concat();
            assert_eq!(found.len(), expected.len(), "{name}");
            let largest = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
            let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f32::max);
            assert!(worst <= RELATIVE && found.iter().all(|x| x.is_finite()), "{name}: off by {worst} of {largest}");
        };
        near("text", [&traces[0].text, &traces[1].text]);
        for (at, layer) in tiny::TAPS.iter().enumerate() {
            near(&format!("tokens.{layer}"), [&traces[0].tokens[at], &traces[1].tokens[at]]);
            near(&format!("raw.{layer}"), [&traces[0].raw[at], &traces[1].raw[at]]);
        }
    }
}
