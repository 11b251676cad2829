//! `vcp-line`: a production-line inspection service. Frames from industrial cameras go in, every part gets a
//! verdict over MQTT. The model is VCP-CLIP (Qu et al., ECCV 2024, arXiv 2407.12276), a zero-shot anomaly
//! segmentation network.
//!
//! # One frame, in a straight line
//! ```text
//! camera ─ GStreamer ─ appsink ─▶ Frame{camera, seq, part?, captured}          source
//!    ─▶ Matcher: which frame shows which part, one outcome each, in time       line::parts ◀─ triggers: publish, web
//!    ─▶ FrameQueue (bounded, policy named, every drop counted)                  line::queue
//!    ─▶ inference thread: Engine::infer(&[&Frame]) -> Prediction{AnomalyMap}    engine, vcp_clip
//!    ─▶ Recipe (thresholds, regions of interest) -> Inspection{Verdict, defects}  line::recipe
//!    ─▶ InspectionEvent (the public contract)                                   event
//!    ─▶ Outbox (on disk until acknowledged) ─▶ MQTT QoS 1                       publish
//! ```
//!
//! # Who may import whom
//! `tests/it/layering.rs` reads the `use crate::` lines and enforces this table, top to bottom:
//! ```text
//! main → cli → {service → {calibrate → line, config, publish, web, systemd}, learn → eval} → {dataset → source, engine → cuda} → {vcp_clip, weights, synth} → output → vocabulary
//! {line, eval, calibrate, cli} → look → {engine, memory, view}; {config, memory} → view → vocabulary
//! {line, config} → drift → vocabulary
//! {line, config, service, web} → archive → output → vocabulary
//! {cli} → serve → {engine, oip, web}; {engine, serve} → oip → vocabulary
//! {publish, engine, serve} → tls → vocabulary
//! ```
//! where the vocabulary is [`frame`], [`levels`], [`anomaly`], [`overlay`], [`lettering`], [`verdict`], [`event`], [`camera`], [`command`],
//! [`secret`], [`clock`], [`dice`], [`printable`] and [`error_chain`]: no I/O. [`output`] puts results on disk, whole or not at all;
//! [`archive`] keeps what became of every part, and pictures; [`view`] says what of a frame is looked at, and how closely, and
//! [`look`] looks so; [`synth`] makes pictures of products whose truth is known; [`drift`] tells whether pictures still look like those of the good
//! parts; [`oip`] is the Open Inference Protocol, which [`serve`] speaks as a server and an engine as a client. Modules in one pair of braces do not import each other, with
//! two exceptions: `config` fills in the `…Spec` types of its neighbours, and `weights` takes the model's sizes from
//! `vcp_clip`. Of the adapters only `source` imports `synth`; adapters (`source`, `engine`, `publish`, `web`) never import
//! `config`.

pub mod anomaly;
pub mod camera;
pub mod clock;
pub mod command;
pub mod dice;
pub mod error_chain;
pub mod event;
pub mod frame;
pub mod lettering;
pub mod levels;
pub mod overlay;
pub mod printable;
pub mod secret;
pub mod tokens;
pub mod verdict;

pub mod output;

pub mod archive;
pub mod drift;
pub mod synth;
pub mod vcp_clip;
pub mod view;
pub mod weights;

#[cfg(feature = "cuda")]
pub mod cuda;
pub mod engine;
pub mod source;

pub mod dataset;

pub mod calibrate;
pub mod config;
pub mod eval;
pub mod learn;
pub mod line;
pub mod logging;
pub mod look;
pub mod memory;
pub mod oip;
pub mod publish;
pub mod quantize;
pub mod serve;
pub mod systemd;
pub mod tls;
pub mod web;

pub mod service;

pub mod cli;
