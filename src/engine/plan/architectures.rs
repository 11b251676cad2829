//! Which graphics cards each TensorRT makes plans for.

use super::error::{PlanError, dotted};
use super::flavour::Flavour;

/// Architectures, compute capability × 10, that TensorRT-RTX 1.7 makes plans for. It has SM 7.5 as well, where our kernels
/// do not run.
pub const RTX_SMS: [u32; 5] = [80, 86, 89, 120, 121];
/// Architectures that only TensorRT itself makes plans for: Orin, H100 and H200, B200, B300, Thor.
const ENTERPRISE_SMS: [u32; 5] = [87, 90, 100, 103, 110];

impl Flavour {
    /// Refuses an architecture that it makes no plans for, and says what does. TensorRT itself tunes on the card that is
    /// there and refuses what it does not know; `Gpu::open` refuses what the kernels do not run on.
    pub fn covers(self, sm: u32) -> Result<(), PlanError> {
        if self == Self::Tensorrt || RTX_SMS.contains(&sm) {
            return Ok(());
        }
        let known: Vec<String> = RTX_SMS.iter().map(dotted).collect();
        let next = if ENTERPRISE_SMS.contains(&sm) {
            "build this program with `--features tensorrt-enterprise` and install TensorRT 11, which is for data-centre \
             GPUs (H100, H200, B200) and Jetson"
        } else {
            "use engine \"openvino\" here"
        };
        Err(PlanError::Architecture { flavour: self, sm, hint: format!("it knows SM {}; {next}", known.join(", ")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_tensorrt_rtx_does_not_know_is_sent_where_it_is_known() {
        let refused = |flavour: Flavour, sm| flavour.covers(sm).expect_err("not covered").to_string();
        for sm in RTX_SMS {
            assert!(Flavour::TensorrtRtx.covers(sm).is_ok(), "{sm}");
        }
        let hopper = refused(Flavour::TensorrtRtx, 90);
        assert!(
            hopper.starts_with("tensorrt-rtx makes no plans for SM 9.0: it knows SM 8.0, 8.6, 8.9, 12.0"),
            "{hopper}"
        );
        for sm in ENTERPRISE_SMS {
            let said = refused(Flavour::TensorrtRtx, sm);
            assert!(said.contains("`--features tensorrt-enterprise`") && said.contains("H200"), "{said}");
            assert!(Flavour::Tensorrt.covers(sm).is_ok(), "{sm}");
        }
        let turing = refused(Flavour::TensorrtRtx, 75);
        assert!(turing.contains("openvino") && !turing.contains("enterprise"), "{turing}");
    }
}
