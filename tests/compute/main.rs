//! Numbers, pictures, weights and bytes: the model in every engine, training, metrics, files of others. A program of its
//! own beside `tests/it`, because these tests keep every core busy, and those look at the clock.
// Clippy knows only functions marked as tests for tests, not what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod calibrate_shipped;
#[cfg(feature = "cuda")]
mod cuda_compile;
#[cfg(feature = "cuda")]
mod cuda_kernels;
mod dataset;
mod dataset_layouts;
mod dataset_masks;
mod drift;
#[cfg(all(feature = "tensorrt", not(feature = "tensorrt-enterprise")))]
mod eight_bit_plans;
mod eval_binary;
mod eval_datasets;
mod eval_recipe;
#[cfg(all(feature = "gstreamer", feature = "opencv"))]
mod formats;
mod golden;
mod hostile_bytes;
mod image_file;
mod image_sensor_bits;
mod image_upright;
mod image_whole;
#[cfg(feature = "opencv")]
mod locate;
mod metrics;
mod odd_sizes;
mod onnx;
mod outbox_ledger;
mod outbox_ledger_cases;
mod outbox_store;
mod preprocess;
#[cfg(feature = "openvino")]
mod quantize;
mod shipped_model;
mod synth;
#[cfg(all(feature = "tensorrt", not(feature = "tensorrt-enterprise")))]
mod tensorrt;
#[cfg(feature = "tensorrt-enterprise")]
mod tensorrt_enterprise;
mod tokens;
mod train_clip;
mod train_resume;
mod train_step;
mod weights;
mod weights_hostile;
mod weights_layouts;
mod weights_plus;
