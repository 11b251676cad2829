//! What a failed command says, and with which code it ends.

use std::error::Error;
use std::fmt::Display;
use std::io::ErrorKind;
use std::path::Path;

use crate::config::{ConfigError, SecretError};
use crate::dataset::DatasetError;
use crate::engine::EngineError;
use crate::engine::plan::PlanError;
use crate::engine::scales::ScalesError;
use crate::learn::LearnError;
use crate::line::LineError;
use crate::line::recipe::RecipeError;
use crate::publish::PublishError;
use crate::publish::outbox::OutboxError;
use crate::publish::url::UrlError;
use crate::serve::ServeError;
use crate::service::ServiceError;
use crate::source::SourceError;
use crate::weights::BundleError;

/// Something failed while working.
pub const EXIT_FAILURE: u8 = 1;
/// The command line asks for what cannot be: a value out of range, a file that is not there.
pub const EXIT_ARGUMENTS: u8 = 2;
/// The configuration is wrong and starting again cannot help (EX_CONFIG of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// What `check` has found, after every finding has been printed.
#[derive(Debug, thiserror::Error)]
#[error("{failed} of the checks above failed")]
pub struct ChecksFailed {
    /// How many.
    pub failed: usize,
    /// Whether the configuration is at fault in one of them.
    pub configuration: bool,
}

/// Another process has done the work and said what was wrong.
#[derive(Debug, thiserror::Error)]
#[error("see above")]
pub struct Said {
    /// With which code it ended.
    pub code: u8,
}

/// The command line itself is at fault; the text names the argument and what would do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongArguments(String);

/// The arguments are at fault, as this says.
pub fn wrong_arguments(what: impl Display) -> anyhow::Error {
    WrongArguments(what.to_string()).into()
}

/// The file or folder that an argument names is there. Whether it can be used is said by whoever uses it.
pub fn there(argument: &str, path: &Path) -> anyhow::Result<()> {
    match std::fs::metadata(path) {
        Err(error) if is_absent(&error) => Err(wrong_arguments(format!("{argument} {}: {error}", path.display()))),
        _ => Ok(()),
    }
}

/// The same for a model bundle.
pub fn bundle_there(path: &Path) -> anyhow::Result<()> {
    match std::fs::metadata(path) {
        Err(error) if is_absent(&error) => {
            Err(wrong_arguments(BundleError::Absent { path: path.to_owned(), reason: error.to_string() }))
        }
        _ => Ok(()),
    }
}

/// Nothing has this name.
pub fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// 2 when the command line is at fault, 78 when the configuration is, 1 otherwise.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(Said { code }) = error.downcast_ref() {
        *code
    } else if error.chain().any(is_wrong_arguments) {
        EXIT_ARGUMENTS
    } else if error.chain().any(is_configuration) {
        EXIT_CONFIG
    } else {
        EXIT_FAILURE
    }
}

/// Where errors of the library mean the arguments: settings files are read by `config`, which has errors of its own.
fn is_wrong_arguments(cause: &(dyn Error + 'static)) -> bool {
    let class = |error: &DatasetError| matches!(error, DatasetError::NoSuchClass { .. });
    cause.is::<WrongArguments>()
        || cause.is::<UrlError>()
        || cause.downcast_ref::<DatasetError>().is_some_and(class)
        || cause.downcast_ref::<LearnError>().is_some_and(|error| match error {
            LearnError::Settings(_) => true,
            LearnError::Dataset(error) => class(error),
            _ => false,
        })
}

/// The kinds of errors that may mean the configuration, each asked by its own function below.
fn is_configuration(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<ConfigError>()
        || cause.is::<SecretError>()
        || cause.downcast_ref::<ChecksFailed>().is_some_and(|checks| checks.configuration)
        || cause.downcast_ref::<ServiceError>().is_some_and(in_service)
        || cause.downcast_ref::<ServeError>().is_some_and(in_serve)
        || cause.downcast_ref::<LineError>().is_some_and(in_line)
        || cause.downcast_ref::<EngineError>().is_some_and(in_engine)
        || cause.downcast_ref::<BundleError>().is_some_and(in_bundle)
        || cause.downcast_ref::<SourceError>().is_some_and(in_source)
        || cause.downcast_ref::<RecipeError>().is_some_and(in_recipe)
        || cause.downcast_ref::<PublishError>().is_some_and(in_publisher)
}

/// Transparent errors hide from the chain what they wrap, so it is looked at here.
fn in_service(error: &ServiceError) -> bool {
    match error {
        ServiceError::Secret(_) => true,
        ServiceError::Publish(error) => in_publisher(error),
        ServiceError::Line(error) => in_line(error),
        _ => false,
    }
}

fn in_serve(error: &ServeError) -> bool {
    match error {
        ServeError::Engine(error) => in_engine(error),
        ServeError::Tls(_) => true,
        ServeError::Listen { .. } | ServeError::Runtime(_) | ServeError::EngineThread => false,
    }
}

fn in_line(error: &LineError) -> bool {
    match error {
        LineError::Engine(error) => in_engine(error),
        LineError::Camera(error) => in_source(error),
        LineError::Recipe { source, .. } => in_recipe(source),
        LineError::WarmUp { .. } | LineError::Thread { .. } | LineError::Panicked { .. } | LineError::Cancelled => {
            false
        }
    }
}

fn in_engine(error: &EngineError) -> bool {
    match error {
        EngineError::NotBuilt { .. }
        | EngineError::Library { .. }
        | EngineError::LibraryVersion { .. }
        | EngineError::Unfit { .. }
        | EngineError::Precision { .. } => true,
        EngineError::Bundle(error) => in_bundle(error),
        EngineError::Scales(error) => !matches!(error, ScalesError::Io { .. }),
        EngineError::Plan(error) => !matches!(error, PlanError::Io { .. }),
        // A driver may still be loading, a card be taken by another program.
        EngineError::NoCard { .. } | EngineError::Card { .. } | EngineError::SelfTest { .. } => false,
        EngineError::Io { .. } | EngineError::Runtime { .. } | EngineError::Batch { .. } => false,
    }
}

/// A full disk or a failed read may be another one at the next start.
fn in_bundle(error: &BundleError) -> bool {
    !matches!(error, BundleError::DiskFull { .. } | BundleError::Io { .. } | BundleError::Exists { .. })
}

/// A camera that is away may come back, one that this program cannot open does not.
fn in_source(error: &SourceError) -> bool {
    matches!(error, SourceError::NotBuilt { .. } | SourceError::ElementMissing { .. } | SourceError::Pipeline { .. })
}

/// What the settings themselves could not show: the camera's frames are smaller than a polygon.
fn in_recipe(error: &RecipeError) -> bool {
    matches!(error, RecipeError::PolygonOutside { .. })
}

/// A broker or a disk may mend itself; a directory that cannot be used, or is from a later version, does not.
fn in_publisher(error: &PublishError) -> bool {
    matches!(error, PublishError::Outbox(OutboxError::Directory { .. } | OutboxError::Version { .. }))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;
    use crate::engine::{EngineChoice, Precision};
    use crate::error_chain;

    fn damaged() -> BundleError {
        BundleError::Damaged { path: "m".into(), reason: "the weights changed".into() }
    }

    fn full() -> BundleError {
        BundleError::DiskFull { path: "m".into(), needed: 7 }
    }

    #[test]
    fn configuration_is_found_inside_transparent_errors_and_below_context() {
        let secret = SecretError::Empty { path: "p".into() };
        let precision =
            EngineError::Precision { engine: EngineChoice::Reference, precision: Precision::Bf16, available: "fp32" };
        let outside =
            RecipeError::PolygonOutside { recipe: "r".into(), region: 0, x: 9.0, y: 9.0, width: 4, height: 4 };
        let at_fault: [anyhow::Error; 9] = [
            damaged().into(),
            EngineError::from(damaged()).into(),
            LineError::Engine(damaged().into()).into(),
            Err::<(), _>(secret).context("camera 'top'").expect_err("an error"),
            LineError::Engine(EngineError::NotBuilt { engine: EngineChoice::Tensorrt, feature: "tensorrt" }).into(),
            precision.into(),
            LineError::Recipe { camera: "top".into(), source: outside }.into(),
            ServiceError::from(LineError::Engine(damaged().into())).into(),
            ServiceError::SecretOf { of: "camera 'top'".into(), source: SecretError::Empty { path: "p".into() } }
                .into(),
        ];
        for error in at_fault {
            assert_eq!(exit_code(&error), EXIT_CONFIG, "{error:?}");
        }
        let lost = SourceError::Lost { camera: "top".into(), address: "a".into(), reason: "r".into() };
        let otherwise: [anyhow::Error; 5] = [
            full().into(),
            LineError::Engine(full().into()).into(),
            ServiceError::from(LineError::Engine(full().into())).into(),
            LineError::Camera(lost).into(),
            anyhow::anyhow!("x"),
        ];
        for error in otherwise {
            assert_eq!(exit_code(&error), EXIT_FAILURE, "{error:?}");
        }
    }

    #[test]
    fn a_cause_that_is_already_quoted_is_not_said_again() {
        let read = SecretError::Read { path: "p".into(), source: std::io::Error::other("it burns") };
        let error = Err::<(), _>(read).context("camera 'top'").expect_err("an error");
        let expected =
            "camera 'top': p: it burns; write the password into this file and let the service's user read it";
        assert_eq!(error_chain::one_line(error.as_ref()), expected);
        let kept = Err::<(), _>(std::io::Error::other("it burns")).context("writing m.npy").expect_err("an error");
        assert_eq!(error_chain::one_line(kept.as_ref()), "writing m.npy: it burns");
    }
}
