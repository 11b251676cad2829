//! The command line: one file or folder per command; here they are told apart, logged and ended.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::ConfigError;
use crate::error_chain;
use crate::logging::Log;
use crate::printable;
use interrupt::Interrupts;
use terminal::note;

mod archive;
mod bench;
mod calibrate;
mod check;
mod choices;
mod demo;
mod engine_arguments;
mod eval;
mod failure;
mod inspect;
mod interrupt;
mod json_file;
mod learn;
mod levels_argument;
mod locate;
mod manual;
mod model;
mod outbox;
mod quantize;
mod recipe;
mod rectangle;
mod run;
mod serve;
mod shipped_model;
mod synth;
mod terminal;
mod train;
mod trigger;
mod version;
mod watch;

/// Zero-shot visual inspection for production lines: cameras in, VCP-CLIP, a verdict for every part over MQTT.
#[derive(Parser)]
#[command(version, long_version = version::LONG.as_str(), propagate_version = true, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What is logged: error, warn, info, debug, trace, or per module as in `warn,vcp_line::source=debug`.
    #[arg(long, global = true, env = "VCP_LINE_LOG", default_value = DEFAULT_LOG, value_name = "FILTER")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

/// The line's own words, and warnings of the libraries; the broker inside `demo` calls every closed connection an error.
const DEFAULT_LOG: &str = "warn,vcp_line=info,rumqttd=off";

const EXIT_CODES: &str = "Exit codes: 0 done, or a service stopped on request, 1 failure, 2 wrong arguments, 78 bad \
                          configuration (starting again without a change cannot help), 130 or 143 ended by Ctrl-C or \
                          SIGTERM before the work was done.";

/// How long the last lines of the log may take to be read. A service ends in time, whoever reads.
const LAST_LINES_OF_A_SERVICE: Duration = Duration::from_secs(1);
/// The same for a command that a person waits for.
const LAST_LINES: Duration = Duration::from_secs(30);

#[derive(Subcommand)]
enum Command {
    /// Run a line: cameras → verdicts over MQTT, until SIGTERM or Ctrl-C (a second one exits at once).
    Run(run::RunArguments),
    /// Serve a model to many boxes over the Open Inference Protocol (gRPC), until SIGTERM or Ctrl-C.
    Serve(Box<serve::ServeArguments>),
    /// Test a line's configuration, cameras, model, engine and broker; say what is wrong and what to do.
    Check(check::CheckArguments),
    /// Show a simulated line with nothing configured: synthetic products, a broker inside, verdicts beside the truth.
    Demo(demo::DemoArguments),
    /// Print the verdicts of a line as they come.
    Watch(watch::WatchArguments),
    /// Trigger one part by hand, over the broker of a running line.
    Trigger(trigger::TriggerArguments),
    /// Show what waits in a line's outbox: events, parts that are owed one, damage. Reads only.
    Outbox(outbox::OutboxArguments),
    /// Show what a line has kept of its parts, or write it as a data set.
    Archive(archive::ArchiveArguments),
    /// Recipes of a line in files: list, show, compare, carry to another line.
    #[command(subcommand)]
    Recipe(recipe::RecipeCommand),
    /// Look at image files: one line each with the score; anomaly maps and overlays on request.
    Inspect(inspect::InspectArguments),
    /// Teach a camera to find its parts when they do not lie still, and show where they lie in pictures.
    Locate(locate::LocateArguments),
    /// Learn what good parts look like: a memory of pictures of them, which joins the model's eye.
    Learn(learn::LearnArguments),
    /// Set a recipe's thresholds from pictures of good parts, with a promise of how many good ones are rejected.
    Calibrate(Box<calibrate::CalibrateArguments>),
    /// Model bundles: import weight files, export ONNX, show what is inside.
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Measure a model on a labelled data set: AUROC, AUPRO, AP, F1, IoU, with a baseline and a report on request.
    Eval(Box<eval::EvalArguments>),
    /// Learn: a small CLIP from captions, the VCP modules from labelled pictures.
    #[command(subcommand)]
    Train(train::TrainCommand),
    /// Make a labelled data set of synthetic products: good ones, and defective ones with pixel-exact masks.
    Synth(synth::SynthArguments),
    /// Measure latency per stage, on this machine.
    Bench(bench::BenchArguments),
    /// Write man pages and completions for a package.
    #[command(hide = true)]
    Manual(manual::ManualArguments),
}

/// Reads the arguments and runs the command; the error chain is printed once, on standard error.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => return answered(&answer),
    };
    let log = match Log::start(&arguments.log) {
        Ok(log) => log,
        Err(error) => {
            note!("vcp-line: {error}");
            return ExitCode::from(failure::EXIT_ARGUMENTS);
        }
    };
    let serving = matches!(arguments.command, Command::Run(_) | Command::Demo(_) | Command::Serve(_));
    // These stop on request, which is no interruption.
    let stops = serving || matches!(arguments.command, Command::Watch(_));
    if serving {
        terminal::goes_on_without();
    }
    let interrupts = if stops { Ok(Interrupts::default()) } else { Interrupts::watch() };
    let result = interrupts.and_then(|interrupts| command(arguments.command, &interrupts, &log));
    let mut code = match &result {
        Ok(()) => 0,
        Err(error) => failure::exit_code(error),
    };
    if let Err(error) = result.as_ref()
        && !error.is::<failure::Said>()
    {
        log.last_words(&told(error));
    }
    if let Some(error) = terminal::failure() {
        log.last_words(&terminal::unwritten(error));
        code = code.max(failure::EXIT_FAILURE);
    }
    log.flush(if serving { LAST_LINES_OF_A_SERVICE } else { LAST_LINES });
    if serving {
        // A stop that was asked for while the model compiles leaves a thread inside the engine's runtime. Ordinary exit
        // runs the runtime's destructors beside that thread; everything of ours is closed by now, so this does not.
        signal_hook::low_level::exit(code.into());
    }
    ExitCode::from(code)
}

/// Help and version, which were asked for, or what is wrong with the arguments.
fn answered(answer: &clap::Error) -> ExitCode {
    match answer.print() {
        Err(error) if !answer.use_stderr() && error.kind() != ErrorKind::BrokenPipe => {
            note!("{}", terminal::unwritten(&error));
            ExitCode::from(failure::EXIT_FAILURE)
        }
        _ => ExitCode::from(if answer.use_stderr() { failure::EXIT_ARGUMENTS } else { 0 }),
    }
}

/// The error and its causes, once. A settings file's mistakes have a line each; whatever else an error quotes does not
/// begin a new one.
fn told(error: &anyhow::Error) -> String {
    let text = format!("vcp-line: {}", error_chain::one_line(error.as_ref()));
    if error.chain().any(|cause| cause.is::<ConfigError>()) { text } else { printable::printable(&text).into_owned() }
}

fn command(command: Command, interrupts: &Interrupts, log: &Log) -> anyhow::Result<()> {
    match command {
        Command::Run(arguments) => run::run(&arguments, log),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments, log),
        Command::Watch(arguments) => watch::run(&arguments),
        Command::Trigger(arguments) => trigger::run(&arguments),
        Command::Outbox(arguments) => outbox::run(&arguments),
        Command::Archive(arguments) => archive::run(&arguments),
        Command::Recipe(command) => recipe::run(&command),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Locate(arguments) => locate::run(&arguments),
        Command::Learn(arguments) => learn::run(&arguments),
        Command::Calibrate(arguments) => calibrate::run(&arguments),
        Command::Model(command) => model::run(&command),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Train(command) => train::run(&command, interrupts),
        Command::Synth(arguments) => synth::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Manual(arguments) => manual::run::<Arguments>(&arguments),
    }
}
