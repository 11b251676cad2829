//! What TensorRT-RTX compiles for this card at the first start, kept for the next one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use trtx::{CudaGraphStrategy, DynamicShapesKernelSpecializationStrategy, RuntimeCache, RuntimeConfig};

use super::failure::runtime;
use crate::engine::EngineError;
use crate::output;

/// Compiled kernels in memory, and the file that they are kept in.
pub struct Cache {
    compiled: Arc<RuntimeCache>,
    file: Option<PathBuf>,
    saved: usize,
}

impl Cache {
    /// Lets `config` use what an earlier start kept in `file`, and collect what this one compiles.
    pub fn open(config: &mut RuntimeConfig<'static>, file: Option<PathBuf>) -> Result<Self, EngineError> {
        let step = "configuring TensorRT";
        // The kernels for each batch are compiled before its first answer: a graph would hold the slow ones for good.
        let eager = DynamicShapesKernelSpecializationStrategy::kEAGER;
        config.set_dynamic_shapes_kernel_specialization_strategy(eager);
        // The whole frame is captured, not the network alone.
        config.set_cuda_graph_strategy(CudaGraphStrategy::kDISABLED).map_err(runtime(step))?;
        let compiled = Arc::new(config.create_runtime_cache().map_err(runtime(step))?);
        let mut saved = 0;
        if let Some(bytes) = file.as_ref().and_then(|file| std::fs::read(file).ok()) {
            match compiled.deserialize(&bytes) {
                Ok(()) => saved = bytes.len(),
                Err(error) => tracing::warn!(%error, "compiled kernels of an earlier start are of no use"),
            }
        }
        config.set_runtime_cache(Arc::clone(&compiled)).map_err(runtime(step))?;
        Ok(Self { compiled, file, saved })
    }

    /// A cache that cannot be written costs time at the next start and nothing else.
    pub fn save(&mut self) {
        let Some(file) = &self.file else { return };
        let written = match self.compiled.serialize() {
            Ok(bytes) if bytes.len() == self.saved => return,
            Ok(bytes) => put(file, &bytes).map(|()| bytes.len()),
            Err(error) => Err(std::io::Error::other(error.to_string())),
        };
        match written {
            Ok(length) => self.saved = length,
            Err(error) => tracing::warn!(file = %file.display(), %error, "compiled kernels cannot be kept"),
        }
    }
}

fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    output::write(path, bytes)
}
