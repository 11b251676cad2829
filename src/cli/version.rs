//! What this program is: version, commit, and what was built in.

use std::sync::LazyLock;

/// The commit, a `+` behind it when files differed; empty when the build did not know.
const COMMIT: &str = env!("VCP_LINE_COMMIT");

/// Each feature and whether it is built in.
const FEATURES: [(&str, bool); 8] = [
    ("cuda", cfg!(feature = "cuda")),
    ("gstreamer", cfg!(feature = "gstreamer")),
    ("opencv", cfg!(feature = "opencv")),
    ("openvino", cfg!(feature = "openvino")),
    ("tensorrt", cfg!(feature = "tensorrt")),
    ("tensorrt-enterprise", cfg!(feature = "tensorrt-enterprise")),
    ("train-cuda", cfg!(feature = "train-cuda")),
    ("train-vulkan", cfg!(feature = "train-vulkan")),
];

/// Each engine and whether it is built in; whether it works here is said by `check`.
const ENGINES: [(&str, bool); 3] =
    [("reference", true), ("openvino", cfg!(feature = "openvino")), ("tensorrt", cfg!(feature = "tensorrt"))];

/// What `--version` prints behind the name.
pub static LONG: LazyLock<String> = LazyLock::new(|| {
    let built_in = |all: &[(&'static str, bool)]| {
        let names: Vec<&str> = all.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    format!(
        "{}\ncommit    {}\nfeatures  {}\nengines   {}",
        env!("CARGO_PKG_VERSION"),
        if COMMIT.is_empty() { "unknown" } else { COMMIT },
        built_in(&FEATURES),
        built_in(&ENGINES)
    )
});
