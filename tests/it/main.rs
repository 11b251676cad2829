//! The line from outside: settings, cameras, the real program, real brokers, and everything that breaks. One program,
//! because each one links the whole crate. What computes lies in `tests/compute`, because tests here look at the clock.
// Clippy knows only functions marked as tests for tests, not what they share.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod archive;
mod archive_asked;
mod archive_line;
mod bad_input;
mod calibrate;
#[cfg(feature = "gstreamer")]
mod camera_faults;
mod check;
mod circles;
mod config_errors;
mod consumer_example;
mod deb;
mod deploy;
mod disk_faults;
mod http;
mod inspect;
mod install;
mod layering;
mod levels;
mod line_activities;
mod line_binary;
mod line_broker;
mod line_commands;
mod line_controllers;
mod line_faults;
mod line_judging;
mod line_parts;
mod line_secure;
mod line_service;
#[cfg(feature = "openvino")]
mod live_boot;
#[cfg(feature = "opencv")]
mod locating;
#[cfg(feature = "opencv")]
mod locating_files;
mod log_lost;
mod memory;
mod outbox_door;
mod outbox_faults;
#[cfg(feature = "openvino")]
mod package_boot;
mod page;
mod page_guard;
mod page_load;
mod peers;
mod picture_changes;
mod publish_limits;
mod publish_mqtt;
mod publish_secure;
mod recipes;
mod reload;
mod reload_cameras;
mod remote;
mod remote_faults;
mod remote_network;
mod remote_peers;
mod remote_soak;
mod run_packages;
mod self_test;
mod soak;
#[cfg(feature = "gstreamer")]
mod source_damaged;
#[cfg(feature = "gstreamer")]
mod source_deep;
mod source_depth;
#[cfg(feature = "gstreamer")]
mod source_gige;
#[cfg(feature = "gstreamer")]
mod source_gstreamer;
mod source_synthetic;
mod sparkplug;
mod systemd;
mod terminal;
mod tiles;
#[cfg(feature = "otel")]
mod traces;
mod watched_folder;
