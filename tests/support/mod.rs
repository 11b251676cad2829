//! What tests of several programs share: brokers, cameras, cables, disks, small models, and independent judges.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod brokers;
pub mod certs;
pub mod chromium;
pub mod commands;
pub mod consumer;
pub mod conveyor;
pub mod disk;
pub mod entries;
pub mod events;
#[cfg(feature = "cuda")]
pub mod executor;
pub mod held;
#[cfg(feature = "cuda")]
pub mod kernels;
pub mod line;
pub mod mosquitto;
pub mod netns;
pub mod package;
pub mod remote_line;
pub mod rtsp_server;
pub mod schema;
pub mod seeded;
pub mod serve;
pub mod shots;
pub mod spark;
pub mod tiny;
pub mod torch_save;
pub mod verdicts;
