//! A line as a service: everything opened, watched and stopped in order. `run` and `demo` share it.
//!
//! ```text
//! settings ─▶ plan ─▶ Service ─▶ serve: start ─▶ watch ─▶ stop ─▶ result           spec, running, ending, stop
//!    SIGHUP, command, changed file ─▶ settings, read again ─▶ line, ways out                      reread, reload
//!    broker, API ─▶ ways in ─▶ one command after the other ─▶ line               ways_in, api, commands, recipes, kept, snapshot
//!    line ─▶ good parts ─▶ thresholds, memory                                     activity
//!    line ─▶ voice (verdicts, state, alarms) ─▶ ways out ─▶ broker, Sparkplug      ways_out, voice, drops
//!    golden parts ─▶ line ─▶ alarm when one is judged wrong                        self_test
//!    what is known of them ─▶ numbers for Prometheus                               metrics
//!    systemd hears what takes long, that the line is ready, that it lives, that it stops    manager
//! ```

mod activity;
mod api;
mod commands;
mod drops;
mod ending;
mod error;
mod folders;
mod kept;
mod manager;
mod metrics;
mod pictures;
pub mod plan;
mod recipes;
mod reload;
mod reread;
mod running;
mod self_test;
mod settings_file;
mod snapshot;
mod spec;
mod stop;
mod voice;
mod ways_in;
mod ways_out;

use tokio_util::sync::CancellationToken;

use crate::line::LineError;
use crate::logging::Log;
use running::Running;

pub use activity::Pupils;
pub use commands::CommandSpec;
pub use error::ServiceError;
pub use kept::{Before, By, KeptError, KeptRecipes, Origin, Via, Who, memory_in_use, recipe_history, recipe_in_use};
pub use pictures::{configure as configure_good_parts, place as place_of_sheet};
pub use reload::Reload;
pub use self_test::SelfTestSpec;
pub use settings_file::SettingsFile;
pub use snapshot::{SnapshotError, Snapshots};
pub use spec::{EngineMaker, Service};
pub use stop::{signals, stop_on_signal};
pub use ways_in::Ask;

/// Runs until `stop` or until every finite source has ended.
pub fn serve(service: Service, log: &Log, stop: &CancellationToken) -> Result<(), ServiceError> {
    let mut running = match Running::start(service, stop) {
        Err(ServiceError::Line(LineError::Cancelled)) => return Ok(()),
        started => started?,
    };
    let end = running.watch(log, stop);
    running.stop(end).result()
}
