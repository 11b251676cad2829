//! The real program: settings in a temporary folder, a small model of random weights, `vcp-line` as a child process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use image::{DynamicImage, GrayImage, RgbImage};
use vcp_line::vcp_clip::Architecture;
use vcp_line::weights;

/// Longer than anything here takes on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The bundle that all tests of one program share, made once.
pub fn model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(concat!("model-", env!("CARGO_CRATE_NAME")));
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        weights::random(&folder, &Architecture::smallest(), 7).unwrap();
        folder
    })
}

/// Settings of the line `caps` with this broker and these `[[camera]]` tables.
pub fn settings(port: u16, cameras: &str) -> String {
    format!(
        "line = \"caps\"\n\
         [model]\nbundle = \"{}\"\nengine = \"reference\"\nthreads = 1\n\
         [recipe]\nid = \"cap\"\ndefect_threshold = 0.5\n\
         [mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\nreconnect_min_ms = 50\nreconnect_max_ms = 400\n\
         {cameras}",
        model().display()
    )
}

/// A camera that shows the pictures of the folder `parts` once, then ends.
pub const FOLDER: &str = "[[camera]]\nname = \"top\"\nsource = \"directory\"\npath = \"parts\"\n";
/// A camera that shows them again and again, 25 in a second.
pub const CAROUSEL: &str =
    "[[camera]]\nname = \"top\"\nsource = \"directory\"\npath = \"parts\"\nloop = true\nfps = 25.0\n";

/// Sizes of the [`pictures`], in order.
pub const PICTURES: [(u32, u32); 12] = [
    (64, 48),
    (640, 480),
    (33, 77),
    (56, 56),
    (301, 200),
    (57, 1),
    (128, 128),
    (80, 400),
    (20, 20),
    (320, 240),
    (99, 101),
    (500, 30),
];

/// Fills a new folder with pictures of different sizes and formats, grey and colour in turn.
pub fn pictures(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for (i, (width, height)) in PICTURES.into_iter().enumerate() {
        let picture = if i % 2 == 0 {
            let grey = |x, y| image::Luma([(x * 3 + y * 5) as u8]);
            DynamicImage::from(GrayImage::from_fn(width, height, grey))
        } else {
            let colour = |x, y| image::Rgb([x as u8, (y * 2) as u8, (x * y) as u8]);
            DynamicImage::from(RgbImage::from_fn(width, height, colour))
        };
        picture.save(folder.join(format!("{i:02}.{}", ["png", "bmp", "jpg"][i % 3]))).unwrap();
    }
}

/// The program, not yet started: the one built with the tests, or another one (`VCP_LINE_BINARY`). Nothing of this process's surroundings changes what it does.
pub fn program(arguments: &[&str]) -> Command {
    let built = || env!("CARGO_BIN_EXE_vcp-line").into();
    let mut command = Command::new(std::env::var_os("VCP_LINE_BINARY").unwrap_or_else(built));
    command.args(arguments).stdin(Stdio::null());
    for variable in
        ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "VCP_LINE_LOG", "VCP_LINE_DEMO_MODEL"]
    {
        command.env_remove(variable);
    }
    // Never the outbox of the person who runs the tests; lines with a folder of their own keep it there.
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let own = format!("state-{}-{}", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
    command.env("STATE_DIRECTORY", Path::new(env!("CARGO_TARGET_TMPDIR")).join("state").join(own));
    command
}

/// Runs the program to its end; a deadline that passes is a failure.
pub fn finished(arguments: &[&str]) -> Output {
    let mut running = Running::start(program(arguments));
    let code = running.end();
    Output { status: code, stdout: running.stdout().into_bytes(), stderr: running.stderr().into_bytes() }
}

/// Text of a stream as it grows.
#[derive(Default)]
struct Text {
    text: Mutex<String>,
    grown: Condvar,
}

impl Text {
    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static, name: &str) -> JoinHandle<()> {
        let text = Arc::clone(self);
        let read = move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut all = text.text.lock().unwrap();
                all.push_str(&line);
                all.push('\n');
                text.grown.notify_all();
            }
        };
        std::thread::Builder::new().name(name.into()).spawn(read).unwrap()
    }
}

/// A running program; killed by its process id when dropped.
pub struct Running {
    child: Child,
    out: Arc<Text>,
    err: Arc<Text>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (Arc::<Text>::default(), Arc::<Text>::default());
        let readers = vec![
            out.follow(child.stdout.take().unwrap(), "stdout"),
            err.follow(child.stderr.take().unwrap(), "stderr"),
        ];
        Self { child, out, err, readers }
    }

    /// With its log going elsewhere, wherever that is.
    pub fn start_logging_to(mut command: Command, log: impl Into<Stdio>) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let out = Arc::<Text>::default();
        let readers = vec![out.follow(child.stdout.take().unwrap(), "stdout")];
        Self { child, out, err: Arc::default(), readers }
    }

    pub fn stdout(&self) -> String {
        self.out.text.lock().unwrap().clone()
    }

    pub fn stderr(&self) -> String {
        self.err.text.lock().unwrap().clone()
    }

    /// Returns when the log holds `what`.
    pub fn logged(&self, what: &str) {
        let text = self.err.text.lock().unwrap();
        let (text, _) = self.err.grown.wait_timeout_while(text, PATIENCE, |text| !text.contains(what)).unwrap();
        assert!(text.contains(what), "waited in vain for '{what}':\n{text}");
    }

    /// Returns when this many lines stand on standard output.
    pub fn printed(&self, lines: usize) -> String {
        let text = self.out.text.lock().unwrap();
        let (text, _) = self.out.grown.wait_timeout_while(text, PATIENCE, |text| text.lines().count() < lines).unwrap();
        assert!(text.lines().count() >= lines, "waited in vain for {lines} lines:\n{text}");
        text.clone()
    }

    /// How often the log holds `what` by now.
    pub fn times_logged(&self, what: &str) -> usize {
        self.stderr().matches(what).count()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, as in `TERM`.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end, and for everything that was printed before it.
    pub fn end(&mut self) -> std::process::ExitStatus {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "the program does not end:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(5));
        };
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        if std::thread::panicking() {
            let text = self.err.text.lock().map(|text| text.clone()).unwrap_or_default();
            std::io::Write::write_all(&mut std::io::stderr(), format!("log of the program:\n{text}").as_bytes())
                .unwrap();
        }
    }
}

/// A line under test: its folder with the settings, and the service while it runs.
pub struct Line {
    pub folder: tempfile::TempDir,
    pub service: Running,
}

impl Line {
    /// Starts `vcp-line run` with these settings.
    pub fn run(settings: &str) -> Self {
        Self::run_in(tempfile::tempdir().unwrap(), settings, |_| {})
    }

    /// Starts it with the [`pictures`] beside the settings.
    pub fn with_pictures(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        pictures(&folder.path().join("parts"));
        Self::run_in(folder, settings, |_| {})
    }

    /// Starts it with settings inside `folder`, the command changed by `change` before.
    pub fn run_in(folder: tempfile::TempDir, settings: &str, change: impl FnOnce(&mut Command)) -> Self {
        let file = folder.path().join("line.toml");
        fs::write(&file, settings).unwrap();
        let mut command = program(&["run", file.to_str().unwrap()]);
        command.env("STATE_DIRECTORY", folder.path().join("state"));
        change(&mut command);
        let service = Running::start(command);
        Self { folder, service }
    }

    /// What stands after `name=` in the last line of the log: one of `events`, `acked`, `unsent`.
    pub fn at_the_end(&self, name: &str) -> u64 {
        let log = self.service.stderr();
        let last = log.lines().rfind(|line| line.contains("stopped events=")).expect("the last line tells the counts");
        let (_, rest) = last.split_once(&format!(" {name}=")).expect("named");
        rest.split(' ').next().unwrap().parse().unwrap()
    }
}

/// The token of `[http]` in this folder, for its owner alone.
pub fn write_token(folder: &Path, token: &str) {
    use std::os::unix::fs::PermissionsExt;
    let file = folder.join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}
