//! Other graphs of the network than the one that looks: one that watches its layers, one that is only its end.

use std::time::{Duration, Instant};

use openvino::{DeviceType, PartialShape};

use super::finish;
use super::onnx::{self, Extras, FEATURE, OutputNames};
use super::openvino_compile::{Arithmetic, Delivery, compile, core, floats};
use super::openvino_lanes::{runtime, tensor};
use super::scales::{self, Hear, Watched};
use super::{EngineError, EngineSpec, Precision, prepare};
use crate::frame::Image;
use crate::weights::bundle::Bundle;

/// Looks at `images` through a graph in float32 that watches the layers which may be computed in 8 bits, and hands over what it saw
/// of each layer: name of the weight, largest absolute value of each channel, some rows.
pub fn watch(
    spec: &EngineSpec,
    images: &mut dyn Iterator<Item = Image>,
    seen: &mut Hear<'_>,
) -> Result<(), EngineError> {
    let spec = EngineSpec { precision: Precision::Fp32, ..spec.clone() };
    let mut core = core(&spec, "f32")?;
    let bundle = Bundle::open(&spec.bundle)?;
    let arch = bundle.manifest().architecture.clone();
    let mut preprocessor = prepare::preprocessor(&bundle);
    let size = arch.image_size as i64;
    let shape = [1, 3, size, size];
    let extras = Extras { watched: true, ..Extras::default() };
    let mut compiled = compile(&mut core, bundle, &Delivery::usual(), &shape, extras, &[])?.network;
    let mut request = compiled.create_infer_request().map_err(runtime("creating a request"))?;
    let mut input = tensor(&shape)?;
    for image in images {
        preprocessor.run(&image, input.get_data_mut::<f32>().map_err(runtime("input tensor"))?);
        request.set_input_tensor(&input).map_err(runtime("input tensor"))?;
        request.infer().map_err(runtime("inference"))?;
        for weight in scales::candidates(&arch) {
            let names = Watched::new(&weight);
            let [largest, rows] = [&names.largest, &names.rows].map(|name| request.get_tensor(name));
            let (largest, rows) =
                (largest.map_err(runtime("reading an output"))?, rows.map_err(runtime("reading an output"))?);
            seen(&weight, floats(&largest)?, floats(&rows)?);
        }
    }
    Ok(())
}

/// Median time of what lies behind the vision tower in the network: text tower, class vectors, Pre-VCP logits.
pub fn network_tail(spec: &EngineSpec, rounds: u32) -> Result<Duration, EngineError> {
    let bundle = Bundle::open(&spec.bundle)?;
    let mut core = core(spec, Arithmetic::choose(spec, &bundle)?.hint())?;
    let arch = &bundle.manifest().architecture;
    let graph = onnx::encode_tail(&bundle, &finish::text_constants(&bundle)?)?;
    let mut model = core.read_model_from_buffer(&graph, None).map_err(runtime("reading the network"))?;
    let tokens = [1, arch.patches() as i64, arch.vision_width as i64];
    let feature = [1, 1, arch.text_width as i64];
    let names = OutputNames::new(&arch.taps).tokens;
    let inputs: Vec<(&str, &[i64])> =
        names.iter().map(|n| (n.as_str(), &tokens[..])).chain([(FEATURE, &feature[..])]).collect();
    let shapes = inputs
        .iter()
        .map(|(name, shape)| Ok((*name, PartialShape::new_static(3, shape).map_err(runtime("input shape"))?)))
        .collect::<Result<Vec<_>, EngineError>>()?;
    let pairs: Vec<(&str, &PartialShape)> = shapes.iter().map(|(name, shape)| (*name, shape)).collect();
    model.reshape(&pairs).map_err(runtime("input shape"))?;
    let mut compiled = core.compile_model(&model, DeviceType::CPU).map_err(runtime("compiling the network"))?;
    let mut request = compiled.create_infer_request().map_err(runtime("creating a request"))?;
    for (name, shape) in &inputs {
        let mut input = tensor(shape)?;
        let data = input.get_data_mut::<f32>().map_err(runtime("input tensor"))?;
        data.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 97) as f32 / 97.0 - 0.5);
        request.set_tensor(name, &input).map_err(runtime("input tensor"))?;
    }
    let mut times = (0..=rounds)
        .map(|_| {
            let start = Instant::now();
            request.infer().map_err(runtime("inference"))?;
            Ok(start.elapsed())
        })
        .collect::<Result<Vec<_>, EngineError>>()?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}
